"""The trilinear sampler at its edges: non-finite and huge coordinates, one pixel, nothing at all, views, errors."""


import checks_of_pairs
import checks_of_volume as checks
import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.sampling.volume import sample3d_backward, sample3d_forward

paddings = pytest.mark.parametrize("padding", checks_of_pairs.PADDINGS)
both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
both_rules = pytest.mark.parametrize("lattice", ["right", "central"])
NAN, INF = numpy.nan, numpy.inf
BAD_POINT = (-1, slice(None), 2, 3, 1)


def run(U, grid, dV, **options):
    """V, dU, dgrid, on the host."""
    V, cache = sample3d_forward(U, grid, **options)
    return tuple(map(to_host, (V, *sample3d_backward(dV, cache))))


@paddings
@both_conventions
@both_dtypes
def test_a_point_that_is_not_finite_samples_nothing(xp, padding, align_corners, dtype):
    options = {"padding": padding, "align_corners": align_corners}
    U, grid, dV = checks.inputs(xp, "generic", align_corners, dtype)
    host_grid, host_dV = to_host(grid).copy(), to_host(dV).copy()
    host_dV[-1, 2, 3, 1] = 0
    V, dU, dgrid = run(U, grid, xp.asarray(host_dV), **options)
    V[-1, 2, 3, 1] = 0
    assert not dgrid[BAD_POINT].any()
    for bad in (NAN, INF, -INF, 2e30):
        for point in ([bad, 0.1, 0.2], [0.1, bad, 1e30], [0.2, 0.1, bad], [bad, bad, bad]):
            host_grid[BAD_POINT] = point
            for actual, expected in zip(run(U, xp.asarray(host_grid), dV, **options), (V, dU, dgrid), strict=True):
                checks_of_pairs.same(xp, actual, expected)


@paddings
@both_conventions
@both_dtypes
@pytest.mark.parametrize("size", [(1, 5, 4), (4, 1, 5), (5, 4, 1), (1, 1, 1), (2, 3, 4)])
def test_no_number_of_the_dtype_warns(xp, padding, align_corners, dtype, size):
    top = float(numpy.finfo(dtype).max)
    values = [NAN, INF, -INF, top, -top, 1e30, -1e30, float(numpy.finfo(dtype).tiny), 0.0]
    grid = xp.asarray(numpy.stack(numpy.meshgrid(values, values, values))[None], dtype=dtype)
    U, dV = xp.ones((1, *size, 2), dtype=dtype), xp.ones((1, 9, 9, 9, 2), dtype=dtype)
    assert all(numpy.isfinite(a).all() for a in run(U, grid, dV, padding=padding, align_corners=align_corners))


@paddings
@both_conventions
@pytest.mark.parametrize("size", [(1, 5, 4), (4, 1, 5), (5, 4, 1), (1, 1, 1)])
def test_one_pixel_axes(xp, padding, align_corners, size):
    rng = numpy.random.default_rng(0)
    U, grid = rng.normal(size=(2, *size, 3)), rng.uniform(-0.9, 0.9, (2, 3, 6, 8, 7))
    dV, options = rng.normal(size=(2, 6, 8, 7, 3)), {"padding": padding, "align_corners": align_corners}
    results = run(*map(xp.asarray, (U, grid, dV)), **options)
    for actual, expected in zip(results, checks.oracle(U, grid, dV, **options), strict=True):
        checks_of_pairs.close(actual, expected, 1e-12)
    check_gradients(sample3d_forward, sample3d_backward, (xp.asarray(U), xp.asarray(grid)), **options)
    if align_corners:  # every coordinate is at the one pixel, so nothing depends on it
        assert not results[2][:, [k for k in range(3) if size[2 - k] == 1]].any()


@pytest.mark.parametrize("B, C, D_out", [(0, 4, 6), (2, 0, 6), (2, 4, 0), (0, 0, 0)])
@paddings
def test_nothing_in_nothing_out(xp, padding, B, C, D_out):
    U, grid = xp.ones((B, 5, 3, 9, C)), 0.3 * xp.ones((B, 3, D_out, 8, 7))
    V, dU, dgrid = run(U, grid, xp.ones((B, D_out, 8, 7, C)), padding=padding)
    assert V.shape == (B, D_out, 8, 7, C) and dU.shape == U.shape and dgrid.shape == grid.shape
    assert not dU.any() and not dgrid.any()


@paddings
def test_views_equal_contiguous_arrays(xp, padding):
    args = checks.inputs(xp, "border")
    expected = run(*args, padding=padding)
    transposed = [xp.ascontiguousarray(a.T).T for a in args]
    backwards = [xp.ascontiguousarray(a[:, ::-1])[:, ::-1] for a in args]
    for views in (transposed, backwards):
        assert not any(a.flags.c_contiguous for a in views)
        for actual, wanted in zip(run(*views, padding=padding), expected, strict=True):
            checks_of_pairs.close(actual, wanted, 1e-12)


@pytest.mark.parametrize("where", ["lattice", "border"])
@paddings
def test_nothing_given_is_written_to(xp, padding, where):
    U, grid, dV = checks.inputs(xp, where)
    grid = to_host(grid).copy()
    grid[BAD_POINT] = NAN
    args = U, xp.asarray(grid), dV
    before = [to_host(a).copy() for a in args]
    if xp is numpy:
        for a in args:
            a.flags.writeable = False
    V, cache = sample3d_forward(*args[:2], padding=padding)
    first = [to_host(a).copy() for a in sample3d_backward(dV, cache)]
    second = sample3d_backward(dV, cache)  # the cache, too, is as it was
    for a, b in zip(args, before, strict=True):
        numpy.testing.assert_array_equal(to_host(a), b)
    for a, b in zip(second, first, strict=True):
        checks_of_pairs.same(xp, to_host(a), b)


@paddings
@both_conventions
@both_dtypes
@both_rules
def test_dtype_in_dtype_out(xp, padding, align_corners, dtype, lattice):
    args = checks.inputs(xp, "generic", align_corners, dtype)
    options = {"padding": padding, "align_corners": align_corners, "lattice": lattice}
    for actual, expected in zip(run(*args, **options), checks.oracle(*args, **options), strict=True):
        assert actual.dtype == dtype
        checks_of_pairs.close(actual, expected, 1e-5 if dtype == "float32" else 1e-12)


@both_rules
def test_without_dU(xp, lattice):
    U, grid, dV = checks.inputs(xp)
    _, cache = sample3d_forward(U, grid, lattice=lattice)
    dU, dgrid = sample3d_backward(dV, cache, need_dU=False)
    assert dU is None
    numpy.testing.assert_array_equal(to_host(dgrid), to_host(sample3d_backward(dV, cache)[1]))


# Errors.

def zeros(*shape, dtype="float64"):
    return numpy.zeros(shape, dtype=dtype)


GRID = zeros(2, 3, 6, 8, 7)


@pytest.mark.parametrize("U, grid, kind, sentence", [
    (zeros(2, 5, 3, 9), GRID, ValueError, "U must have shape (B, D, H, W, C), not (2, 5, 3, 9)"),
    (zeros(2, 5, 3, 9, 4), zeros(2, 6, 8, 7), ValueError, "grid must have shape (B, 3, D', H', W'), not (2, 6, 8, 7)"),
    (zeros(2, 5, 3, 9, 4), zeros(2, 2, 6, 8, 7), ValueError,
     "grid must have shape (B, 3, D', H', W'), not (2, 2, 6, 8, 7)"),
    (zeros(1, 5, 3, 9, 4), GRID, ValueError, "grid must have shape (B, 3, D', H', W') with B = 1, not (2, 3, 6, 8, 7)"),
    (zeros(2, 5, 3, 9, 4, dtype="int64"), GRID, TypeError, "U must be float32 or float64, not int64"),
    (zeros(2, 5, 3, 9, 4, dtype="float32"), GRID, TypeError, "grid must have the dtype of U, float32, not float64"),
    ([1.0], GRID, TypeError, "U must be a NumPy or CuPy array, not list"),
    (zeros(2, 5, 3, 9, 4), strict.asarray(GRID), TypeError,
     "grid and U must be on the same device, not one on the host and one on the GPU"),
    *[(zeros(*shape), GRID, ValueError, f"U must have at least one pixel, not shape {shape}")
      for shape in ((2, 0, 3, 9, 4), (2, 5, 0, 9, 4), (2, 5, 3, 0, 4))],
])
def test_errors_of_forward(U, grid, kind, sentence):
    with raises(kind, sentence):
        sample3d_forward(U, grid)


@pytest.mark.parametrize("option, choices", [
    ("padding", "'zeros', 'border', 'reflect'"), ("lattice", "'right', 'central'")])
@pytest.mark.parametrize("value", ["left", 3, None])
def test_unknown_options(xp, option, choices, value):
    U, grid, _ = checks.inputs(xp)
    with raises(ValueError, f"{option} must be one of {choices}, not {value!r}"):
        sample3d_forward(U, grid, **{option: value})


@pytest.mark.parametrize("dV, kind, sentence", [
    (zeros(2, 6, 8, 7), ValueError, "dV must have shape (B, D', H', W', C), not (2, 6, 8, 7)"),
    (zeros(2, 6, 8, 7, 4, dtype="float32"), TypeError, "dV must have the dtype of U, float64, not float32"),
    (zeros(2, 6, 8, 7, 4, dtype="int32"), TypeError, "dV must be float32 or float64, not int32"),
    (zeros(2, 6, 8, 7, 1), ValueError, "dV must have shape (B, D', H', W', C) with C = 4, not (2, 6, 8, 7, 1)"),
    (zeros(3, 6, 8, 7, 4), ValueError, "dV must have shape (B, D', H', W', C) with B = 2, not (3, 6, 8, 7, 4)"),
    (zeros(2, 8, 6, 7, 4), ValueError, "dV must have shape (B, D', H', W', C) with D' = 6, not (2, 8, 6, 7, 4)"),
    (1.0, TypeError, "dV must be a NumPy or CuPy array, not float"),
    (strict.zeros((2, 6, 8, 7, 4)), TypeError,
     "dV and U must be on the same device, not one on the host and one on the GPU"),
])
def test_errors_of_backward(dV, kind, sentence):
    U, grid, _ = checks.inputs(numpy)
    _, cache = sample3d_forward(U, grid)
    with raises(kind, sentence):
        sample3d_backward(dV, cache)
