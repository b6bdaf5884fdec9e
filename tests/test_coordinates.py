"""Normalised and pixel coordinates: both conventions, at every small size."""

import numpy
import pytest
from sentences import raises

import stn_scratch
from stn_scratch.backend import to_host
from stn_scratch.coordinates import axis_points, pixels_per_unit, target_grid, to_pixels
from stn_scratch.grids import TRANSFORMATIONS

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])


@both_conventions
@both_dtypes
def test_pixel_centres_come_back(xp, align_corners, dtype, tolerance):
    for size in range(1, 65):
        x = axis_points(xp, size, align_corners, dtype)
        x_p = to_pixels(x, size, align_corners)
        assert x.shape == (size,) and x.dtype == x_p.dtype == dtype
        numpy.testing.assert_allclose(to_host(x_p), numpy.arange(size), rtol=0, atol=tolerance)


@pytest.mark.parametrize("align_corners, x, x_p", [
    (True, [-1, 0, 1], [0, 2, 4]),           # the centres of the first, middle and last of five pixels
    (False, [-1, 0, 1], [-0.5, 2, 4.5]),     # the outer edges of the first and last
    (True, [-1.5, 2], [-1, 6]),              # and beyond
])
def test_values_by_hand(xp, align_corners, x, x_p):
    y = to_pixels(xp.asarray(x, dtype="float64"), 5, align_corners)
    assert to_host(y).tolist() == x_p


@both_conventions
def test_first_and_last_point(xp, align_corners):
    for size in range(2, 65):
        x = to_host(axis_points(xp, size, align_corners, "float64"))
        last = 1 if align_corners else 1 - 1 / size
        numpy.testing.assert_allclose(x[[0, -1]], [-last, last], rtol=0, atol=1e-15)
        numpy.testing.assert_array_equal(x, -x[::-1])


@both_conventions
def test_one_pixel_stands_in_the_middle(xp, align_corners):
    assert to_host(axis_points(xp, 1, align_corners, "float32")).tolist() == [0]


def test_with_align_corners_one_pixel_holds_every_x(xp):
    assert to_host(to_pixels(xp.asarray([-1.0, 0.3, 7.0]), 1, True)).tolist() == [0, 0, 0]


@both_conventions
@both_dtypes
def test_target_grid_has_x_before_y(xp, align_corners, dtype, tolerance):
    H, W = 3, 5
    G = target_grid(xp, (H, W), align_corners, dtype)
    assert G.shape == (3, H * W) and G.dtype == dtype
    x_edge, y_edge = (1, 1) if align_corners else (4 / 5, 2 / 3)
    expected = [(x_edge * (m - 2) / 2, y_edge * (n - 1), 1) for n in range(H) for m in range(W)]
    numpy.testing.assert_allclose(to_host(G).T, expected, rtol=0, atol=tolerance / 10)


@both_conventions
def test_derivative(xp, align_corners):
    h = 2.0 ** -10
    x = xp.asarray([-1.7, -0.3, 0.0, 0.9])
    for size in (1, 2, 7, 28):
        slope = (to_pixels(x + h, size, align_corners) - to_pixels(x - h, size, align_corners)) / (2 * h)
        expected = pixels_per_unit(size, align_corners)
        numpy.testing.assert_allclose(to_host(slope), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("call", [
    lambda xp, **wrong: stn_scratch.sample_forward(xp.zeros((1, 3, 3, 1)), xp.zeros((1, 2, 4, 4)), **wrong),
    lambda xp, **wrong: stn_scratch.sample3d_forward(xp.zeros((1, 3, 3, 3, 1)), xp.zeros((1, 3, 4, 4, 4)), **wrong),
    lambda xp, **wrong: stn_scratch.affine_grid3d_forward(xp.zeros((1, 3, 4)), size=(4, 4, 4), **wrong),
    lambda xp, **wrong: stn_scratch.piecewise_affine_grid_forward(xp.zeros((1, 2, 2, 2)), size=(4, 4), **wrong),
    *(lambda xp, T=T, **wrong: T.forward(xp.asarray([T.identity], dtype="float64"), size=(4, 4), **wrong)
      for T in TRANSFORMATIONS.values())])
@pytest.mark.parametrize("value", ["False", 1], ids=repr)
def test_the_convention_is_true_or_false(xp, call, value):
    """The text "False" would count as True."""
    with raises(ValueError, f"align_corners must be True or False, not {value!r}"):
        call(xp, align_corners=value)
