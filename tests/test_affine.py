"""Eq. (1) and the constrained forms of theta: values, derivatives, identities, directions, errors."""

import math
import re

import checks_of_pairs as checks
import numpy
import pytest
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import TRANSFORMATIONS, affine
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.sampling import sample_backward, sample_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
transformations = pytest.mark.parametrize("name", TRANSFORMATIONS)
sizes = pytest.mark.parametrize("size", [(4, 7), (7, 4), (1, 5), (3, 1), (1, 1)])


def matrix(name, p):
    """The printed matrices, for one image."""
    if name == "affine":
        return [p[:3], p[3:]]
    s, a, t_x, t_y = {"attention": lambda s, t_x, t_y: (s, 0, t_x, t_y),
                      "translation": lambda t_x, t_y: (1, 0, t_x, t_y),
                      "rotation": lambda a: (1, a, 0, 0),
                      "similarity": lambda *p: p}[name](*p)
    return [[s * math.cos(a), -s * math.sin(a), t_x], [s * math.sin(a), s * math.cos(a), t_y]]


def parameters(name, B=3):
    return numpy.random.default_rng(0).normal(size=(B, len(TRANSFORMATIONS[name].identity)))


def form(name):
    return [getattr(affine, f"{name}_theta_{way}") for way in ("forward", "backward")]


FORMS = ["attention", "translation", "rotation", "similarity"]


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


@both_conventions
@both_dtypes
@sizes
@transformations
def test_identity_is_the_target_grid_exactly(xp, name, align_corners, dtype, size):
    transformation = TRANSFORMATIONS[name]
    p = xp.asarray([transformation.identity] * 2, dtype=dtype)
    grid, _ = transformation.forward(p, size=size, align_corners=align_corners)
    x, y = ((2 * numpy.arange(n) - (n - 1)).astype(dtype) / max(n - 1 if align_corners else n, 1) for n in size[::-1])
    numpy.testing.assert_array_equal(to_host(grid), [numpy.stack(numpy.meshgrid(x, y))] * 2)
    assert grid.dtype == dtype


@pytest.mark.parametrize("name", FORMS)
def test_theta_is_the_printed_matrix(xp, name):
    p = parameters(name)
    theta, _ = form(name)[0](xp.asarray(p))
    checks.close(theta, [matrix(name, row) for row in p], 1e-15)


@pytest.mark.parametrize("name", FORMS)
def test_theta_gradients(xp, name):
    check_gradients(*form(name), (xp.asarray(parameters(name)),))


@pytest.mark.parametrize("name", ["attention", "translation"])
def test_linear_forms_and_their_adjoint(xp, name):
    forward, backward = form(name)

    def linear_part(p):
        theta, cache = forward(p)
        return theta - forward(0 * p)[0], cache

    assert adjoint_error(linear_part, backward, (xp.asarray(parameters(name)),)) <= 1e-12


@both_conventions
@pytest.mark.parametrize("name", ["affine", *FORMS])
def test_transformations_are_the_full_affine_of_their_matrix(xp, name, align_corners):
    """The grid, and the gradient through it, which is dtheta times the derivative of the matrix."""
    p, options = parameters(name), {"size": (4, 7), "align_corners": align_corners}
    transformation = TRANSFORMATIONS[name]
    grid, cache = transformation.forward(xp.asarray(p), **options)
    checks.close(grid, checks.dense_grid(numpy.array([matrix(name, row) for row in p]), **options), 1e-12)
    assert transformation.backward(xp.ones_like(grid), cache).shape == p.shape
    check_gradients(transformation.forward, transformation.backward, (xp.asarray(p),), **options)


@pytest.mark.parametrize("name, p, other, q", [
    ("translation", [0.3, -0.2], "attention", [1, 0.3, -0.2]),
    ("attention", [0.7, 0.3, -0.2], "similarity", [0.7, 0, 0.3, -0.2]),
    ("rotation", [0.4], "similarity", [1, 0.4, 0, 0]),
    ("attention", [0.7, 0.3, -0.2], "affine", [0.7, 0, 0.3, 0, 0.7, -0.2]),
])
def test_forms_that_meet(xp, name, p, other, q):
    grids = [TRANSFORMATIONS[k].forward(xp.asarray([v]), size=(4, 7), align_corners=True)[0]
             for k, v in ((name, p), (other, q))]
    checks.close(grids[0], to_host(grids[1]), 1e-15)


# Directions, on a picture: what the sampler makes of p.

def picture(xp, name, p, U):
    grid, _ = TRANSFORMATIONS[name].forward(xp.asarray([p], dtype="float64"), size=U.shape, align_corners=True)
    return to_host(sample_forward(xp.asarray(U[None, :, :, None]), grid)[0])[0, :, :, 0]


U = (numpy.arange(1.0, 46).reshape(5, 9) / 45) ** 2


def test_a_scale_below_one_zooms_in(xp):
    """Half the window, rows 1-3 and columns 2-6, fills the output: every other output pixel is a pixel of it."""
    numpy.testing.assert_allclose(picture(xp, "attention", (0.5, 0, 0), U)[::2, ::2], U[1:4, 2:7], rtol=0, atol=1e-12)


def test_a_scale_above_one_zooms_out(xp):
    expected = numpy.zeros((5, 9))
    expected[1:4, 2:7] = U[::2, ::2]
    numpy.testing.assert_allclose(picture(xp, "attention", (2, 0, 0), U), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p, window, place", [
    ((0.25, 0), (slice(None), slice(1, None)), (slice(None), slice(None, -1))),  # t_x is one column
    ((-0.25, 0), (slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((0, 0.5), (slice(1, None), slice(None)), (slice(None, -1), slice(None))),  # t_y is one row
])
def test_a_shift_moves_the_window(xp, p, window, place):
    expected = numpy.zeros((5, 9))
    expected[place] = U[window]
    numpy.testing.assert_allclose(picture(xp, "translation", p, U), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name, p", [("rotation", (math.pi / 2,)), ("similarity", (1, math.pi / 2, 0, 0))])
def test_a_positive_angle_turns_the_picture_counter_clockwise(xp, name, p):
    square = U[:, :5]
    numpy.testing.assert_allclose(picture(xp, name, p, square), numpy.rot90(square), rtol=0, atol=1e-12)


# Dtypes, nothing, errors.

@both_dtypes
@transformations
def test_dtype_in_dtype_out(xp, name, dtype):
    """Through the sampler and back, to the parameters."""
    p = xp.asarray(parameters(name, B=2), dtype=dtype)
    grid, cache_grid = TRANSFORMATIONS[name].forward(p, size=(4, 7), align_corners=True)
    V, cache = sample_forward(xp.ones((2, 3, 5, 6), dtype=dtype), grid)
    dp = TRANSFORMATIONS[name].backward(sample_backward(V, cache)[1], cache_grid)
    assert grid.dtype == V.dtype == dp.dtype == dtype


@transformations
def test_empty_batch(xp, name):
    transformation = TRANSFORMATIONS[name]
    n = len(transformation.identity)
    grid, cache = transformation.forward(xp.zeros((0, n)), size=(4, 7), align_corners=True)
    assert grid.shape == (0, 2, 4, 7)
    assert transformation.backward(grid, cache).shape == (0, n)


@transformations
def test_nothing_given_is_written_to(xp, name):
    p = xp.asarray(parameters(name))
    if xp is numpy:
        p.flags.writeable = False
    grid, cache = TRANSFORMATIONS[name].forward(p, size=(4, 7), align_corners=True)
    before = to_host(grid).copy()
    TRANSFORMATIONS[name].backward(grid, cache)
    numpy.testing.assert_array_equal(to_host(p), parameters(name))
    numpy.testing.assert_array_equal(to_host(grid), before)


def raises(kind, sentence):
    return pytest.raises(kind, match=f"^{re.escape(sentence)}$")


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


@pytest.mark.parametrize("name", FORMS)
def test_errors_of_the_forms(xp, name):
    (forward, backward), n = form(name), len(TRANSFORMATIONS[name].identity)
    for p in (xp.zeros((2, n + 1)), xp.zeros(n)):
        with raises(ValueError, f"p must have shape (B, {n}), not {p.shape}"):
            forward(p)
    with raises(TypeError, "p must be float32 or float64, not int32"):
        forward(xp.zeros((2, n), dtype="int32"))
    _, cache = forward(xp.zeros((2, n)))
    with raises(ValueError, "dtheta must have shape (B, 2, 3), not (2, 6)"):
        backward(xp.zeros((2, 6)), cache)
    with raises(ValueError, f"p must have shape (B, {n}) with B = 5, not (2, {n})"):
        backward(xp.zeros((5, 2, 3)), cache)
