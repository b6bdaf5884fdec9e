"""The projective grid: values, derivative, the horizon, directions, errors, and mutants that must be caught."""

import re
import warnings

import checks_of_pairs as checks
import numpy
import pytest
from checks_of_projective import (
    CHECKS,
    IDENTITY,
    SIZE,
    crossing,
    generic,
    gradients,
    identity,
    loops,
    through_the_sampler,
)
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.grids import projective
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
sizes = pytest.mark.parametrize("size", [(4, 7), (7, 4), (1, 5), (3, 1), (1, 1)])
paddings = pytest.mark.parametrize("padding", checks.PADDINGS)


@pytest.mark.parametrize("name", CHECKS)
def test_the_package_passes(xp, name):
    CHECKS[name](xp)


@both_conventions
@sizes
def test_against_loops_and_finite_differences(xp, align_corners, size):
    loops(xp, generic(), size=size, align_corners=align_corners)
    loops(xp, crossing(), size=size, align_corners=align_corners)
    gradients(xp, size=size, align_corners=align_corners)


@both_conventions
@both_dtypes
@sizes
def test_identity_is_the_target_grid_exactly(xp, dtype, size, align_corners):
    identity(xp, dtype, size, align_corners)


@both_conventions
def test_without_perspective_it_is_the_affine_grid(xp, align_corners):
    """And so is the derivative for the first six parameters."""
    theta, options = generic(), {"size": SIZE, "align_corners": align_corners}
    theta[:, 6:] = 0
    affine, affine_cache = affine_grid_forward(xp.asarray(theta[:, :6].reshape(-1, 2, 3)), **options)
    grid, cache = projective.projective_grid_forward(xp.asarray(theta), **options)
    checks.close(grid, to_host(affine), 1e-14)
    dgrid = xp.asarray(numpy.random.default_rng(5).normal(size=grid.shape))
    expected = to_host(affine_grid_backward(dgrid, affine_cache)).reshape(-1, 6)
    checks.close(projective.projective_grid_backward(dgrid, cache)[:, :6], expected, 1e-13)


@pytest.mark.parametrize("theta, x_s, y_s", [
    ((1, 0, 0, 0, 1, 0, 0.5, 0), [-2, 0, 2 / 3], [0, 0, 0]),  # w = 0.5, 1, 1.5: a wide window left, a narrow one right
    ((1, 0, 0.25, 0, 1, -0.5, 0, 0), [-0.75, 0.25, 1.25], [-0.5] * 3),  # the window right and up
    ((0, 0, 0, 2, 0, 0, -0.5, 0), [0, 0, 0], [-2 / 1.5, 0, 4]),  # y from x
    ((1, 0, 0, 0, 1, 0.5, 0, 0.9), [-1, 0, 1], [0.5] * 3),  # h32 acts down the columns: not in the middle row
])
def test_directions_in_the_middle_row(xp, theta, x_s, y_s):
    grid, _ = projective.projective_grid_forward(xp.asarray([theta], dtype="float64"), size=(3, 3))
    checks.close(grid[0, :, 1], [x_s, y_s], 1e-15)


@both_dtypes
def test_the_bound_of_the_horizon(xp, dtype):
    """At the left edge w is exactly 0, then a little below the bound, then a little above it."""
    theta = xp.asarray([(1, 0, 0, 0, 1, 0, h31, 0) for h31 in (1, 1 - 0.9e-3, 1 - 1.1e-3)], dtype=dtype)
    grid, cache = projective.projective_grid_forward(theta, size=(2, 3))
    numpy.testing.assert_array_equal(numpy.isfinite(to_host(grid))[:, 0, 0], [[0, 1, 1], [0, 1, 1], [1, 1, 1]])
    assert numpy.isfinite(to_host(projective.projective_grid_backward(xp.full_like(grid, 2), cache))).all()


@paddings
@both_dtypes
@pytest.mark.parametrize("kind", ["normal", "huge", "largest", "not finite"])
def test_any_theta_is_harmless(xp, dtype, padding, kind):
    """No NaN, infinity or warning: not in what is sampled, and not in a gradient."""
    rng = numpy.random.default_rng(6)
    theta = rng.normal(size=(2000, 8)) * 10
    some = rng.random(theta.shape) < 0.2
    theta[some] *= {"normal": 1, "huge": 10 ** rng.uniform(0, 36, some.sum()), "largest": 0, "not finite": 0}[kind]
    theta[some] += {"largest": numpy.finfo(dtype).max, "not finite": rng.choice([numpy.nan, numpy.inf], some.sum())
                    }.get(kind, 0)
    theta, U = (xp.asarray(a, dtype=dtype) for a in (theta, rng.normal(size=(2000, 3, 4, 1))))
    forward, backward = through_the_sampler(padding)
    with warnings.catch_warnings(action="error"):
        V, cache = forward(U, theta)
        results = to_host(V), *map(to_host, backward(xp.ones_like(V), cache))
    assert all(a.dtype == dtype and numpy.isfinite(a).all() for a in results)
    unusable = ~(abs(to_host(theta)) <= 1e15).all(axis=1)
    assert unusable.any() == (kind != "normal") and (~unusable).any()
    assert (results[0][unusable] == 0).all() and (results[2][unusable] == 0).all()


def test_empty_batch(xp):
    grid, cache = projective.projective_grid_forward(xp.zeros((0, 8)), size=SIZE)
    assert grid.shape == (0, 2, *SIZE)
    assert projective.projective_grid_backward(grid, cache).shape == (0, 8)


def test_nothing_given_is_written_to(xp):
    theta = xp.asarray(crossing())
    grid, cache = projective.projective_grid_forward(theta, size=SIZE)
    before = to_host(grid).copy()
    first, again = (to_host(projective.projective_grid_backward(grid, cache)).copy() for _ in range(2))
    for a, expected in ((theta, crossing()), (grid, before), (first, again)):
        numpy.testing.assert_array_equal(to_host(a), expected)


# Errors.

@pytest.mark.parametrize("theta, size, kind, sentence", [
    (numpy.zeros(8), SIZE, ValueError, "theta must have shape (B, 8), not (8,)"),
    (numpy.zeros((2, 9)), SIZE, ValueError, "theta must have shape (B, 8), not (2, 9)"),
    (numpy.zeros((2, 8), "int64"), SIZE, TypeError, "theta must be float32 or float64, not int64"),
    ([IDENTITY], SIZE, TypeError, "theta must be a NumPy or CuPy array, not list"),
    (numpy.zeros((2, 8)), (0, 7), ValueError, "size must be 2 positive whole numbers, not (0, 7)"),
])
def test_errors_of_forward(theta, size, kind, sentence):
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        projective.projective_grid_forward(theta, size=size)


@pytest.mark.parametrize("dgrid, kind, words", [
    (numpy.zeros((3, 2, 7, 4)), ValueError, "dgrid must have shape (3, 2, 4, 7), that of the forward's output"),
    (None, TypeError, "dgrid must be a NumPy or CuPy array, not NoneType"),
    (numpy.zeros((3, 2, 4, 7), "float32"), TypeError, "dgrid must have the dtype of grid, float64, not float32"),
    (strict.zeros((3, 2, 4, 7)), TypeError, "dgrid and grid must be on the same device"),
])
def test_errors_of_backward(dgrid, kind, words):
    _, cache = projective.projective_grid_forward(numpy.zeros((3, 8)), size=SIZE)
    with pytest.raises(kind, match=f"^{re.escape(words)}"):
        projective.projective_grid_backward(dgrid, cache)


# Mutants.

def missing_x_s(forward, backward):
    """The quotient rule without -x_s: only the numerators have a derivative."""
    return forward, lambda dgrid, cache: backward(dgrid, cache._replace(x_s=0 * cache.x_s, y_s=0 * cache.y_s))


def sign_of_w(forward, backward):
    """w = 1 - h31 x_t - h32 y_t, in the derivative too."""
    flip = numpy.array([1, 1, 1, 1, 1, 1, -1, -1])
    return (lambda theta, **options: forward(theta * flip, **options),
            lambda dgrid, cache: backward(dgrid, cache) * flip)


def x_and_y_swapped(forward, backward):
    def swapped(theta, **options):
        grid, cache = forward(theta, **options)
        return grid[:, ::-1], cache

    return swapped, lambda dgrid, cache: backward(dgrid[:, ::-1], cache)


def w_plus_eps(forward, backward):
    """Division by w + 1e-8 in place of a horizon; with theta / (1 + 1e-8), that is what h33 = 1 gives."""
    return (lambda theta, **options: forward(theta / (1 + 1e-8), **options),
            lambda dgrid, cache: backward(dgrid, cache) / (1 + 1e-8))


@pytest.mark.parametrize("mutant, caught, deceived", [
    (missing_x_s, "gradients; gradients through the sampler; visible gradients; horizon", "loops; identity"),
    (sign_of_w, "loops; horizon", "identity; gradients; gradients through the sampler; visible gradients"),
    (x_and_y_swapped, "loops; identity", "gradients; gradients through the sampler; visible gradients"),
    (w_plus_eps, "loops; identity; horizon", "gradients; gradients through the sampler"),
])
def test_mutants(monkeypatch, mutant, caught, deceived):
    pair = mutant(projective.projective_grid_forward, projective.projective_grid_backward)
    for name, function in zip(("forward", "backward"), pair, strict=True):
        monkeypatch.setattr(projective, f"projective_grid_{name}", function)
    if mutant is w_plus_eps:
        monkeypatch.setattr(projective, "HORIZON", -numpy.inf)
    for name in caught.split("; "):
        with pytest.raises(AssertionError):
            CHECKS[name](numpy)
    for name in deceived.split("; "):
        CHECKS[name](numpy)
