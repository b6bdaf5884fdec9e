"""Convolution through frequencies: when it pays, and what it keeps. What all forms share is in test_convolution.py."""

from types import ModuleType

import numpy
import pytest
from convolutions import arguments, cases
from strict import strict

from stn_scratch.backend import ARRAY_MODULES
from stn_scratch.layers import conv2d_backward, conv2d_forward, frequencies
from stn_scratch.layers.im2col import conv2d_size, im2col_backward, im2col_forward


def test_a_delta_through_the_frequencies():
    """A filter that is 1 at one tap copies the picture from there: nothing reaches around the circle."""
    x = numpy.arange(2 * 5 * 6 * 3.0).reshape(2, 5, 6, 3)
    W = numpy.zeros((2, 4, 3, 1))
    W[1, 2, 1] = 1
    y, _ = frequencies.frequencies_forward(x, W, numpy.asarray([0.5]), (4, 3), 0)
    numpy.testing.assert_allclose(y[..., 0], x[:, 1:, 2:5, 1] + 0.5, rtol=1e-12)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("layout", [lambda a: a, lambda a: a.T.copy().T], ids=["in order", "axes swapped"])
def test_the_convolution_of_the_paper_through_the_frequencies(dtype, tolerance, layout):
    """Against the plain form in float64, relative to the largest number: rounding is shared by all of an image."""
    rng = numpy.random.default_rng(4)
    given = [rng.normal(size=shape).astype(dtype) for shape in ((16, 10, 10, 41), (7, 7, 41, 41), (41,))]
    dy = rng.normal(size=(16, 4, 4, 41)).astype(dtype)
    y, cache = conv2d_forward(*map(layout, given))
    assert cache.frequencies is not None
    plain_y, plain_cache = im2col_forward(*(a.astype("float64") for a in given))
    actual = y, *conv2d_backward(layout(dy), cache)
    for a, plain in zip(actual, (plain_y, *im2col_backward(dy.astype("float64"), plain_cache)), strict=True):
        assert a.dtype == dtype and a.flags.c_contiguous
        assert abs(a - plain).max() <= tolerance * abs(plain).max()


@pytest.mark.parametrize("B, side, C, size, F, padding, pay", [
    (64, 10, 41, 7, 41, 0, True),  # the second convolution of the paper's CNN at 28 pixels
    (16, 10, 41, 7, 41, 0, True),
    (1, 10, 41, 7, 41, 0, False),  # the filters are transformed for one image
    (64, 7, 41, 7, 41, 0, False),  # a single window
    (64, 28, 1, 9, 41, 0, False),  # one product saves nothing: each filter's map is transformed
    (64, 28, 32, 3, 32, 1, False),
    (64, 14, 20, 5, 20, 0, True),
    (64, 6, 20, 5, 20, 0, False),
    (64, 6, 20, 5, 20, 4, True),  # padding makes the maps larger
])
def test_when_the_frequencies_pay(B, side, C, size, F, padding, pay):
    x_shape, W_shape = (B, side, side, C), (size, size, C, F)
    y_size = conv2d_size(x_shape, W_shape, 1, padding)
    assert frequencies.frequencies_pay(x_shape, W_shape, y_size, padding) == pay


class Counted(numpy.ndarray):
    """An array that counts the multiplications of its matrix products."""

    count = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        inputs = [numpy.asarray(a) for a in inputs]
        options["out"] = tuple(numpy.asarray(a) for a in options.get("out", ())) or None
        y = getattr(ufunc, method)(*inputs, **options)
        if ufunc is numpy.matmul:
            Counted.count += y.size * inputs[0].shape[-1]
        return y.view(Counted)


counting = ModuleType("counting")
vars(counting).update(vars(numpy) | {  # what else makes a new array
    "empty": lambda *args, **options: numpy.empty(*args, **options).view(Counted),
    "ascontiguousarray": lambda a: numpy.ascontiguousarray(a).view(Counted)})


@cases
def test_the_multiplications_are_counted(case, monkeypatch):
    monkeypatch.setitem(ARRAY_MODULES, Counted, counting)
    monkeypatch.setattr(Counted, "count", 0)
    args, options = arguments(case, numpy)
    x, W, b = (a.view(Counted) for a in args)
    y_size = conv2d_size(x.shape, W.shape, 1, options["padding"])
    frequencies.frequencies_forward(x, W, numpy.zeros_like(b), y_size, options["padding"])
    assert Counted.count == frequencies.multiplications(x.shape, W.shape, y_size, options["padding"])


@pytest.mark.parametrize("module, shape, N_h, sizes", [
    (numpy, (64, 10, 10, 41), 10, [40, 24]),  # 3 10 x 2 10 by 2 10 x 41 of an image: 24,600 multiplications
    (numpy, (3, 40, 40, 100), 50, [1, 1, 1]),  # 1,200,000: not even one, so one
    (strict, (64, 10, 10, 41), 10, [64])])
def test_how_many_images_go_at_a_time(module, shape, N_h, sizes):
    images = module.zeros(shape)
    assert [len(images[block]) for block in frequencies._blocks(images, N_h)] == sizes


def test_the_matrices_that_are_kept_are_bounded():
    for side in range(3, 80):
        x = numpy.zeros((1, side, 2, 1))
        frequencies.frequencies_forward(x, x[:, :1, :1], x[0, 0, 0], (side, 2), 0)
    for kept in (frequencies._forth, frequencies._back):
        info = kept.cache_info()
        assert info.currsize <= info.maxsize == 64
