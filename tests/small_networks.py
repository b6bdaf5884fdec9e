"""Small networks, parameters and batches for the tests of networks."""

import numpy

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.network import AvgPool, Dense, Flatten, ReLU, Sequential
from stn_scratch.parameters import leaves, pack, unpack


def localisation(units=4):
    return Sequential(AvgPool(2, ceil=True), Flatten(), Dense(units), ReLU())


def start(network, in_shape, xp, *, batch=2, noise=0.0, dtype="float64"):
    """Parameters on the device and a batch. noise moves the parameters, and with them every sample off the lattice."""
    rng = numpy.random.default_rng(3)
    params, _ = network.init(rng, in_shape)
    x = xp.asarray(rng.normal(size=(batch, *in_shape)), dtype=dtype)
    flat = numpy.zeros(0) if params.flat is None else params.flat
    return unpack(xp.asarray(flat + noise * rng.normal(size=flat.shape), dtype=dtype), params), x


def as_pair(network, params):
    """The network as a forward/backward pair of (x, flat)."""

    def forward(x, flat):
        return network.forward(unpack(flat, params), x)

    def backward(dy, cache):
        dx, grads = network.backward(dy, cache)
        return dx, pack(grads).flat if params.flat.size else params.flat

    return forward, backward


def gradient_error(network, in_shape, *, brightest=1.0, entries=60):
    """How far the gradients for a network's parameters are from finite differences: float64, all off their start."""
    rng = numpy.random.default_rng(2)
    params, _ = network.init(rng, in_shape)
    params.flat[...] += rng.normal(scale=0.02, size=params.flat.size)
    x = rng.uniform(0, brightest, size=(2, *in_shape))
    forward, backward = as_pair(network, params)
    return check_gradients(lambda flat: forward(x, flat), lambda dy, cache: backward(dy, cache)[1], (params.flat,),
                           entries=entries)


def same(a, b):
    """Equal but for the order of sums: on a GPU the sampler's scatter adds in any order."""
    numpy.testing.assert_allclose(to_host(a), to_host(b), rtol=1e-12, atol=1e-12)


def same_tree(a, b):
    for (path_a, leaf_a), (path_b, leaf_b) in zip(leaves(a), leaves(b), strict=True):
        assert path_a == path_b
        same(leaf_a, leaf_b)
