"""Lesson 9, the spatial transformer module, with one matrix as its localisation network."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import Flatten, Sequential, SpatialTransformer

TRANSFORMER = SpatialTransformer(Sequential(Flatten()))


def _params(W, b):
    return {"localisation": {"hidden": {"0 Flatten": {}}, "regression": {"W": W, "b": b}}}


def _forward(U, W, b):
    V, cache = TRANSFORMER.forward(_params(W, b), U)
    return V, cache.theta.reshape(-1, 2, 3)


def _without_bias(U, W, b):
    return _forward(U, W, 0 * b)


def _columns_first(U, W, b):
    """p.reshape(B, 3, 2) and then the transpose: theta filled column by column."""
    order = [0, 2, 4, 1, 3, 5]
    return _forward(U, W[:, order], b[order])


def _one_theta_for_all(U, W, b):
    first = np.repeat(U[:1], len(U), axis=0)
    theta = _forward(first, W, b)[1].reshape(-1, 6)
    return _forward(U, 0 * W, theta[0])


def _start(D):
    params, _ = TRANSFORMER.init(np.random.default_rng(0), (1, D, 1))
    return params["localisation"]["regression"]["W"], params["localisation"]["regression"]["b"]


def _all_zero(D):
    return np.zeros((D, 6)), np.zeros(6)


def _square_first(D):
    return np.zeros((D, 6)), np.array([1.0, 0, 0, 1, 0, 0])


def _all_ones(D):
    return np.zeros((D, 6)), np.ones(6)


def _weights_the_wrong_way(D):
    return np.zeros((6, D)), _start(D)[1]


def _backward(dV, U, W, b):
    _, cache = TRANSFORMER.forward(_params(W, b), U)
    dU, grads = TRANSFORMER.backward(dV, cache)
    return dU, grads["localisation"]["regression"]["W"], grads["localisation"]["regression"]["b"]


def _through_theta(dV, U, W, b):
    """The part of dU that comes by the localisation network: dtheta of each image, which is its db, times W^T."""
    dtheta = np.stack([_backward(dV[k:k + 1], U[k:k + 1], W, b)[2] for k in range(len(U))])
    return (dtheta @ W.T).reshape(U.shape)


def _pixels_only(dV, U, W, b):
    dU, dW, db = _backward(dV, U, W, b)
    return dU - _through_theta(dV, U, W, b), dW, db


def _theta_only(dV, U, W, b):
    _, dW, db = _backward(dV, U, W, b)
    return _through_theta(dV, U, W, b), dW, db


def _mean_of_both(dV, U, W, b):
    dU, dW, db = _backward(dV, U, W, b)
    return dU / 2, dW, db


def _identity_added(U, W, b):
    return _forward(U, W, b + np.array([1.0, 0, 0, 0, 1, 0]))


def _mean_over_batch(dV, U, W, b):
    dU, dW, db = _backward(dV, U, W, b)
    return dU, dW / len(U), db / len(U)


def _back_without_bias(dV, U, W, b):
    return _backward(dV, U, W, 0 * b)


def _weights_from_V(dV, U, W, b):
    dU, _, db = _backward(dV, U, W, b)
    dp = np.stack([_backward(dV[k:k + 1], U[k:k + 1], W, b)[2] for k in range(len(U))])
    V = _forward(U, W, b)[0]
    return dU, V.reshape(len(V), -1).T @ dp, db


def _batch():
    rng = np.random.default_rng(9)
    U, dV = rng.normal(size=(2, 2, 4, 5, 1))
    return dV, U, 0.1 * rng.normal(size=(20, 6)), np.array([0.8, 0.1, 0.05, -0.2, 0.9, 0.1])


EXERCISES = {
    "09.1": Exercise(_forward, lambda: [_batch()[1:]], ("V", "theta"), (
        Mistake(_without_bias, "this is the result for b = 0. What would theta be at the start, where W = 0?"),
        Mistake(_columns_first, "the six numbers are in theta, but filled in column by column. Which is the fourth: "
                                "theta_12 or theta_21?"),
        Mistake(_identity_added, "the identity was added to p. Here b alone carries it."),
        Mistake(_one_theta_for_all, "every image was read by the theta of the first. One row of p for each image."))),
    "09.2": Exercise(_start, lambda: [(20,), (7,)], ("W", "b"), (
        Mistake(_all_zero, "b = 0 is not the identity: theta = 0 reads every output pixel at the middle of the image."),
        Mistake(_square_first, "theta is filled row by row, three numbers a row. Where does theta_22 stand among six?"),
        Mistake(_all_ones, "b holds all of theta, not its diagonal alone. What do ones in the other places do?"),
        Mistake(_weights_the_wrong_way, "W is turned over. p = flat(U) W + b has six numbers: which side of W is 6?"))),
    "09.3": Exercise(_backward, lambda: [_batch()], ("dU", "dW", "db"), (
        Mistake(_pixels_only, "dW and db are right; dU lacks a path. U was also read by the localisation network."),
        Mistake(_theta_only, "dW and db are right; dU lacks a path. U was also read by the sampler."),
        Mistake(_mean_over_batch, "dW and db are means over the batch. Where does L take a mean?"),
        Mistake(_back_without_bias, "the repeated forward pass lost b: at which theta are these gradients?"),
        Mistake(_weights_from_V, "dW is formed from V. What did the localisation network read?"),
        Mistake(_mean_of_both, "dU is the mean of the two paths. L depends on U through both: what is the derivative "
                               "of f(u) + g(u)?"))),
}
