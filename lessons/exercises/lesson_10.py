"""Lesson 10, train it by hand: parameters p and velocity v are flat vectors."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import SGD, Dense, ReLU, Sequential
from stn_scratch.layers import softmax_cross_entropy_forward
from stn_scratch.parameters import pack, unpack
from stn_scratch.training.step import gradient

MOMENTUM = 0.9


def _sgd(p, v, g, lr, momentum):
    optimiser = SGD(1.0, momentum, velocity=v.copy())
    moved = pack({"p": 0 * p})
    optimiser.step(moved, pack({"p": g}))
    return p + lr * moved.flat, optimiser.velocity


class _Network:
    """forward(p, x) and backward(dlogits, cache) -> g as a network of the package."""

    def __init__(self, forward, backward):
        self.forward = lambda params, x: forward(params["p"], x)
        self.backward = lambda dlogits, cache, need_dx: (None, {"p": backward(dlogits, cache)})


def _step(forward, backward, p, v, x, labels, lr):
    result = gradient(_Network(forward, backward), {"p": p}, x, labels)
    return result.loss, *_sgd(p, v, result.grads.flat, lr, MOMENTUM)


def _loss_after(forward, backward, p, v, x, labels, lr):
    _, p, v = _step(forward, backward, p, v, x, labels, lr)
    return softmax_cross_entropy_forward(forward(p, x)[0], labels=labels)[0], p, v


def _gradient_of_the_sum(forward, backward, p, v, x, labels, lr):
    return _step(forward, lambda dlogits, cache: backward(len(x) * dlogits, cache), p, v, x, labels, lr)


def _logits_sent_back(forward, backward, p, v, x, labels, lr):
    logits, _ = forward(p, x)
    return _step(forward, lambda _, cache: backward(logits, cache), p, v, x, labels, lr)


def _times_the_loss(forward, backward, p, v, x, labels, lr):
    loss, _ = softmax_cross_entropy_forward(forward(p, x)[0], labels=labels)
    return _step(forward, lambda dlogits, cache: backward(loss * dlogits, cache), p, v, x, labels, lr)


def _velocity_dropped(forward, backward, p, v, x, labels, lr):
    return *_step(forward, backward, p, v, x, labels, lr)[:2], v


def _velocity_from_zero(forward, backward, p, v, x, labels, lr):
    return _step(forward, backward, p, 0 * v, x, labels, lr)


def _vectors():
    rng = np.random.default_rng(0)
    p, v, g = rng.normal(size=(3, 5))
    return [(p, v, g, 0.1, 0.9), (p, v, g, np.array([0.1, 0.1, 0.02, 0.02, 0.5]), 0.5)]


def _small_network():
    rng = np.random.default_rng(1)
    network = Sequential(Dense(5), ReLU(), Dense(3))
    params, _ = network.init(rng, (4,))

    def forward(p, x):
        return network.forward(unpack(p, params), x)

    def backward(dlogits, cache):
        return pack(network.backward(dlogits, cache)[1]).flat

    p, v = rng.normal(size=(2, params.flat.size))
    return [(forward, backward, p, v, rng.normal(size=(6, 4)), rng.integers(0, 3, 6), 0.1)]


EXERCISES = {
    "10.1": Exercise(_sgd, _vectors, ("p", "v"), (
        Mistake(lambda p, v, g, lr, momentum: (p - lr * (momentum * v + (1 - momentum) * g), momentum * v
                                               + (1 - momentum) * g),
                "your velocity is a mean of gradients, ten times shorter at momentum 0.9. Here g counts in full."),
        Mistake(lambda p, v, g, lr, momentum: (p - lr * v, momentum * v + g),
                "p moves by the *old* velocity: update v first."),
        Mistake(lambda p, v, g, lr, momentum: (p + lr * (momentum * v + g), momentum * v + g),
                "up the hill: which way does the gradient point?"),
        Mistake(lambda p, v, g, lr, momentum: (p - momentum * v - lr * g, momentum * v + lr * g),
                "your v carries the rate: a form that others use. It then remembers old rates when the rate falls; "
                "here v stays free of it."),
        Mistake(lambda p, v, g, lr, momentum: (p + momentum * v - lr * g, momentum * v - lr * g),
                "your v points downhill and carries the rate: a form that others use. Here v only adds up gradients; "
                "rate and sign come when p moves."),
        *(Mistake(plain, "this is plain gradient descent: where is the old v?") for plain in (
            lambda p, v, g, lr, momentum: (p - lr * g, g), lambda p, v, g, lr, momentum: (p - lr * g, v))))),
    "10.2": Exercise(_step, _small_network, ("loss", "p", "v"), (
        Mistake(_loss_after, "p and v are right. The loss is that of the *new* p, which costs a second forward pass; "
                             "return the one you differentiated."),
        Mistake(_gradient_of_the_sum, "the gradient is B times too long: the loss is the *mean* over the batch. Who "
                                      "divides by B?"),
        Mistake(_logits_sent_back, "you sent the logits back. What goes back is the loss's gradient *with respect to* "
                                   "them."),
        Mistake(_times_the_loss, "your gradient is the right one times the loss. Backward starts with dL/dL: what is "
                                 "that?"),
        Mistake(_velocity_dropped, "v comes back as it went: the next step will know nothing of this one."),
        Mistake(_velocity_from_zero, "each step starts from rest: where does the old v go?"))),
}
