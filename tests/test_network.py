"""Networks: shapes, gradients of whole networks, no state, the transformer's two paths, and what is refused."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

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
    SpatialTransformer,
    looks,
)
from stn_scratch.parameters import leaves, pack, unpack
from stn_scratch.sampling import sample_backward


def localisation(units=4):
    return Sequential(AvgPool(2, ceil=True), Flatten(), Dense(units), ReLU())


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
}
every_network = pytest.mark.parametrize("name", NETWORKS)


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


def same(a, b):
    """Equal but for the order of sums: on a GPU the sampler's scatter adds in any order."""
    numpy.testing.assert_allclose(to_host(a), to_host(b), rtol=1e-12, atol=1e-12)


def same_tree(a, b):
    for (path_a, leaf_a), (path_b, leaf_b) in zip(leaves(a), leaves(b), strict=True):
        assert path_a == path_b
        same(leaf_a, leaf_b)


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


# The transformer.

every_transformation = pytest.mark.parametrize("transform", TRANSFORMATIONS)


@every_transformation
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
def test_starts_as_the_identity(xp, transform, align_corners, dtype, tolerance):
    network = SpatialTransformer(localisation(), transform, align_corners=align_corners)
    params, U = start(network, (9, 14, 3), xp, dtype=dtype)
    V, _ = network.forward(params, U)
    numpy.testing.assert_allclose(to_host(V), to_host(U), rtol=0, atol=tolerance)


@every_transformation
@pytest.mark.parametrize("lattice", ["right", "central"])
def test_can_leave_the_identity(xp, transform, lattice):
    """The bias of the regression has a gradient at the start; the layers below it have none until its W moves."""
    network = SpatialTransformer(localisation(), transform, lattice=lattice)
    params, U = start(network, IMAGE, xp)
    V, cache = network.forward(params, U)
    _, grads = network.backward(xp.asarray(numpy.random.default_rng(4).normal(size=V.shape)), cache)
    regression = grads["localisation"]["regression"]
    assert (numpy.abs(to_host(regression["b"])) > 1e-3).all()
    assert to_host(regression["W"]).any()
    assert not any(to_host(a).any() for _, a in leaves(grads["localisation"]["hidden"]))


@every_transformation
def test_the_two_paths_to_U_add(xp, transform):
    network = SpatialTransformer(localisation(), transform, size=(4, 6))
    params, U = start(network, IMAGE, xp, noise=0.2)
    V, cache = network.forward(params, U)
    dU, _ = network.backward(V, cache)
    through_pixels, _ = sample_backward(V, cache[3])
    # both paths are there, and only their sum is the slope
    assert numpy.abs(to_host(dU - through_pixels)).max() > 1e-3 < numpy.abs(to_host(through_pixels)).max()
    assert check_gradients(lambda U: network.forward(params, U),
                           lambda dV, cache: network.backward(dV, cache)[0], (U,), entries=140) <= 1e-7


def test_looks(xp):
    network, in_shape, _ = NETWORKS["two transformers in series"]
    params, x = start(network, in_shape, xp, noise=0.1)
    logits, (first, second) = looks(network, params, x)
    same(logits, network.forward(params, x)[0])
    same(first.U, x)
    assert [look.grid.shape for look in (first, second)] == [(2, 2, 5, 7), (2, 2, 3, 4)]
    assert [look.V.shape for look in (first, second)] == [(2, 5, 7, 2), (2, 3, 4, 2)]
    conv, conv_params = network.networks["1 Conv2D"], params["1 Conv2D"]
    same(second.U, conv.forward(conv_params, first.V)[0])
    assert first.align_corners is True


# Networks without parameters, and an empty batch.

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
    (MaxPool(), (70,), "MaxPool"),
])
def test_init_refuses(network, in_shape, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        network.init(numpy.random.default_rng(0), in_shape)


@pytest.mark.parametrize("options, sentence", [
    ({"transform": "affin"}, "transform must be one of 'affine', 'attention', 'translation', 'rotation', "),
    ({"transform": None}, "transform must be one of "),
    ({"size": (3, 0)}, "size must be 2 positive whole numbers, not (3, 0)"),
    ({"size": 3}, "size must be 2 positive whole numbers, not 3"),
    ({"size": (3, 4, 5)}, "size must be 2 positive whole numbers, not (3, 4, 5)"),
])
def test_transformer_refuses(options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        SpatialTransformer(localisation(), **options)
