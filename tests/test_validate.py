"""Each sentence that validate.py says."""


import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.validate import (
    check_arrays,
    check_choice,
    check_flag,
    check_labels,
    check_size,
    check_together,
    check_whole,
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_that_fit(xp, dtype):
    U, grid = xp.zeros((5, 2, 3, 4), dtype=dtype), xp.zeros((5, 2, 6, 7), dtype=dtype)
    check_arrays(U=(U, "B H W C"), grid=(grid, "B 2 H' W'"))
    for shape in [(3,), (2, 3), (5, 2, 3)]:
        check_arrays(x=(xp.zeros(shape, dtype=dtype), "... C"), b=(xp.zeros(3, dtype=dtype), "C"))
    check_arrays(empty=(xp.zeros((0, 3), dtype=dtype), "B C"))


@pytest.mark.parametrize("thing", [None, [1.0], 1.0, numpy.float32(1)], ids=repr)
def test_not_an_array(thing):
    with raises(TypeError, f"U must be a NumPy or CuPy array, not {type(thing).__name__}"):
        check_arrays(U=(thing, "B C"))


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8", "bool", "complex64"])
def test_dtype(xp, dtype):
    with raises(TypeError, f"U must be float32 or float64, not {dtype}"):
        check_arrays(U=(xp.zeros((2, 3), dtype=dtype), "B C"))


@pytest.mark.parametrize("shape, wanted, sentence", [
    ((2, 3), "B H W", "U must have shape (B, H, W), not (2, 3)"),
    ((2, 3, 4, 5), "B H W", "U must have shape (B, H, W), not (2, 3, 4, 5)"),
    ((), "... C", "U must have shape (..., C), not ()"),
    ((3,), "... H C", "U must have shape (..., H, C), not (3,)"),
    ((5, 3, 4, 4), "B 2 H W", "U must have shape (B, 2, H, W), not (5, 3, 4, 4)"),
    ((4, 5), "N N", "U must have shape (N, N) with N = 4, not (4, 5)"),
])
def test_shape(xp, shape, wanted, sentence):
    with raises(ValueError, sentence):
        check_arrays(U=(xp.zeros(shape), wanted))


def test_letters_agree_between_arguments(xp):
    with raises(ValueError, "grid must have shape (B, 2, H', W') with B = 5, not (6, 2, 7, 8)"):
        check_arrays(U=(xp.zeros((5, 2, 3, 4)), "B H W C"), grid=(xp.zeros((6, 2, 7, 8)), "B 2 H' W'"))


def test_arguments_share_one_dtype(xp):
    with raises(TypeError, "b must have the dtype of x, float32, not float64"):
        check_arrays(x=(xp.zeros(3, dtype="float32"), "C"), b=(xp.zeros(3, dtype="float64"), "C"))


def test_arguments_share_one_device():
    with raises(TypeError, "b and x must be on the same device, not one on the host and one on the GPU"):
        check_arrays(x=(numpy.zeros(3), "C"), b=(strict.zeros(3), "C"))


def test_labels(xp):
    logits = xp.zeros((4, 10))
    for dtype in ("uint8", "int32", "int64"):
        check_labels(xp.zeros(4, dtype=dtype), logits)
    with raises(TypeError, "labels must be a NumPy or CuPy array, not list"):
        check_labels([0, 1, 2, 3], logits)
    with raises(TypeError, "labels must be integers, not float64"):
        check_labels(xp.zeros(4), logits)
    for shape in [(5,), (4, 1), ()]:
        with raises(ValueError, f"labels must have shape (4,), one a row of logits, not {shape}"):
            check_labels(xp.zeros(shape, dtype="int64"), logits)


def test_labels_share_the_device_of_logits():
    with raises(TypeError, "labels and logits must be on the same device, not one on the host and one on the GPU"):
        check_labels(numpy.zeros(4, dtype="int64"), strict.zeros((4, 10)))


def test_choice():
    check_choice("kernel", "bilinear", ("integer", "bilinear"))
    with raises(ValueError, "kernel must be one of 'integer', 'bilinear', not 'linear'"):
        check_choice("kernel", "linear", ("integer", "bilinear"))


@pytest.mark.parametrize("value", [(2,), (2, 3, 4), (0, 3), (-1, 3), (2.0, 3), (True, 3), 5, None, "ab"], ids=repr)
def test_size(value):
    check_size("size", (2, 3))
    check_size("size", [2, 3, 4], rank=3)
    with raises(ValueError, f"size must be 2 positive whole numbers, not {value!r}"):
        check_size("size", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "1"], ids=repr)
def test_positive(value):
    check_whole("stride", 1)
    with raises(ValueError, f"stride must be a positive whole number, not {value!r}"):
        check_whole("stride", value)


@pytest.mark.parametrize("value", [0, 1, None, "False"], ids=repr)
def test_flag(value):
    for flag in (True, numpy.bool_(False)):
        check_flag("align_corners", flag)
    with raises(ValueError, f"align_corners must be True or False, not {value!r}"):
        check_flag("align_corners", value)


def test_together():
    check_together(x=numpy.zeros(3), labels=numpy.zeros((2, 2), dtype=int))
    with raises(TypeError, "labels must be a NumPy or CuPy array, not list"):
        check_together(x=numpy.zeros(3), labels=[1])
    with raises(TypeError, "labels and x must be on the same device, not one on the host and one on the GPU"):
        check_together(x=numpy.zeros(3), y=numpy.zeros(3), labels=strict.zeros(3))
