"""Convolution and max-pooling in one: the same as one after the other, in both of its forms, and in a network."""

import itertools
import re

import numpy
import pytest
from convolutions import CASES, arguments, without_dx
from small_networks import same, same_tree, start
from strict import strict

from stn_scratch import blocks, layers
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.layers import conv2d_max_pool_backward, conv2d_max_pool_forward, conv_pool
from stn_scratch.network import AvgPool, Conv2D, MaxPool, ReLU, Sequential

# of 1, so that nothing is pooled; that divides H', W' of some cases; that does not; wider than some of them
POOLS = [{"size": size, "ceil": ceil} for size in (1, 2, 3) for ceil in (False, True)]


def fits(case, size, ceil):
    (_, H, W, _), (kh, kw), _, stride, padding = CASES[case]
    return ceil or min((n + 2 * padding - k) // stride + 1 for n, k in ((H, kh), (W, kw))) >= size


cases = pytest.mark.parametrize("case, pool", [pytest.param(case, pool, id=f"{case}, {pool}")
                                               for case, pool in itertools.product(CASES, POOLS) if fits(case, **pool)])


@pytest.fixture(params=[(100, 1), (100, 700), (100, 10 ** 6), (0, 10 ** 6)],
                ids=["an image a block", "some images a block", "one block", "apart"])
def form(request, monkeypatch):
    """Few channels for any number of them, in blocks of so many bytes; and one after the other."""
    few, block = request.param
    monkeypatch.setattr(conv_pool, "FEW_CHANNELS", few)
    monkeypatch.setattr(blocks, "CACHE_BYTES", block)


def one_after_the_other(x, W, b, dy_of, *, stride, padding, size, ceil):
    """y, dx, dW, db; dy = dy_of(y)."""
    conv, conv_cache = layers.conv2d_forward(x, W, b, stride=stride, padding=padding)
    y, pool_cache = layers.max_pool_forward(conv, size=size, ceil=ceil)
    return y, *layers.conv2d_backward(layers.max_pool_backward(dy_of(y), pool_cache), conv_cache)


@cases
@pytest.mark.usefixtures("form")
def test_one_after_the_other(xp, case, pool):
    args, options = arguments(case, xp)
    y, cache = conv2d_max_pool_forward(*args, **options, **pool)
    expected = one_after_the_other(*args, lambda y: xp.asarray(numpy.cos(to_host(y))), **options, **pool)
    actual = y, *conv2d_max_pool_backward(xp.asarray(numpy.cos(to_host(y))), cache)
    for a, b in zip(actual, expected, strict=True):
        same(a, b)


@cases
@pytest.mark.usefixtures("form")
def test_ties_go_to_the_first_place(xp, case, pool):
    """Whole numbers, of which many outputs of a window are equal; exactly."""
    args, options = arguments(case, xp)
    args = [xp.asarray(numpy.sign(to_host(a).round())) for a in args]
    y, cache = conv2d_max_pool_forward(*args, **options, **pool)
    dy = xp.asarray(numpy.arange(to_host(y).size, dtype=float).reshape(y.shape))
    expected = one_after_the_other(*args, lambda y: dy, **options, **pool)
    for a, b in zip((y, *conv2d_max_pool_backward(dy, cache)), expected, strict=True):
        numpy.testing.assert_array_equal(to_host(a), to_host(b))


@cases
@pytest.mark.usefixtures("form")
def test_gradients(xp, case, pool):
    args, options = arguments(case, xp)
    pair = conv2d_max_pool_forward, conv2d_max_pool_backward
    assert check_gradients(*pair, args, entries=25, **options, **pool) <= 1e-7


@cases
@pytest.mark.usefixtures("form")
def test_without_dx(xp, case, pool):
    args, options = arguments(case, xp, "float32")
    y, cache = conv2d_max_pool_forward(*args, **options, **pool)
    without_dx(conv2d_max_pool_backward, y, cache)


@pytest.mark.usefixtures("form")
def test_by_hand(xp):
    """A filter that is 1 at (0, 1) alone moves the picture a column to the left; of [1 2 3; 5 6 7; 9 10 11], then,
    windows of 2x2 keep 6; with ceil 7, 10 and 11, too."""
    x = xp.asarray(numpy.arange(12.0).reshape(1, 3, 4, 1))
    W = xp.zeros((1, 2, 1, 1))
    W[0, 1] = 1
    for ceil, expected, pixels in ((False, [[6.5]], [6]), (True, [[6.5, 7.5], [10.5, 11.5]], [6, 7, 10, 11])):
        y, cache = conv2d_max_pool_forward(x, W, xp.asarray([0.5]), ceil=ceil)
        assert to_host(y)[0, :, :, 0].tolist() == expected
        dx, dW, db = (to_host(d) for d in conv2d_max_pool_backward(xp.ones(y.shape), cache))
        assert numpy.flatnonzero(dx).tolist() == pixels and db.tolist() == [len(pixels)]
        assert dW.ravel().tolist() == [sum(pixels) - len(pixels), sum(pixels)]


def test_a_window_beyond_the_numbers_of_a_byte():
    """289 places: their numbers need more than 8 bits."""
    rng = numpy.random.default_rng(5)
    args = [rng.normal(size=shape) for shape in ((8, 19, 36, 1), (2, 3, 1, 2), (2,))]
    y, cache = conv2d_max_pool_forward(*args, size=17, ceil=True)
    assert cache.winner.max() > 255
    expected = one_after_the_other(*args, numpy.cos, stride=1, padding=0, size=17, ceil=True)
    for a, b in zip((y, *conv2d_max_pool_backward(numpy.cos(y), cache)), expected, strict=True):
        same(a, b)


@pytest.mark.parametrize("shapes, options, sentence", [
    ([(2, 5, 6), (3, 2, 3, 4), (4,)], {}, "x must have shape (B, H, W, C), not (2, 5, 6)"),
    ([(2, 5, 6, 3), (3, 2, 2, 4), (4,)], {}, "W must have shape (kh, kw, C, F) with C = 3, not (3, 2, 2, 4)"),
    ([(2, 5, 6, 3), (6, 2, 3, 4), (4,)], {},
     "W must not be larger than the padded image: the filter is 6x2, the image 5x6"),
    ([(2, 5, 6, 3), (3, 2, 3, 4), (4,)], {"stride": 0}, "stride must be a positive whole number, not 0"),
    ([(2, 5, 6, 3), (3, 2, 3, 4), (4,)], {"padding": -1}, "padding must be a whole number, 0 or more, not -1"),
    ([(2, 5, 6, 3), (3, 2, 3, 4), (4,)], {"size": 1.0}, "size must be a positive whole number, not 1.0"),
    ([(2, 5, 6, 3), (3, 2, 3, 4), (4,)], {"size": 4}, "x must be at least one window of 4x4, not 3x5"),
])
def test_sentences(xp, shapes, options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        conv2d_max_pool_forward(*map(xp.zeros, shapes), **options)


def test_one_device():
    x, W, b = numpy.zeros((2, 5, 6, 3)), numpy.zeros((3, 2, 3, 4)), strict.zeros(4)
    with pytest.raises(TypeError, match="^b and x must be on the same device, not one on the host and one on the GPU$"):
        conv2d_max_pool_forward(x, W, b)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("shape", [(2, 1, 2), (2, 1, 2, 3), (2, 2, 1, 4), (1, 1, 2, 4)])
def test_backward_refuses_another_shape(xp, shape):
    y, cache = conv2d_max_pool_forward(xp.zeros((2, 5, 6, 3)), xp.zeros((3, 2, 3, 4)), xp.zeros(4))
    assert y.shape == (2, 1, 2, 4)
    for need_dx in (True, False):
        with pytest.raises(ValueError, match="dy must have shape"):
            conv2d_max_pool_backward(xp.zeros(shape), cache, need_dx=need_dx)


def test_in_a_network(xp, monkeypatch):
    """Each convolution with the max-pooling right behind it; which keeps its place among the parameters."""
    network = Sequential(Conv2D(3, 2), MaxPool(), ReLU(), Conv2D(4, 2, padding=1), MaxPool(3, ceil=True), MaxPool(1),
                         Conv2D(2, 1), AvgPool(1), MaxPool(1))
    params, x = start(network, (11, 12, 2), xp, noise=0.1)
    assert list(params) == ["0 Conv2D", "1 MaxPool", "2 ReLU", "3 Conv2D", "4 MaxPool", "5 MaxPool", "6 Conv2D",
                            "7 AvgPool", "8 MaxPool"]
    called = []

    def forward(*args, **options):
        called.append(options)
        return conv2d_max_pool_forward(*args, **options)

    monkeypatch.setattr(layers, "conv2d_max_pool_forward", forward)
    y, cache = network.forward(params, x)
    assert called == [{"stride": 1, "padding": 0, "size": 2, "ceil": False},
                      {"stride": 1, "padding": 1, "size": 3, "ceil": True}]
    dx, grads = network.backward(y, cache)

    apart, caches = x, []
    for name, net in network.networks.items():
        apart, cache = net.forward(params[name], apart)
        caches.append(cache)
    same(y, apart)
    expected = {}
    for (name, net), cache in zip(reversed(network.networks.items()), reversed(caches), strict=True):
        apart, expected[name] = net.backward(apart, cache)
    same(dx, apart)
    same_tree(grads, {name: expected[name] for name in params})
