"""The sampler at its edges: non-finite and huge coordinates, one pixel, nothing at all, views, dtypes, errors."""


import checks_of_pairs as checks
import numpy
import pytest
from checks_of_pairs import PADDINGS
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.sampling import sample_backward, sample_forward

kernels = pytest.mark.parametrize("kernel", ["bilinear", "integer"])
paddings = pytest.mark.parametrize("padding", PADDINGS)
both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
NAN, INF = numpy.nan, numpy.inf


def run(U, grid, dV, **options):
    """V, dU, dgrid, on the host."""
    V, cache = sample_forward(U, grid, **options)
    return tuple(map(to_host, (V, *sample_backward(dV, cache))))


def with_point(xp, grid, x, y):
    """The grid with one point of the last image replaced; None leaves a coordinate as it is."""
    grid = to_host(grid).copy()
    for axis, value in enumerate((x, y)):
        if value is not None:
            grid[-1, axis, 2, 3] = value
    return xp.asarray(grid)


@kernels
@paddings
@both_conventions
@both_dtypes
def test_a_point_that_is_not_finite_samples_nothing(xp, kernel, padding, align_corners, dtype):
    options = {"kernel": kernel, "padding": padding, "align_corners": align_corners}
    U, grid, dV = checks.inputs(xp, "generic", align_corners, dtype)
    V, dU, dgrid = run(U, grid, dV, **options)
    dV_without = to_host(dV).copy()
    dV_without[-1, 2, 3] = 0
    dU_without = run(U, grid, xp.asarray(dV_without), **options)[1]
    V[-1, 2, 3] = 0
    dgrid[-1, :, 2, 3] = 0
    points = [(bad, y) for bad in (NAN, INF, -INF) for y in (None, 0.1, bad, 1e30)]
    for x, y in points + [(y, x) for x, y in points]:
        results = run(U, with_point(xp, grid, x, y), dV, **options)
        for actual, expected in zip(results, (V, dU_without, dgrid), strict=True):
            checks.same(xp, actual, expected)


@kernels
@paddings
@both_conventions
@both_dtypes
def test_a_huge_point(xp, kernel, padding, align_corners, dtype):
    """Zeros: black. Border: the corner pixel, flat. Reflect: some point of the image, so between its extremes."""
    U, grid, dV = checks.inputs(xp, "generic", align_corners, dtype)
    for x, y in [(1e30, 0.1), (0.1, -1e30), (1e30, -1e30), (-1e9, 1e30)]:
        V, dU, dgrid = run(U, with_point(xp, grid, x, y), dV, kernel=kernel, padding=padding,
                           align_corners=align_corners)
        assert all(numpy.isfinite(a).all() for a in (V, dU, dgrid))
        point, slope, image = V[-1, 2, 3], dgrid[-1, :, 2, 3], to_host(U)[-1]
        if padding == "zeros":
            assert not point.any() and not slope.any()
        elif padding == "border":
            assert not slope[[abs(x) > 1, abs(y) > 1]].any()
            if abs(x) > 1 and abs(y) > 1:
                numpy.testing.assert_array_equal(point, image[0 if y < 0 else -1, 0 if x < 0 else -1])
        else:
            assert (point <= image.max(axis=(0, 1))).all() and (point >= image.min(axis=(0, 1))).all()


@paddings
@both_conventions
@both_dtypes
@pytest.mark.parametrize("size", [(1, 5), (4, 1), (1, 1)])
def test_no_number_of_the_dtype_warns(xp, padding, align_corners, dtype, size):
    """Not even the largest, on an axis of one pixel or of many."""
    top = float(numpy.finfo(dtype).max)
    values = [NAN, INF, -INF, top, -top, float(numpy.finfo(dtype).tiny), 0.0]
    grid = xp.asarray(numpy.stack(numpy.meshgrid(values, values))[None], dtype=dtype)
    U = xp.ones((1, *size, 2), dtype=dtype)
    results = run(U, grid, xp.ones((1, 7, 7, 2), dtype=dtype), padding=padding, align_corners=align_corners)
    assert all(numpy.isfinite(a).all() for a in results)


@paddings
@both_conventions
@pytest.mark.parametrize("size", [(1, 5), (4, 1), (1, 1)])
def test_one_pixel_axes_of_the_image(xp, padding, align_corners, size):
    rng = numpy.random.default_rng(0)
    U, dV = rng.normal(size=(2, *size, 3)), rng.normal(size=(2, 6, 7, 3))
    grid = rng.uniform(-0.9, 0.9, (2, 2, 6, 7))
    options = {"padding": padding, "align_corners": align_corners}
    results = run(*map(xp.asarray, (U, grid, dV)), **options)
    for actual, expected in zip(results, checks.oracle(U, grid, dV, **options), strict=True):
        checks.close(actual, expected, 1e-12)
    check_gradients(sample_forward, sample_backward, (xp.asarray(U), xp.asarray(grid)), **options)
    if align_corners:  # every x is at the one pixel, so nothing depends on it
        assert not results[2][:, [k for k in (0, 1) if size[1 - k] == 1]].any()


@both_conventions
@pytest.mark.parametrize("size", [(1, 6), (7, 1), (1, 1)])
def test_one_pixel_axes_of_the_output_look_at_the_middle(xp, align_corners, size):
    U = numpy.random.default_rng(0).normal(size=(2, 3, 5, 4))
    grid = checks.identity_grid(xp, 2, size, align_corners)
    V, _ = sample_forward(xp.asarray(U), grid, align_corners=align_corners)
    for axis, n in ((0, size[1]), (1, size[0])):
        assert n > 1 or not to_host(grid)[:, axis].any()
    if size == (1, 1):
        checks.close(V, U[:, 1:2, 2:3], 1e-15)
    checks.close(V, checks.oracle(U, grid, to_host(V), align_corners=align_corners)[0], 1e-12)


@pytest.mark.parametrize("B, C, H_out", [(0, 4, 6), (2, 0, 6), (2, 4, 0), (0, 0, 0)])
@paddings
def test_nothing_in_nothing_out(xp, padding, B, C, H_out):
    """No image, no channel, no output row: arrays of the right shape, and zero gradients."""
    U, grid = xp.ones((B, 3, 5, C)), 0.3 * xp.ones((B, 2, H_out, 7))
    V, dU, dgrid = run(U, grid, xp.ones((B, H_out, 7, C)), padding=padding)
    assert V.shape == (B, H_out, 7, C) and dU.shape == U.shape and dgrid.shape == grid.shape
    assert not dU.any() and not dgrid.any()


@kernels
@paddings
def test_views_equal_contiguous_arrays(xp, kernel, padding):
    args = checks.inputs(xp, "border")
    expected = run(*args, kernel=kernel, padding=padding)
    transposed = [xp.ascontiguousarray(a.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0) for a in args]
    strided = []
    for a in args:
        wide = xp.full((*a.shape[:3], 2 * a.shape[3]), numpy.nan)
        wide[..., ::2] = a
        strided.append(wide[..., ::2])
    backwards = [xp.ascontiguousarray(a[:, ::-1])[:, ::-1] for a in args]
    for views in (transposed, strided, backwards):
        assert not any(a.flags.c_contiguous for a in views)
        for actual, wanted in zip(run(*views, kernel=kernel, padding=padding), expected, strict=True):
            checks.close(actual, wanted, 1e-12)


@pytest.mark.parametrize("where", ["lattice", "border"])
@paddings
def test_nothing_given_is_written_to(xp, padding, where):
    U, grid, dV = checks.inputs(xp, where)
    grid = with_point(xp, grid, NAN, None)
    before = [to_host(a).copy() for a in (U, grid, dV)]
    if xp is numpy:
        for a in (U, grid, dV):
            a.flags.writeable = False
    V, cache = sample_forward(U, grid, padding=padding)
    first = [to_host(a).copy() for a in sample_backward(dV, cache)]
    second = sample_backward(dV, cache)  # the cache, too, is as it was
    for a, b in zip((U, grid, dV), before, strict=True):
        numpy.testing.assert_array_equal(to_host(a), b)
    for a, b in zip(second, first, strict=True):
        checks.same(xp, to_host(a), b)


@kernels
@paddings
@both_conventions
@both_dtypes
@pytest.mark.parametrize("lattice", ["right", "central"])
def test_dtype_in_dtype_out(xp, kernel, padding, align_corners, dtype, lattice):
    U, grid, dV = checks.inputs(xp, "generic", align_corners, dtype)
    options = {"kernel": kernel, "padding": padding, "align_corners": align_corners, "lattice": lattice}
    V, dU, dgrid = run(U, grid, dV, **options)
    assert V.dtype == dU.dtype == dgrid.dtype == dtype
    for actual, expected in zip((V, dU, dgrid), checks.oracle(U, grid, dV, **options), strict=True):
        checks.close(actual, expected, 1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("lattice", ["right", "central"])
def test_without_dU(xp, lattice):
    U, grid, dV = checks.inputs(xp)
    _, cache = sample_forward(U, grid, lattice=lattice)
    dU, dgrid = sample_backward(dV, cache, need_dU=False)
    assert dU is None
    numpy.testing.assert_array_equal(to_host(dgrid), to_host(sample_backward(dV, cache)[1]))


def zeros(*shape, dtype="float64"):
    return numpy.zeros(shape, dtype=dtype)


@pytest.mark.parametrize("U, grid, kind, sentence", [
    (zeros(2, 3, 5), zeros(2, 2, 6, 7), ValueError, "U must have shape (B, H, W, C), not (2, 3, 5)"),
    (zeros(2, 3, 5, 4), zeros(2, 6, 7), ValueError, "grid must have shape (B, 2, H', W'), not (2, 6, 7)"),
    (zeros(2, 3, 5, 4), zeros(2, 6, 7, 2), ValueError, "grid must have shape (B, 2, H', W'), not (2, 6, 7, 2)"),
    (zeros(2, 3, 5, 4), zeros(8, 2, 6, 7), ValueError,
     "grid must have shape (B, 2, H', W') with B = 2, not (8, 2, 6, 7)"),
    (zeros(2, 3, 5, 4, dtype="int64"), zeros(2, 2, 6, 7), TypeError, "U must be float32 or float64, not int64"),
    (zeros(2, 3, 5, 4), zeros(2, 2, 6, 7, dtype="float16"), TypeError, "grid must be float32 or float64, not float16"),
    (zeros(2, 3, 5, 4), zeros(2, 2, 6, 7, dtype="float32"), TypeError,
     "grid must have the dtype of U, float64, not float32"),
    ([[[[1.0]]]], zeros(1, 2, 6, 7), TypeError, "U must be a NumPy or CuPy array, not list"),
    (zeros(2, 3, 5, 4), strict.zeros((2, 2, 6, 7)), TypeError,
     "grid and U must be on the same device, not one on the host and one on the GPU"),
    (zeros(2, 0, 5, 4), zeros(2, 2, 6, 7), ValueError, "U must have at least one pixel, not shape (2, 0, 5, 4)"),
    (zeros(2, 3, 0, 4), zeros(2, 2, 6, 7), ValueError, "U must have at least one pixel, not shape (2, 3, 0, 4)"),
])
def test_errors_of_forward(U, grid, kind, sentence):
    with raises(kind, sentence):
        sample_forward(U, grid)


@pytest.mark.parametrize("option, choices", [
    ("kernel", "'integer', 'bilinear', 'bicubic' or a kernel such as Gaussian(radius=3)"),
    ("padding", "'zeros', 'border', 'reflect'"), ("lattice", "'right', 'central'")])
@pytest.mark.parametrize("value", ["left", 3, None])
def test_unknown_options(xp, option, choices, value):
    U, grid, _ = checks.inputs(xp)
    with raises(ValueError, f"{option} must be one of {choices}, not {value!r}"):
        sample_forward(U, grid, **{option: value})


@pytest.mark.parametrize("dV, kind, sentence", [
    (zeros(2, 6, 7), ValueError, "dV must have shape (B, H', W', C), not (2, 6, 7)"),
    (zeros(2, 6, 7, 4, dtype="float32"), TypeError, "dV must have the dtype of U, float64, not float32"),
    (zeros(2, 6, 7, 4, dtype="int32"), TypeError, "dV must be float32 or float64, not int32"),
    (zeros(2, 6, 7, 1), ValueError, "dV must have shape (B, H', W', C) with C = 4, not (2, 6, 7, 1)"),
    (zeros(3, 6, 7, 4), ValueError, "dV must have shape (B, H', W', C) with B = 2, not (3, 6, 7, 4)"),
    (zeros(2, 7, 6, 4), ValueError, "dV must have shape (B, H', W', C) with H' = 6, not (2, 7, 6, 4)"),
    (zeros(2, 1, 1, 4), ValueError, "dV must have shape (B, H', W', C) with H' = 6, not (2, 1, 1, 4)"),
    (1.0, TypeError, "dV must be a NumPy or CuPy array, not float"),
    (strict.zeros((2, 6, 7, 4)), TypeError,
     "dV and U must be on the same device, not one on the host and one on the GPU"),
])
def test_errors_of_backward(dV, kind, sentence):
    U, grid, _ = checks.inputs(numpy)
    _, cache = sample_forward(U, grid)
    with raises(kind, sentence):
        sample_backward(dV, cache)
