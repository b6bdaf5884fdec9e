"""The paper's networks: sizes, parameter counts, starts, and predict."""

import functools
import re

import numpy
import pytest
from small_networks import gradient_error

from stn_scratch.backend import host_generator, to_host
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import SAMPLERS, build, build_model, count_parameters, digits, make_network, predict
from stn_scratch.network import AvgPool, Flatten
from stn_scratch.parameters import leaves, unpack
from stn_scratch.transformer import SpatialTransformer, looks

# one after another; of the others, with layers of their own, each has its own tests
MODELS = {name: digits.MODELS[name] for name in ("fcn", "cnn", "st-fcn", "st-cnn", "mst-cnn")}
TRANSFORMERS = [name for name, model in MODELS.items() if model.transformers]
SIDES = 28, 42, 60
SMALL = (26, 29, 2)  # asymmetric, and large enough for every network


@functools.cache
def count(name, side, budget):
    return count_parameters(build_model(name, in_shape=(side, side, 1), parameters=budget)[1])


def small(name, *, transform="affine", seed=0, in_shape=SMALL, width=3, **options):
    network = make_network(name, in_shape=in_shape, width=width, transform=transform, **options)
    return network, network.init(host_generator(seed), in_shape)[0]


# The localisation network of st-fcn alone holds 118k parameters at 60 pixels: 60,000 is out of its reach.
@pytest.mark.parametrize("budget, tolerance, apart", [(400_000, 0.01, 0.01), (60_000, 0.03, 0.035)])
@pytest.mark.parametrize("side", SIDES)
def test_equal_parameter_counts(side, budget, tolerance, apart):
    counts = [count(name, side, budget) for name in MODELS if (name, side, budget) != ("st-fcn", 60, 60_000)]
    assert all(abs(n - budget) <= tolerance * budget for n in counts)
    assert max(counts) - min(counts) <= apart * budget


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("side", SIDES)
def test_a_transformation_adds_only_its_regression(name, side):
    units = {"st-fcn": [32], "st-cnn": [20], "mst-cnn": [20, 32]}[name]
    counts = {transform: count_parameters(small(name, transform=transform, in_shape=(side, side, 1))[1])
              for transform in TRANSFORMATIONS}
    for transform, n in counts.items():
        assert n - counts["affine"] == sum(u + 1 for u in units) * (len(TRANSFORMATIONS[transform].identity) - 6)


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
def test_every_transformation_meets_the_budget(transform):
    _, params = build_model("st-fcn", in_shape=(28, 28, 1), transform=transform)
    assert abs(count_parameters(params) - 400_000) <= 4_000


@pytest.mark.parametrize("name, counts", [("st-fcn", (27_430, 58_790, 117_542)), ("st-cnn", (11_086, 20_686, 43_086))])
def test_localisation_networks(name, counts):
    """By hand. st-fcn: (s^2 + 1) 32 + 2 * 33 * 32 + 33 * 6; st-cnn: 26 * 20 + 501 * 20 + (20 k^2 + 1) 20 + 21 * 6 for
    k = 1, 5, 9 pixels after the second convolution."""
    for side, expected in zip(SIDES, counts, strict=True):
        _, params = small(name, in_shape=(side, side, 1))
        assert params["0 SpatialTransformer"].flat.size == expected


def test_the_search_for_a_width_builds_nothing_huge(monkeypatch):
    """All the networks tried on the way together hold at most 3 times the budget."""
    drawn = []

    class Counter:
        def normal(self, scale, size):
            drawn.append(int(numpy.prod(size)))
            return numpy.broadcast_to(0.5, size)

    monkeypatch.setattr(build, "host_generator", lambda seed: Counter())
    build_model("cnn", in_shape=(28, 28, 1), parameters=60_000)
    assert sum(drawn) <= 3 * 60_000


def shapes(network, shape):
    """The output shape of each layer, by the layer's name."""
    found = {}
    for name, net in network.networks.items():
        _, shape = net.init(host_generator(0), shape)
        found[name] = tuple(shape)
    return found


def test_the_papers_st_cnn_fits_together():
    """42 pixels, pooled to 21, 9x9 convolution 13, pooled to 7, 7x7 convolution 1."""
    network = make_network("st-cnn", in_shape=(42, 42, 1), width=5)
    assert shapes(network, (42, 42, 1)) == {
        "0 SpatialTransformer": (42, 42, 1), "1 AvgPool": (21, 21, 1), "2 Conv2D": (13, 13, 5), "3 MaxPool": (7, 7, 5),
        "4 ReLU": (7, 7, 5), "5 Conv2D": (1, 1, 5), "6 MaxPool": (1, 1, 5), "7 ReLU": (1, 1, 5), "8 Flatten": (5,),
        "9 Dense": (10,)}
    assert shapes(network.networks["0 SpatialTransformer"].localisation, (42, 42, 1)) == {
        "0 AvgPool": (21, 21, 1), "1 Conv2D": (17, 17, 20), "2 MaxPool": (9, 9, 20), "3 ReLU": (9, 9, 20),
        "4 Conv2D": (5, 5, 20), "5 ReLU": (5, 5, 20), "6 Flatten": (500,), "7 Dense": (20,), "8 ReLU": (20,)}


@pytest.mark.parametrize("name", MODELS)
def test_three_weight_layers_and_logits(name):
    network, params = small(name, width=4)
    classifier = [net for net in params if "SpatialTransformer" not in net and len(params[net])]
    assert len(classifier) == 3
    logits, _ = network.forward(params, numpy.ones((2, *SMALL)))
    assert logits.shape == (2, 10)
    assert make_network(name, in_shape=SMALL, width=4, classes=7).init(host_generator(0), SMALL)[1] == (7,)


@pytest.mark.parametrize("side, downsample, pools", [(41, None, 0), (42, None, 1), (42, 1, 0), (41, 2, 1)])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_downsampling_after_the_transformer(name, side, downsample, pools):
    network = make_network(name, in_shape=(side, side + 3, 1), width=2, downsample=downsample)
    assert [net for net in network.networks.values() if isinstance(net, AvgPool)] == [AvgPool(2, ceil=True)] * pools


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_localisation_networks_may_see_means_of_pixels(name, rng):
    network, params = small(name, in_shape=(56, 60, 2), localisation_downsample=2)
    transformer = network.networks["0 SpatialTransformer"]
    hidden = params["0 SpatialTransformer"]["localisation"]["hidden"]
    U = rng.normal(size=(3, 56, 60, 2))
    seen, _ = transformer.localisation.forward(hidden, U)
    means = U.reshape(3, 28, 2, 30, 2, 2).mean(axis=(2, 4))
    expected, _ = MODELS[name].transformers[0]().forward(hidden["1 Sequential"], means)
    numpy.testing.assert_allclose(seen, expected, rtol=1e-12, atol=1e-12)
    assert transformer.forward(params["0 SpatialTransformer"], U)[0].shape == U.shape


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_starts_as_the_identity(xp, name, transform):
    network, params = small(name, transform=transform, lattice="central")
    regression = params["0 SpatialTransformer"]["localisation"]["regression"]
    assert not regression["W"].any() and regression["b"].tolist() == list(TRANSFORMATIONS[transform].identity)
    transformer = network.networks["0 SpatialTransformer"]
    assert isinstance(transformer, SpatialTransformer) and transformer.lattice == "central"
    x = numpy.random.default_rng(1).normal(size=(2, *SMALL))
    params = unpack(xp.asarray(params.flat), params)
    V, _ = transformer.forward(params["0 SpatialTransformer"], xp.asarray(x))
    numpy.testing.assert_allclose(to_host(V), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", SAMPLERS)
def test_every_transformer_gets_the_kernel(kernel):
    network, params = small("mst-cnn", kernel=kernel, transform="attention")
    transformers = [net for net in network.networks.values() if isinstance(net, SpatialTransformer)]
    assert [net.kernel for net in transformers] == [SAMPLERS[kernel]] * 2
    start = params["0 SpatialTransformer"]["localisation"]["regression"]["b"]
    assert len(start) == (5 if kernel in ("gaussian", "triangle") else 3)


def test_two_transformers_in_series():
    """ST-CNN-ST-CNN: the second one warps what the first convolution gives, all its channels, from the identity on."""
    network, params = small("mst-cnn", in_shape=(40, 43, 1), width=34, lattice="central")
    assert shapes(network, (40, 43, 1)) == {
        "0 SpatialTransformer": (40, 43, 1), "1 Conv2D": (32, 35, 34), "2 MaxPool": (16, 18, 34),
        "3 ReLU": (16, 18, 34), "4 SpatialTransformer": (16, 18, 34), "5 Conv2D": (10, 12, 34), "6 MaxPool": (5, 6, 34),
        "7 ReLU": (5, 6, 34), "8 Flatten": (1020,), "9 Dense": (10,)}
    assert shapes(network.networks["4 SpatialTransformer"].localisation, (16, 18, 34)) == {
        "0 AvgPool": (8, 9, 34), "1 Flatten": (2448,), "2 Dense": (32,), "3 ReLU": (32,), "4 Dense": (32,),
        "5 ReLU": (32,)}
    assert [net.lattice for net in network.networks.values() if isinstance(net, SpatialTransformer)] == ["central"] * 2
    _, (first, second) = looks(network, params, numpy.random.default_rng(1).normal(size=(2, 40, 43, 1)))
    for look in (first, second):
        numpy.testing.assert_allclose(look.V, look.U, rtol=0, atol=1e-12)
    assert second.U.any()


def test_the_gradient_of_the_whole_mst_cnn():
    assert gradient_error(make_network("mst-cnn", in_shape=(26, 27, 1), width=2), (26, 27, 1)) <= 1e-7


@pytest.mark.parametrize("name", ["fcn", "st-fcn"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_seed_gives_the_same_network(name, dtype):
    options = {"in_shape": (7, 9, 2), "parameters": 8_000, "dtype": dtype}
    first, again, other = (build_model(name, seed=seed, **options)[1] for seed in (3, 3, 4))
    assert all(a.dtype == dtype for _, a in leaves(first)) and first.flat.dtype == dtype
    assert [path for path, _ in leaves(first)] == [path for path, _ in leaves(again)]
    numpy.testing.assert_array_equal(first.flat, again.flat)
    assert first.flat.shape == other.flat.shape and (first.flat != other.flat).mean() > 0.9


def test_float32_by_default_and_as_views():
    _, params = build_model("fcn", in_shape=(7, 9, 2), parameters=2_000)
    params.flat[...] = 0
    assert params.flat.dtype == "float32" and not any(a.any() for _, a in leaves(params))


@pytest.mark.parametrize("name, options, sentence", [
    ("cn", {}, "name must be one of 'fcn', 'cnn', 'st-fcn', 'st-cnn', 'mst-cnn', "),
    (None, {}, "name must be one of "),
    ("st-fcn", {"transform": "afine"}, "transform must be one of 'affine', "),
    ("cnn", {"kernel": "tent"}, "kernel must be one of 'integer', 'bilinear', 'bicubic', 'gaussian', 'triangle', not"),
    ("fcn", {"dtype": "float16"}, "dtype must be one of 'float32', 'float64', not 'float16'"),
    ("fcn", {"in_shape": (28, 28)}, "in_shape must be (H, W, C) or (D, H, W, C), not (28, 28)"),
    ("fcn", {"in_shape": 28}, "in_shape must be (H, W, C) or (D, H, W, C), not 28"),
    ("fcn", {"in_shape": (0, 28, 1)}, "in_shape must be 3 positive whole numbers, not (0, 28, 1)"),
    ("st-fcn", {"in_shape": (28, 28, 0)}, "in_shape must be 3 positive whole numbers, not (28, 28, 0)"),
    ("fcn", {"classes": 0}, "classes must be a positive whole number, not 0"),
    ("fcn", {"parameters": 4e5}, "parameters must be a positive whole number, not 400000.0"),
    ("fcn", {"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
    ("cnn", {"padding": "wrap"}, "padding must be one of 'zeros', 'border', 'reflect', not 'wrap'"),
    ("cnn", {"lattice": None}, "lattice must be one of 'right', 'central', not None"),
    ("cnn", {"paddnig": "zeros"}, "make_network() got an unexpected keyword argument 'paddnig'"),
    ("cnn", {"in_shape": (28, 8, 1)}, "Conv2D with 9x9 filters does not fit an image of 28x8"),
    ("st-cnn", {"in_shape": (28, 22, 1)}, "Conv2D with 5x5 filters does not fit an image of 5x4"),
])
def test_refused(name, options, sentence):
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(sentence)}"):
        build_model(name, **{"in_shape": (28, 28, 1), **options})


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 8, 256])
def test_predict(xp, batch):
    network, params = small("st-fcn", in_shape=(5, 7, 2), width=6)
    params = unpack(xp.asarray(params.flat), params)
    x = xp.asarray(numpy.random.default_rng(2).normal(size=(7, 5, 7, 2)))
    expected = to_host(network.forward(params, x)[0]).argmax(axis=1)
    assert len(set(expected.tolist())) > 1
    numpy.testing.assert_array_equal(to_host(predict(network, params, x, batch=batch)), expected)
    none = predict(network, params, x[:0], batch=batch)
    assert none.shape == (0,) and none.dtype.kind == "i"


def test_predict_several_labels(xp):
    x = numpy.random.default_rng(2).normal(size=(7, 6))
    expected, x = x.reshape(7, 2, 3).argmax(axis=2), xp.asarray(x)
    numpy.testing.assert_array_equal(to_host(predict(Flatten(), {}, x, heads=2, batch=3)), expected)
    assert predict(Flatten(), {}, x[:0], heads=2).shape == (0, 2)
    for heads in (4, 6, 0, 3.0):
        with pytest.raises(ValueError, match="^heads must"):
            predict(Flatten(), {}, x, heads=heads)
