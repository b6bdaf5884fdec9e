"""Networks: shapes, gradients of whole networks, no state, the transformer's two paths, and what is refused."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from small_networks import as_pair, localisation, same, same_tree, start

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.network import (
    AvgPool,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Parallel,
    ReLU,
    Sequential,
    Shared,
)
from stn_scratch.parameters import leaves
from stn_scratch.parts import PartTransformers
from stn_scratch.sampling.kernels import Gaussian, Triangle
from stn_scratch.transformer import SpatialTransformer
from stn_scratch.transformer3d import SpatialTransformer3D

IMAGE = (5, 7, 2)
# name -> network, shape of one input, shape of one output
NETWORKS = {
    "Dense": (Dense(3), (4,), (3,)),
    "Dense, bias": (Dense(3, bias=(1.0, 2.0, -1.0)), (4,), (3,)),
    "Conv2D": (Conv2D(3, 2), IMAGE, (4, 6, 3)),
    "Conv2D, stride, padding": (Conv2D(3, 3, stride=2, padding=1), (4, 7, 2), (2, 4, 3)),
    "MaxPool": (MaxPool(), IMAGE, (2, 3, 2)),
    "MaxPool, ceil": (MaxPool(3, ceil=True), IMAGE, (2, 3, 2)),
    "AvgPool": (AvgPool(), IMAGE, (2, 3, 2)),
    "AvgPool, ceil": (AvgPool(2, ceil=True), IMAGE, (3, 4, 2)),
    "ReLU": (ReLU(), IMAGE, IMAGE),
    "Flatten": (Flatten(), IMAGE, (70,)),
    "Sequential": (Sequential(Conv2D(3, 2), ReLU(), MaxPool(), Flatten(), Dense(4)), IMAGE, (4,)),
    "Sequential, a convolution with its pooling": (
        Sequential(Conv2D(3, 2, padding=1), MaxPool(ceil=True), Conv2D(2, 2), MaxPool(), MaxPool(1)), IMAGE, (1, 1, 2)),
    "Sequential, first of nothing to learn": (
        Sequential(Sequential(AvgPool(1)), Parallel(ReLU(), MaxPool(1)), Flatten(), Dense(3)), IMAGE, (3,)),
    "Parallel": (Parallel(Conv2D(3, 2), Conv2D(1, 2), Conv2D(2, 2)), IMAGE, (4, 6, 6)),
    "Parallel of vectors": (Parallel(Dense(2), Sequential(Dense(4), ReLU(), Dense(3)), ReLU()), (5,), (10,)),
    **{f"SpatialTransformer, {name}": (SpatialTransformer(localisation(), name), IMAGE, IMAGE)
       for name in TRANSFORMATIONS},
    "SpatialTransformer, smaller": (SpatialTransformer(localisation(), size=(3, 4)), IMAGE, (3, 4, 2)),
    "SpatialTransformer, larger": (SpatialTransformer(localisation(), size=[6, 9], padding="border",
                                                      align_corners=False, lattice="central"), IMAGE, (6, 9, 2)),
    "two transformers in series": (
        Sequential(SpatialTransformer(localisation()), Conv2D(2, 2),
                   SpatialTransformer(localisation(3), "similarity", size=(3, 4)), Flatten(), Dense(3)), IMAGE, (3,)),
    "two transformers in parallel": (
        Parallel(SpatialTransformer(localisation(), "attention", size=(3, 4)),
                 SpatialTransformer(localisation(), "translation", size=(3, 4))), IMAGE, (3, 4, 4)),
    "SpatialTransformer, 40 channels": (SpatialTransformer(localisation(), "similarity"), (4, 3, 40), (4, 3, 40)),
    "SpatialTransformer, Triangle": (SpatialTransformer(localisation(), kernel=Triangle(2)), IMAGE, IMAGE),
    "SpatialTransformer, Gaussian": (SpatialTransformer(localisation(), "attention", size=(3, 4), kernel=Gaussian(),
                                                        padding="border"), IMAGE, (3, 4, 2)),
    "Shared": (Shared(Sequential(Conv2D(2, 2), ReLU(), Flatten(), Dense(3))), (4, *IMAGE), (4, 3)),
    "Shared transformer": (Shared(SpatialTransformer(localisation(), "attention")), (2, *IMAGE), (2, *IMAGE)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes(xp, name, dtype):
    network, in_shape, out_shape = NETWORKS[name]
    assert tuple(network.init(numpy.random.default_rng(0), in_shape)[1]) == out_shape
    params, x = start(network, in_shape, xp, dtype=dtype)
    y, cache = network.forward(params, x)
    dx, grads = network.backward(y, cache)
    assert y.shape == (2, *out_shape) and dx.shape == x.shape
    shapes = [[(path, a.shape, a.dtype) for path, a in leaves(tree)] for tree in (params, grads)]
    assert shapes[0] == shapes[1]
    assert y.dtype == dx.dtype == dtype and all(a.dtype == dtype for _, a in leaves(grads))


@every_network
def test_gradients(xp, name):
    network, in_shape, _ = NETWORKS[name]
    params, x = start(network, in_shape, xp, noise=0.1)
    assert check_gradients(*as_pair(network, params), (x, params.flat), entries=30) <= 1e-7


@every_network
def test_without_dx(xp, name):
    network, in_shape, _ = NETWORKS[name]
    params, x = start(network, in_shape, xp, noise=0.1)
    y, cache = network.forward(params, x)
    _, expected = network.backward(y, cache)
    dx, grads = network.backward(y, cache, need_dx=False)
    assert dx is None
    same_tree(grads, expected)


class Asked:
    """A network that notes of its backward whether dx was asked for."""

    def __init__(self, network):
        self.asked, self.network = [], network
        self.init, self.forward = network.init, network.forward

    def backward(self, dy, cache, *, need_dx=True):
        self.asked.append(need_dx)
        return self.network.backward(dy, cache, need_dx=need_dx)


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("before", [(), (AvgPool(2),), (Sequential(AvgPool(2)), ReLU())], ids=["none", "one", "nested"])
def test_a_gradient_that_nothing_needs_is_not_computed(need_dx, before):
    """Where all before a layer has nothing to learn, its dx is for the image alone, however many layers these are."""
    layers = [*map(Asked, before), Asked(Conv2D(3, 2)), Asked(ReLU()), Asked(Conv2D(1, 1))]
    network = Sequential(*layers)
    params, x = start(network, IMAGE, numpy)
    y, cache = network.forward(params, x)
    dx, _ = network.backward(y, cache, need_dx=need_dx)
    *first, conv, relu, last = [layer.asked for layer in layers]
    assert first == [[True] if need_dx else []] * len(before)
    assert (conv, relu, last) == ([need_dx], [True], [True])
    assert (dx is not None) == need_dx


@every_network
def test_one_network_serves_twice_and_in_threads(xp, name):
    """Nothing lives on the network: interleaved calls and calls from two threads give what single calls give."""
    network, in_shape, _ = NETWORKS[name]
    params, x = start(network, in_shape, xp, batch=3, noise=0.1)
    batches = [x, x[:2] * 0.5]

    def whole(x):
        y, cache = network.forward(params, x)
        return network.backward(y, cache)

    expected = [whole(x) for x in batches]
    forwards = [network.forward(params, x) for x in batches]
    interleaved = [network.backward(*pair) for pair in forwards]
    with ThreadPoolExecutor(2) as executor:
        threaded = list(executor.map(whole, batches * 4))
    for (dx, grads), (expected_dx, expected_grads) in zip(interleaved + threaded, expected * 5, strict=True):
        same(dx, expected_dx)
        same_tree(grads, expected_grads)


@every_network
def test_a_seed_gives_the_same_parameters(name):
    network, in_shape, _ = NETWORKS[name]
    first, again, other = (network.init(numpy.random.default_rng(seed), in_shape)[0] for seed in (0, 0, 1))
    same_tree(first, again)
    for (path, a), (_, b) in zip(leaves(first), leaves(other), strict=True):
        drawn = path[-1] == "W" and "regression" not in path and "bias" not in name
        assert a.any() == drawn or path[-1] == "b"
        assert numpy.array_equal(a, b) != drawn


def test_he_normal_weights():
    params, _ = Conv2D(64, 5).init(numpy.random.default_rng(0), (9, 8, 16))
    assert params["W"].std() == pytest.approx((2 / (5 * 5 * 16)) ** 0.5, rel=0.02)
    assert not params["b"].any()


def test_dense_with_a_bias_starts_as_a_constant():
    params, _ = Dense(2, bias=(0.5, -3)).init(numpy.random.default_rng(0), (4,))
    assert not params["W"].any() and params["b"].tolist() == [0.5, -3]


def test_parallel_concatenates_and_adds(xp):
    a, b = Conv2D(3, 2), Conv2D(1, 2)
    network = Parallel(a, b)
    params, x = start(network, IMAGE, xp)
    y, cache = network.forward(params, x)
    dx, grads = network.backward(y, cache)
    parts = {key: net.forward(params[key], x) for key, net in zip(("0 Conv2D", "1 Conv2D"), (a, b), strict=True)}
    same(y[..., :3], parts["0 Conv2D"][0])
    same(y[..., 3:], parts["1 Conv2D"][0])
    dx_a, grads_a = a.backward(y[..., :3], parts["0 Conv2D"][1])
    dx_b, grads_b = b.backward(y[..., 3:], parts["1 Conv2D"][1])
    same(dx, dx_a + dx_b)
    same_tree(grads, {"0 Conv2D": grads_a, "1 Conv2D": grads_b})


def test_what_several_images_ask_of_shared_parameters_adds_up(xp):
    """Three images through one spatial transformer are three passes with the same parameters."""
    alone = SpatialTransformer(localisation(), "similarity")
    params, x = start(Shared(alone), (3, *IMAGE), xp, noise=0.1)
    y, cache = Shared(alone).forward(params, x)
    dy = xp.asarray(numpy.random.default_rng(5).normal(size=y.shape))
    dx, grads = Shared(alone).backward(dy, cache)
    total = {}
    for n in range(3):
        y_n, cache_n = alone.forward(params, x[:, n])
        same(y[:, n], y_n)
        dx_n, grads_n = alone.backward(dy[:, n], cache_n)
        same(dx[:, n], dx_n)
        total = {path: total.get(path, 0) + a for path, a in leaves(grads_n)}
    for path, a in leaves(grads):
        same(a, total[path])
        assert numpy.abs(to_host(a)).max() > 1e-6


@pytest.mark.parametrize("network", [
    Sequential(ReLU(), MaxPool()), Parallel(ReLU(), MaxPool(1)), Sequential(Sequential(ReLU()), Flatten(), Dense(3)),
    SpatialTransformer(Sequential(Flatten())), SpatialTransformer(Flatten()),
], ids=["Sequential", "Parallel", "nested", "localisation of one layer", "bare localisation"])
def test_parts_without_parameters(network):
    params, out_shape = network.init(numpy.random.default_rng(0), IMAGE)
    y, cache = network.forward(params, numpy.ones((2, *IMAGE)))
    assert y.shape == (2, *out_shape)
    assert network.backward(y, cache)[0].shape == (2, *IMAGE)


@every_network
def test_empty_batch(xp, name):
    network, in_shape, out_shape = NETWORKS[name]
    params, x = start(network, in_shape, xp, batch=0)
    y, cache = network.forward(params, x)
    dx, grads = network.backward(y, cache)
    assert y.shape == (0, *out_shape) and dx.shape == x.shape
    assert not any(to_host(a).any() for _, a in leaves(grads))


# What is refused.

@pytest.mark.parametrize("make, sentence", [
    (lambda: Dense(0), "units must be a positive whole number, not 0"),
    (lambda: Dense(3, bias=(1.0,)), "bias must have 3 numbers, one a unit, not 1"),
    (lambda: Conv2D(3, 3, stride=0), "stride must be a positive whole number, not 0"),
    (lambda: Conv2D(3, 3, padding=-1), "padding must be a whole number, 0 or more, not -1"),
    (lambda: MaxPool(0), "size must be a positive whole number, not 0"),
    (lambda: Parallel(), "Parallel must have at least one network"),
    (lambda: SpatialTransformer(AvgPool(2), lattice="rihgt"), "lattice must be one of 'right', 'central', not 'rihgt'"),
    (lambda: SpatialTransformer(AvgPool(2), padding=0), "padding must be one of 'zeros', 'border', 'reflect', not 0"),
    (lambda: SpatialTransformer(AvgPool(2), kernel="cubic"), "kernel must be one of "),
    (lambda: SpatialTransformer(AvgPool(2), align_corners="False"), "align_corners must be True or False, not 'False'"),
])
def test_what_cannot_be_made(make, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        make()


@pytest.mark.parametrize("make, sentence", [
    (lambda: SpatialTransformer(None).init(None, IMAGE), "localisation must be a network, not NoneType"),
    (lambda: SpatialTransformer3D(Dense).init(None, (3, *IMAGE)), "localisation must be a network, not Dense"),
    (lambda: PartTransformers(AvgPool(2), 2, "cnn").init(None, IMAGE), "branch must be a network, not str"),
    (lambda: Sequential([Flatten(), Dense(3)]), "each argument of Sequential must be a network, not list"),
    (lambda: Parallel(Dense), "each argument of Parallel must be a network, not Dense"),
])
def test_what_is_no_network(make, sentence):
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        make()


@pytest.mark.parametrize("network, in_shape, sentence", [
    (Dense(3), IMAGE, "Dense takes vectors (B, D): put Flatten before it; its input here is (B, (5, 7, 2))"),
    (Conv2D(3, 6), IMAGE, "Conv2D with 6x6 filters does not fit an image of 5x7"),
    (Conv2D(3, 9, padding=1), IMAGE, "Conv2D with 9x9 filters does not fit an image of 5x7"),
    (Parallel(Conv2D(3, 2), Conv2D(3, 3)), IMAGE,
     "the outputs of parallel networks must differ in their last axis only, not [(4, 6, 3), (3, 5, 3)]"),
    (Parallel(Conv2D(3, 2), Flatten()), IMAGE,
     "the outputs of parallel networks must differ in their last axis only, not [(4, 6, 3), (70,)]"),
    (SpatialTransformer(AvgPool(2)), IMAGE, "Dense takes vectors (B, D): put Flatten before it"),
    (MaxPool(6), IMAGE, "MaxPool"),
    (Sequential(AvgPool(6), Flatten(), Dense(2)), IMAGE, "AvgPool"),
    (Conv2D(3, 2), (70,), "Conv2D"),
    (Shared(Conv2D(3, 2)), IMAGE, "Conv2D takes images (H, W, C); its input here is (7, 2)"),
    (MaxPool(), (70,), "MaxPool"),
])
def test_init_refuses(network, in_shape, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        network.init(numpy.random.default_rng(0), in_shape)
