"""The thin-plate-spline grid: values, exactness, bending, derivatives, the kept matrix, errors, mutants."""

import math
import re
from concurrent.futures import ThreadPoolExecutor

import checks_of_pairs as checks
import numpy
import pytest
from checks_of_thin_plate import (
    CHECKS,
    adjoint,
    affine_moves,
    bends,
    control_points,
    dense_grid,
    gradients,
    grid_of,
    identity,
    lattice,
    loops,
    random_theta,
)
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.grids import thin_plate
from stn_scratch.grids.thin_plate import tps_grid_backward, tps_grid_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
every_K = pytest.mark.parametrize("K", [4, 9, 16, 25])
sizes = pytest.mark.parametrize("size", [(4, 7), (7, 4), (1, 5), (3, 1), (1, 1)])


@pytest.mark.parametrize("name", CHECKS)
def test_the_package_passes(xp, name):
    CHECKS[name](xp)


@both_conventions
@every_K
@sizes
def test_every_size(xp, K, size, align_corners):
    options = {"K": K, "size": size, "align_corners": align_corners}
    for check in (loops, affine_moves, identity, adjoint, gradients):
        check(xp, **options)


@pytest.mark.parametrize("smoothing", [0.01, 2.5])
def test_smoothing(xp, smoothing):
    for check in (loops, affine_moves, adjoint, gradients):
        check(xp, smoothing=smoothing)


@pytest.mark.parametrize("K, size", [(4, (2, 2)), (4, (3, 6)), (9, (3, 3)), (9, (5, 7)), (16, (4, 4)), (25, (5, 9))])
def test_control_points_are_hit(xp, K, size):
    control_points(xp, K, size)


def test_control_points_are_hit_without_align_corners(xp):
    """The centres of 2 x 2 pixels, at -0.5 and 0.5, are four of the 25."""
    theta = random_theta(25)
    inner = [6, 8, 16, 18]
    grid = grid_of(xp, theta, size=(2, 2), align_corners=False).reshape(3, 2, 4)
    checks.close(grid.swapaxes(1, 2), (lattice(25) + theta)[:, inner], 1e-10)


@every_K
def test_every_control_point_bends(xp, K):
    bends(xp, K)


@both_conventions
@both_dtypes
@every_K
def test_dtype_in_dtype_out(xp, K, dtype, align_corners):
    identity(xp, K, dtype, align_corners=align_corners)
    options = {"size": (4, 7), "align_corners": align_corners}
    theta = xp.asarray(random_theta(K), dtype=dtype)
    grid, cache = tps_grid_forward(theta, **options)
    dtheta = tps_grid_backward(grid, cache)
    assert grid.dtype == dtheta.dtype == dtype and dtheta.shape == theta.shape
    checks.close(grid, dense_grid(random_theta(K), **options), {"float64": 1e-11, "float32": 2e-5}[dtype])


def test_empty_batch(xp):
    grid, cache = tps_grid_forward(xp.zeros((0, 16, 2)), size=(4, 7))
    assert grid.shape == (0, 2, 4, 7)
    assert tps_grid_backward(grid, cache).shape == (0, 16, 2)


# What is kept between calls.

def test_one_solve_for_many_calls(xp):
    caches = [tps_grid_forward(xp.asarray(random_theta(seed=seed)), size=size)[1]
              for seed, size in enumerate([(4, 7), [4, 7], (numpy.int64(4), 7)])]
    assert caches[0].M is caches[1].M is caches[2].M


def test_what_is_kept_is_bounded(xp):
    for width in range(1, 20):
        tps_grid_forward(xp.zeros((1, 4, 2)), size=(2, width))
    info = thin_plate._spline.cache_info()
    assert info.currsize <= info.maxsize == 16


def test_nothing_is_written_to(xp):
    """Neither what is given nor what is kept; and the grid is the caller's own."""
    theta = xp.asarray(random_theta())
    grid, cache = tps_grid_forward(theta, size=(4, 7))
    before = to_host(grid).copy()
    dtheta = tps_grid_backward(grid, cache)
    checks.close(theta, random_theta(), 0)
    checks.close(grid, before, 0)
    grid[:] = dtheta[:] = 5
    checks.close(tps_grid_forward(theta, size=(4, 7))[0], before, 0)


def test_threads(xp):
    """Several at once, all starting from nothing kept."""
    jobs = [(4, 7), (7, 4), (3, 5)] * 8
    expected = {size: grid_of(xp, random_theta(), size=size) for size in jobs}
    thin_plate._spline.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for size, grid in zip(jobs, pool.map(lambda size: grid_of(xp, random_theta(), size=size), jobs), strict=True):
            checks.close(grid, expected[size], 1e-12)


# Errors.

@pytest.mark.parametrize("theta, kind, sentence", [
    (numpy.zeros((2, 32)), ValueError, "theta must have shape (B, K, 2), not (2, 32)"),
    (numpy.zeros((2, 2, 16)), ValueError, "theta must have shape (B, K, 2), not (2, 2, 16)"),
    (numpy.zeros((2, 4, 4, 2)), ValueError, "theta must have shape (B, K, 2), not (2, 4, 4, 2)"),
    *[(numpy.zeros((2, K, 2)), ValueError,
       f"theta must have a square number of control points, 4 or more, not {K}") for K in (0, 1, 2, 3, 5, 15, 17)],
    (numpy.zeros((2, 16, 2), dtype="int64"), TypeError, "theta must be float32 or float64, not int64"),
    ([[[0, 0]] * 16], TypeError, "theta must be a NumPy or CuPy array, not list"),
])
def test_errors_of_theta(theta, kind, sentence):
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        tps_grid_forward(theta, size=(4, 7))


@pytest.mark.parametrize("option, value, sentence", [
    *[("size", size, "size must be 2 positive whole numbers, not {!r}") for size in ((4,), (0, 7), (4.0, 7), 28, None)],
    *[("smoothing", smoothing, "smoothing must be a finite number, 0 or more, not {!r}")
      for smoothing in (-1e-9, math.nan, math.inf, "1", None, True)],
])
def test_errors_of_options(xp, option, value, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence.format(value))}$"):
        tps_grid_forward(xp.zeros((2, 16, 2)), **{"size": (4, 7), option: value})


@pytest.mark.parametrize("dgrid, kind", [
    (numpy.zeros((3, 4, 7)), ValueError), (numpy.zeros((3, 1, 4, 7)), ValueError), (None, TypeError),
    (numpy.zeros((3, 2, 7, 4)), ValueError), (numpy.zeros((6, 2, 4, 7)), ValueError),
    (numpy.zeros((3, 2, 4, 7), dtype="float32"), TypeError), (strict.zeros((3, 2, 4, 7)), TypeError)])
def test_errors_of_backward(dgrid, kind):
    _, cache = tps_grid_forward(numpy.zeros((3, 16, 2)), size=(4, 7))
    with pytest.raises(kind, match="dgrid"):
        tps_grid_backward(dgrid, cache)


# Mutants. Each works on the matrix afresh, so that nothing wrong is kept.

def plant_U(U):
    def plant(patch):
        patch.setattr(thin_plate, "_spline", thin_plate._spline.__wrapped__)
        patch.setattr(thin_plate, "_U", U)
    return plant


def unmasked(r2):
    """0 log 0 = NaN"""
    with numpy.errstate(all="ignore"):
        return r2 * numpy.log(r2)


def r_log_r(r2):
    return numpy.sqrt(r2) * numpy.log(numpy.sqrt(numpy.where(r2 > 0, r2, 1)))


def epsilon_in_the_log(r2):
    return r2 * numpy.log(r2 + 1e-8)


def bending_lost(patch):
    """The mask the wrong way round: U is 0 wherever it is not NaN, and the affine part is left."""
    def affine_only(xp, K, size, align_corners, smoothing, dtype):
        G = thin_plate.target_grid(xp, size, align_corners, dtype)
        return thin_plate.Spline(G[:2], G.T @ numpy.linalg.pinv(numpy.c_[lattice(K), numpy.ones(K)]))

    patch.setattr(thin_plate, "_spline", affine_only)


def smoothing_lost(patch):
    real = thin_plate._spline
    patch.setattr(thin_plate, "_spline", lambda *key: real(*key[:4], 0.0, key[5]))


def pair(change_theta):
    """theta changed on its way in, and dtheta in the same way on its way out: consistently wrong."""
    def plant(patch):
        patch.setattr(thin_plate, "tps_grid_forward", lambda theta, **options: tps_grid_forward(
            change_theta(theta), **options))
        patch.setattr(thin_plate, "tps_grid_backward", lambda dgrid, cache: change_theta(
            tps_grid_backward(dgrid, cache)))
    return plant


def lattice_transposed(theta):
    """Column by column, y fastest."""
    n = math.isqrt(theta.shape[1])
    return theta.reshape(-1, n, n, 2).swapaxes(1, 2).reshape(theta.shape)


def dtheta_not_transposed(patch):
    patch.setattr(thin_plate, "tps_grid_backward", lambda dgrid, cache: tps_grid_backward(
        dgrid, cache).swapaxes(1, 2).reshape(-1, 16, 2))


CONSISTENT = "gradients; adjoint; identity; bends"


@pytest.mark.parametrize("plant, caught, deceived", [
    (plant_U(unmasked), "loops; control points; identity; derivative at a control point", ""),
    (plant_U(r_log_r), "loops", f"control points; affine moves; smooths; {CONSISTENT}"),
    (plant_U(epsilon_in_the_log), "loops", f"control points; affine moves; smooths; {CONSISTENT}"),
    (bending_lost, "loops; control points; bends; derivative at a control point",
     "affine moves; gradients; adjoint; identity"),
    (smoothing_lost, "smooths", f"loops; control points; affine moves; {CONSISTENT}"),
    (pair(lambda theta: theta[:, :, ::-1]), "loops; control points; affine moves", CONSISTENT),
    (pair(lattice_transposed), "loops; control points; affine moves", CONSISTENT),
    (dtheta_not_transposed, "gradients; adjoint; derivative at a control point", "loops; control points; identity"),
], ids="unmasked r_log_r epsilon bending_lost smoothing_lost x_and_y lattice dtheta".split())
def test_mutants(monkeypatch, plant, caught, deceived):
    plant(monkeypatch)
    for name in caught.split("; "):
        with pytest.raises(AssertionError):
            CHECKS[name](numpy)
    for name in deceived.split("; ") if deceived else []:
        CHECKS[name](numpy)
