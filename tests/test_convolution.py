"""conv2d against explicit loops; what it shares with the other pairs is in test_layers.py, more on one of its forms in
test_frequencies.py."""

import itertools
import re

import numpy
import pytest
from convolutions import arguments, cases, without_dx
from strict import strict

from stn_scratch import blocks
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.layers import conv2d_backward, conv2d_forward, convolution, frequencies, products
from stn_scratch.layers import few_channels as few_channels_form
from stn_scratch.layers.im2col import im2col_backward, im2col_forward

FORMS = {"few channels": (100, False), "rows of taps": (0, False), "by the channels": (8, False),
         "frequencies": (0, True)}


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Each form takes any shape; which is faster is another question."""
    few, pay = FORMS[request.param]
    monkeypatch.setattr(convolution, "FEW_CHANNELS", few)
    monkeypatch.setattr(convolution, "frequencies_pay", lambda *shapes: pay)
    return request.param


def taps(x_shape, W_shape, stride, padding):
    """h, w, i, j and the pixel row, column that the sum reads there, for all that lie inside the image."""
    _, H, W, _ = x_shape
    kh, kw, _, _ = W_shape
    out = [(n + 2 * padding - k) // stride + 1 for n, k in ((H, kh), (W, kw))]
    for h, w, i, j in itertools.product(*map(range, (*out, kh, kw))):
        row, column = h * stride + i - padding, w * stride + j - padding
        if 0 <= row < H and 0 <= column < W:
            yield h, w, i, j, row, column


def by_loops(x, W, b, dy_of, *, stride, padding):
    """y, dx, dW, db by the sums of the docstrings; dy = dy_of(y)."""
    x, W, b = map(to_host, (x, W, b))
    B, H, W_x, C = x.shape
    kh, kw, _, F = W.shape
    y = numpy.zeros((B, (H + 2 * padding - kh) // stride + 1, (W_x + 2 * padding - kw) // stride + 1, F)) + b
    places = list(itertools.product(range(B), taps(x.shape, W.shape, stride, padding), range(C), range(F)))
    for n, (h, w, i, j, row, column), c, f in places:
        y[n, h, w, f] += x[n, row, column, c] * W[i, j, c, f]
    dy, dx, dW = dy_of(y), numpy.zeros(x.shape), numpy.zeros(W.shape)
    for n, (h, w, i, j, row, column), c, f in places:
        dx[n, row, column, c] += W[i, j, c, f] * dy[n, h, w, f]
        dW[i, j, c, f] += x[n, row, column, c] * dy[n, h, w, f]
    return y, dx, dW, sum(dy[n, h, w] for n, h, w in numpy.ndindex(dy.shape[:3]))


@cases
@pytest.mark.usefixtures("form")
def test_by_loops(xp, case):
    args, options = arguments(case, xp)
    y, cache = conv2d_forward(*args, **options)
    actual = y, *conv2d_backward(xp.asarray(numpy.cos(to_host(y))), cache)
    for a, loops in zip(actual, by_loops(*args, numpy.cos, **options), strict=True):
        numpy.testing.assert_allclose(to_host(a), loops, rtol=1e-12, atol=1e-12)


@cases
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("block", [1, 600, 10 ** 6], ids="{} bytes a block, multiplications a piece".format)
def test_the_plain_form(monkeypatch, xp, case, block):
    """One image a block; a few, and a few rows a piece; all at once."""
    monkeypatch.setattr(blocks, "CACHE_BYTES", block)
    monkeypatch.setattr(products, "FEWEST_ROWS", 1)
    for module in (products, frequencies):
        monkeypatch.setattr(module, "SMALL", block)
    args, options = arguments(case, xp)
    (y, cache), (plain_y, plain_cache) = conv2d_forward(*args, **options), im2col_forward(*args, **options)
    dy = xp.asarray(numpy.cos(to_host(plain_y)))
    actual, expected = (y, *conv2d_backward(dy, cache)), (plain_y, *im2col_backward(dy, plain_cache))
    for a, plain in zip(actual, expected, strict=True):
        numpy.testing.assert_allclose(to_host(a), to_host(plain), rtol=1e-12, atol=1e-12)


@cases
def test_through_the_frequencies(xp, case, form):
    """On a CPU and with stride 1 alone; elsewhere another form is taken."""
    args, options = arguments(case, xp)
    _, cache = conv2d_forward(*args, **options)
    assert (cache.frequencies is not None) == (form == "frequencies" and options["stride"] == 1 and xp is numpy)


@pytest.mark.usefixtures("form")
def test_an_empty_batch():
    x, W, b = (numpy.zeros(shape) for shape in ((0, 5, 6, 9), (3, 2, 9, 4), (4,)))
    y, cache = conv2d_forward(x, W, b)
    assert [a.shape for a in (y, *conv2d_backward(y, cache))] == [(0, 3, 5, 4), x.shape, W.shape, b.shape]


def test_blocks_of_a_whole_batch_on_a_gpu():
    """On a host as many images as fit, at least one; on a GPU, for which the stand-in stands, all."""
    for module, capacity, sizes in ((numpy, 2.5, [2, 2, 1]), (numpy, 0.5, [1] * 5), (strict, 2.5, [5])):
        x, W = module.ones((5, 4, 6, 9)), module.ones((3, 2, 9, 1))
        # five outputs a row, one a column; and four, two a column, which reads four pixels a row
        one, two = (few_channels_form._layout((3, kw, 9, 1), (2, 7 - kw), 1, 0) for kw in (2, 3))
        forms = [((4, 5 * 2 * 9), lambda x=x, W=W: convolution._blocks_of_columns(x, W, 5, 1, 0)),
                 ((3 * 2 * 9, 2 * 5), lambda x=x, one=one: few_channels_form._blocks_of_columns(x, one)),
                 ((3 * 4 * 9, 2 * 2), lambda x=x, two=two: few_channels_form._blocks_of_columns(x, two))]
        for (a, b), blocks_of_columns in forms:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(blocks, "CACHE_BYTES", int(capacity * a * b * 8))
                found = [(images, columns.shape[1]) for images, columns in blocks_of_columns()]
            assert [len(x[images]) for images, _ in found] == sizes
            assert [columns // found[-1][1] for _, columns in found] == [size // sizes[-1] for size in sizes]


@cases
@pytest.mark.usefixtures("form")
def test_gradients(xp, case):
    args, options = arguments(case, xp)
    assert check_gradients(conv2d_forward, conv2d_backward, args, entries=25, **options) <= 1e-7


@cases
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("argument", [0, 1], ids=["x", "W"])
def test_adjoint(xp, case, argument):
    (x, W, b), options = arguments(case, xp)
    assert adjoint_error(conv2d_forward, conv2d_backward, (x, W, 0 * b), argument=argument, **options) <= 1e-12


@cases
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("backward", [conv2d_backward, im2col_backward])
def test_without_dx(xp, case, backward):
    args, options = arguments(case, xp, "float32")
    y, cache = conv2d_forward(*args, **options)
    without_dx(backward, y, cache)


def test_one_tap_by_hand(xp):
    """A filter that is 1 at (i, j) = (0, 1) alone moves the picture one column to the left."""
    x = xp.asarray(numpy.arange(12.0).reshape(1, 3, 4, 1))
    W = xp.zeros((1, 2, 1, 1))
    W[0, 1] = 1
    y, _ = conv2d_forward(x, W, xp.asarray([0.5]))
    assert to_host(y)[0, :, :, 0].tolist() == [[1.5, 2.5, 3.5], [5.5, 6.5, 7.5], [9.5, 10.5, 11.5]]


@pytest.mark.parametrize("shapes, options, sentence", [
    ([(2, 5, 6), (3, 2, 3, 4), (4,)], {}, "x must have shape (B, H, W, C), not (2, 5, 6)"),
    ([(2, 5, 6, 3), (3, 2, 3), (4,)], {}, "W must have shape (kh, kw, C, F), not (3, 2, 3)"),
    ([(2, 5, 6, 3), (3, 2, 2, 4), (4,)], {}, "W must have shape (kh, kw, C, F) with C = 3, not (3, 2, 2, 4)"),
    ([(2, 5, 6, 3), (3, 2, 3, 4), (5,)], {}, "b must have shape (F) with F = 4, not (5,)"),
    ([(2, 5, 6, 3), (6, 2, 3, 4), (4,)], {},
     "W must not be larger than the padded image: the filter is 6x2, the image 5x6"),
    ([(2, 5, 6, 3), (2, 9, 3, 4), (4,)], {"padding": 1},
     "W must not be larger than the padded image: the filter is 2x9, the image 7x8"),
    ([(2, 5, 6, 3), (3, 2, 3, 0), (0,)], {}, "W must have no side of 0, not shape (3, 2, 3, 0)"),
    ([(2, 5, 6, 0), (3, 2, 0, 4), (4,)], {}, "W must have no side of 0, not shape (3, 2, 0, 4)"),
    *[([(2, 5, 6, 3), (3, 2, 3, 4), (4,)], {"stride": stride},
       f"stride must be a positive whole number, not {stride!r}") for stride in (0, -1, 1.0, "1", None, True)],
    *[([(2, 5, 6, 3), (3, 2, 3, 4), (4,)], {"padding": padding},
       f"padding must be a whole number, 0 or more, not {padding!r}") for padding in (-1, 1.0, "same", True)],
])
def test_sentences(xp, shapes, options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        conv2d_forward(*map(xp.zeros, shapes), **options)


@pytest.mark.parametrize("case", ["plain", "many channels"])
@pytest.mark.parametrize("integer", [numpy.int64, numpy.uint8])
def test_numpy_integers_are_whole_numbers(xp, case, integer):
    (x, W, b), _ = arguments(case, xp)
    for stride in (1, 2):
        expected = to_host(conv2d_forward(x, W, b, stride=stride, padding=20)[0])
        actual = conv2d_forward(x, W, b, stride=integer(stride), padding=integer(20))[0]
        numpy.testing.assert_array_equal(to_host(actual), expected)


@pytest.mark.parametrize("argument, sentence", [
    (1, "W and x must be on the same device, not one on the host and one on the GPU"),
    (2, "b and x must be on the same device, not one on the host and one on the GPU"),
])
def test_one_device(argument, sentence):
    args, _ = arguments("plain", numpy)
    args[argument] = strict.asarray(args[argument])
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        conv2d_forward(*args)


# y is (2, 4, 6, 4)
@pytest.mark.parametrize("shape", [(2, 4, 6), (2, 4, 6, 3), (2, 6, 4, 4), (2, 3, 6, 4), (1, 4, 6, 4)])
def test_backward_refuses_another_shape(xp, shape):
    args, options = arguments("plain", xp)
    y, cache = conv2d_forward(*args, **options)
    assert y.shape == (2, 4, 6, 4)
    for need_dx in (True, False):
        with pytest.raises(ValueError, match="must have shape"):
            conv2d_backward(xp.zeros(shape), cache, need_dx=need_dx)
