"""The piecewise-affine grid: values, vertices, edges, triangles, derivatives, errors, mutants."""

import re
from concurrent.futures import ThreadPoolExecutor

import checks_of_pairs as checks
import numpy
import pytest
from checks_of_piecewise import (
    CHECKS,
    adjoint,
    affine_moves,
    dense_grid,
    gradients,
    grid_of,
    identity,
    loops,
    random_theta,
)
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.grids import piecewise
from stn_scratch.grids.piecewise import piecewise_affine_grid_backward, piecewise_affine_grid_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
meshes = pytest.mark.parametrize("mesh", [(2, 2), (2, 5), (4, 3), (4, 4)])
sizes = pytest.mark.parametrize("size", [(5, 8), (8, 5), (1, 6), (3, 1), (1, 1)])


@pytest.mark.parametrize("name", CHECKS)
def test_the_package_passes(xp, name):
    CHECKS[name](xp)


@both_conventions
@meshes
@sizes
def test_every_size(xp, mesh, size, align_corners):
    for check in (loops, affine_moves, identity, gradients, adjoint):
        check(xp, mesh=mesh, size=size, align_corners=align_corners)


@both_conventions
@both_dtypes
def test_dtype_in_dtype_out(xp, dtype, align_corners):
    identity(xp, dtype=dtype, align_corners=align_corners)
    options = {"size": (6, 9), "align_corners": align_corners}
    theta = xp.asarray(random_theta(), dtype=dtype)
    grid, cache = piecewise_affine_grid_forward(theta, **options)
    dtheta = piecewise_affine_grid_backward(grid, cache)
    assert grid.dtype == dtheta.dtype == dtype and dtheta.shape == theta.shape
    checks.close(grid, dense_grid(random_theta(), **options), {"float64": 1e-12, "float32": 1e-5}[dtype])


def test_empty_batch(xp):
    grid, cache = piecewise_affine_grid_forward(xp.zeros((0, 3, 4, 2)), size=(6, 9))
    assert grid.shape == (0, 2, 6, 9)
    assert piecewise_affine_grid_backward(grid, cache).shape == (0, 3, 4, 2)


def test_what_is_kept(xp):
    """Once for many calls, of a bounded number, and never written to; the grid is the caller's own."""
    theta = xp.asarray(random_theta())
    grid, cache = piecewise_affine_grid_forward(theta, size=(6, 9))
    before = to_host(grid).copy()
    dtheta = piecewise_affine_grid_backward(grid, cache)
    checks.close(theta, random_theta(), 0)
    checks.close(grid, before, 0)
    grid[:] = dtheta[:] = 5
    again, other = piecewise_affine_grid_forward(theta, size=[numpy.int64(6), 9])
    checks.close(again, before, 0)
    assert other.index is cache.index and other.weight is cache.weight
    for width in range(1, 20):
        piecewise_affine_grid_forward(theta, size=(2, width))
    info = piecewise._triangles.cache_info()
    assert info.currsize <= info.maxsize == 16


def test_threads(xp):
    """Several at once, all starting from nothing kept."""
    jobs = [(4, 7), (7, 4), (3, 5)] * 8
    expected = {size: grid_of(xp, random_theta(), size=size) for size in jobs}
    piecewise._triangles.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        for size, grid in zip(jobs, pool.map(lambda size: grid_of(xp, random_theta(), size=size), jobs), strict=True):
            checks.close(grid, expected[size], 0)


# Errors.

@pytest.mark.parametrize("theta, kind, sentence", [
    (numpy.zeros((2, 32)), ValueError, "theta must have shape (B, Kr, Kc, 2), not (2, 32)"),
    (numpy.zeros((2, 16, 2)), ValueError, "theta must have shape (B, Kr, Kc, 2), not (2, 16, 2)"),
    (numpy.zeros((2, 2, 4, 4)), ValueError, "theta must have shape (B, Kr, Kc, 2), not (2, 2, 4, 4)"),
    *[(numpy.zeros((2, *mesh, 2)), ValueError,
       f"theta must have at least 2 rows and 2 columns of vertices, not shape {(2, *mesh, 2)}")
      for mesh in ((1, 4), (4, 1), (0, 4), (4, 0))],
    (numpy.zeros((2, 4, 4, 2), dtype="int64"), TypeError, "theta must be float32 or float64, not int64"),
    ([[[[0, 0]] * 4] * 4], TypeError, "theta must be a NumPy or CuPy array, not list"),
])
def test_errors_of_theta(theta, kind, sentence):
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        piecewise_affine_grid_forward(theta, size=(4, 7))


@pytest.mark.parametrize("size", [(4,), (4, 7, 1), (0, 7), (4.0, 7), 28, None], ids=repr)
def test_errors_of_size(xp, size):
    with pytest.raises(ValueError, match=f"^{re.escape(f'size must be 2 positive whole numbers, not {size!r}')}$"):
        piecewise_affine_grid_forward(xp.zeros((2, 4, 4, 2)), size=size)


@pytest.mark.parametrize("dgrid, kind", [
    (numpy.zeros((3, 4, 7)), ValueError), (numpy.zeros((3, 1, 4, 7)), ValueError), (None, TypeError),
    (numpy.zeros((3, 2, 7, 4)), ValueError), (numpy.zeros((6, 2, 4, 7)), ValueError),
    (numpy.zeros((3, 2, 4, 7), dtype="float32"), TypeError), (strict.zeros((3, 2, 4, 7)), TypeError)])
def test_errors_of_backward(dgrid, kind):
    _, cache = piecewise_affine_grid_forward(numpy.zeros((3, 4, 4, 2)), size=(4, 7))
    with pytest.raises(kind, match="dgrid"):
        piecewise_affine_grid_backward(dgrid, cache)


# Mutants.

def triangles_changed(change):
    """The index and the weight of each point's three vertices, changed for forward and backward alike."""
    def plant(patch):
        def wrong(xp, mesh, *key):
            kept = real(xp, mesh, *key)
            index, weight = change(kept.index.copy(), kept.weight.copy(), mesh)
            return kept._replace(index=index, weight=weight)

        real = piecewise._triangles
        patch.setattr(piecewise, "_triangles", wrong)
    return plant


def third_vertex_lost(index, weight, mesh):
    weight[1] = 0
    return index, weight


def columns_first(index, weight, mesh):
    """column * Kr + row"""
    return index % mesh[1] * mesh[0] + index // mesh[1], weight


def wrong_half_of_the_cell(index, weight, mesh):
    """The top right corner below the diagonal, the bottom left above it."""
    index[1] = index[0] + index[2] - index[1]
    return index, weight


def bilinear_cells(index, weight, mesh):
    """All four corners of a cell, as a sampler would mix them: continuous, but not affine."""
    a, b = weight[2], weight[1] + weight[2]
    right = index[1] == index[0] + 1
    a, b = numpy.where(right, b, a), numpy.where(right, a, b)
    return (numpy.stack([index[0], index[0] + 1, index[0] + mesh[1], index[2]]),
            numpy.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b]))


def x_and_y_swapped(patch):
    patch.setattr(piecewise, "piecewise_affine_grid_forward", lambda theta, **options: piecewise_affine_grid_forward(
        theta[..., ::-1], **options))
    patch.setattr(piecewise, "piecewise_affine_grid_backward", lambda dgrid, cache: piecewise_affine_grid_backward(
        dgrid, cache)[..., ::-1])


def plus_equals_in_place_of_scatter_add(patch):
    def overwrite(target, index, values):
        target[index] += values

    patch.setattr(piecewise, "scatter_add", overwrite)


CONSISTENT = "identity; gradients; adjoint"


@pytest.mark.parametrize("plant, caught, deceived", [
    (triangles_changed(third_vertex_lost), "loops; vertices; affine moves; continuous", CONSISTENT),
    (triangles_changed(columns_first), "loops; vertices; affine moves", CONSISTENT),
    (triangles_changed(wrong_half_of_the_cell), "loops; vertices; affine moves; continuous", CONSISTENT),
    (triangles_changed(bilinear_cells), "loops; triangles", "vertices; affine moves; continuous; identity"),
    (x_and_y_swapped, "loops; vertices; affine moves", f"triangles; {CONSISTENT}"),
    (plus_equals_in_place_of_scatter_add, "gradients; adjoint", "loops; vertices; affine moves; triangles; identity"),
], ids="third columns_first half bilinear x_and_y scatter".split())
def test_mutants(monkeypatch, plant, caught, deceived):
    plant(monkeypatch)
    for name in caught.split("; "):
        with pytest.raises(AssertionError):
            CHECKS[name](numpy)
    for name in deceived.split("; "):
        CHECKS[name](numpy)
