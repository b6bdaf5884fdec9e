"""Eq. (1), the affine grid: values, derivatives, the identity, errors."""


import checks_of_pairs as checks
import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
sizes = pytest.mark.parametrize("size", [(4, 7), (7, 4), (1, 5), (3, 1), (1, 1)])


@both_conventions
@sizes
def test_eq_1(xp, align_corners, size):
    checks.affine_grid(xp, align_corners, size)


def test_worked_example(xp):
    """[[0, .5], [1, 0]] takes (2, 2) to (1, 2), and the shift (.6, .4) takes that to (1.6, 2.4)."""
    theta = xp.asarray([[[0, 2 * 0.5, 0.6], [2 * 1, 0, 0.4]]])  # twice the matrix, for the target point (1, 1)
    grid, _ = affine_grid_forward(theta, size=(2, 3))
    numpy.testing.assert_allclose(to_host(grid)[0, :, 1, 2], [1.6, 2.4], rtol=0, atol=1e-15)


@both_conventions
def test_corners(xp, align_corners):
    """x before y: the first row of theta gives x_s, and x_t grows with the column."""
    theta = xp.asarray([[[2.0, 0, 0.5], [0, 3, -0.25]]])
    grid = to_host(affine_grid_forward(theta, size=(4, 7), align_corners=align_corners)[0])
    assert grid.shape == (1, 2, 4, 7)
    x, y = (1, 1) if align_corners else (6 / 7, 3 / 4)
    corners = [[[-2 * x + 0.5, 2 * x + 0.5]] * 2, [[-3 * y - 0.25] * 2, [3 * y - 0.25] * 2]]
    numpy.testing.assert_allclose(grid[0][:, [[0], [-1]], [0, -1]], corners, rtol=0, atol=1e-15)


@pytest.mark.parametrize("number", [numpy.nan, numpy.inf, -numpy.inf, 1e38, -1.1e15])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_theta_that_is_no_use(xp, number, dtype):
    """The image looks far away and its gradient is 0; up to 1e15, and in the other image, nothing changes."""
    theta = numpy.array([[[1e15, 0, 0], [0, -1e15, 0]], [[1, 0.5, 0], [0, 1, number]]], dtype=dtype)
    grid, cache = affine_grid_forward(xp.asarray(theta), size=(2, 3))
    dtheta = to_host(affine_grid_backward(xp.ones_like(grid), cache))
    numpy.testing.assert_array_equal(to_host(grid)[0], numpy.array([[[-1e15, 0, 1e15]] * 2, [[1e15] * 3, [-1e15] * 3]],
                                                                   dtype=dtype))
    assert (to_host(grid)[1] > 1e34).all() and numpy.isfinite(to_host(grid)).all()
    numpy.testing.assert_array_equal(dtheta, [[[0, 0, 6]] * 2, [[0, 0, 0]] * 2])


@pytest.mark.parametrize("theta, kind, sentence", [
    (numpy.zeros((2, 6)), ValueError, "theta must have shape (B, 2, 3), not (2, 6)"),
    (numpy.zeros((2, 3, 2)), ValueError, "theta must have shape (B, 2, 3), not (2, 3, 2)"),
    (numpy.zeros((2, 2, 3), dtype="int64"), TypeError, "theta must be float32 or float64, not int64"),
    ([[[1, 0, 0], [0, 1, 0]]], TypeError, "theta must be a NumPy or CuPy array, not list"),
])
def test_errors_of_theta(theta, kind, sentence):
    with raises(kind, sentence):
        affine_grid_forward(theta, size=(4, 7))


@pytest.mark.parametrize("size", [(4,), (4, 7, 1), (0, 7), (4, -1), (4.0, 7), 28, None], ids=repr)
def test_errors_of_size(xp, size):
    with raises(ValueError, f"size must be 2 positive whole numbers, not {size!r}"):
        affine_grid_forward(xp.zeros((2, 2, 3)), size=size)


@pytest.mark.parametrize("dgrid, kind", [
    (numpy.zeros((3, 4, 7)), ValueError), (numpy.zeros((3, 1, 4, 7)), ValueError), (None, TypeError),
    (numpy.zeros((3, 2, 7, 4)), ValueError), (numpy.zeros((3, 2, 8, 7)), ValueError),
    (numpy.zeros((6, 2, 4, 7)), ValueError),
    (numpy.zeros((3, 2, 4, 7), dtype="float32"), TypeError), (strict.zeros((3, 2, 4, 7)), TypeError)])
def test_errors_of_backward(dgrid, kind):
    _, cache = affine_grid_forward(numpy.zeros((3, 2, 3)), size=(4, 7))
    with pytest.raises(kind, match="dgrid"):
        affine_grid_backward(dgrid, cache)
