"""The 3-D affine grid, the flattening of a volume, and both through the sampler."""

import itertools

import checks_of_pairs
import checks_of_volume as checks
import numpy
import pytest
from checks_of_volume import SIZE
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.grids import volume as grids
from stn_scratch.grids.affine import affine_grid_forward
from stn_scratch.sampling import volume as sampling

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
sizes = pytest.mark.parametrize("size", [(4, 7, 3), (2, 3, 5), (1, 5, 4), (3, 1, 2), (3, 2, 1), (1, 1, 1)])


# The grid.

@both_conventions
@sizes
def test_eq_10(xp, align_corners, size):
    checks.grid(xp, align_corners, size)
    checks.grid_gradients(xp, align_corners, size)


@both_conventions
@both_dtypes
@sizes
def test_identity_is_the_target_grid_exactly(xp, dtype, size, align_corners):
    grid = checks.identity_grid(xp, 2, size, align_corners, dtype)
    x, y, z = ((2 * numpy.arange(n) - (n - 1)).astype(dtype) / max(n - 1 if align_corners else n, 1)
               for n in size[::-1])
    z, y, x = numpy.meshgrid(z, y, x, indexing="ij")
    numpy.testing.assert_array_equal(to_host(grid), [[x, y, z]] * 2)
    assert grid.dtype == dtype


@both_conventions
def test_with_z_left_alone_each_plane_is_the_affine_grid(xp, align_corners):
    theta_2d = numpy.random.default_rng(1).normal(size=(2, 2, 3))
    theta = numpy.zeros((2, 3, 4))
    theta[:, :2, [0, 1, 3]], theta[:, 2, 2] = theta_2d, 1
    grid, _ = grids.affine_grid3d_forward(xp.asarray(theta), size=SIZE, align_corners=align_corners)
    plane, _ = affine_grid_forward(xp.asarray(theta_2d), size=SIZE[1:], align_corners=align_corners)
    for d in range(SIZE[0]):
        checks_of_pairs.close(grid[:, :2, d], to_host(plane), 1e-14)


# Directions, on a volume: what the sampler makes of theta.

VOLUME = (numpy.arange(1.0, 136).reshape(3, 5, 9) / 135) ** 2


def seen(xp, rows, size=VOLUME.shape, align_corners=True):
    grid, _ = grids.affine_grid3d_forward(xp.asarray([rows], dtype="float64"), size=size, align_corners=align_corners)
    V, _ = sampling.sample3d_forward(xp.asarray(VOLUME[None, ..., None]), grid, align_corners=align_corners)
    return to_host(V)[0, ..., 0]


@pytest.mark.parametrize("axis, shift, place, window", [
    (0, 0.25, numpy.s_[:, :, :-1], numpy.s_[:, :, 1:]),  # t_x is one column
    (1, -0.5, numpy.s_[:, 1:], numpy.s_[:, :-1]),  # t_y is one row, backwards
    (2, 1, numpy.s_[:-1], numpy.s_[1:]),  # t_z is one plane
])
def test_a_shift_moves_the_window(xp, axis, shift, place, window):
    rows, expected = checks.IDENTITY.copy(), numpy.zeros_like(VOLUME)
    rows[axis, 3] = shift
    expected[place] = VOLUME[window]
    numpy.testing.assert_allclose(seen(xp, rows), expected, rtol=0, atol=1e-12)


@both_conventions
@pytest.mark.parametrize("source", list(itertools.permutations(range(3))))
def test_axes_change_places(xp, source, align_corners):
    """Row r of theta reads target axis source[r] (0 is x): a transposition, on a volume of three different sizes."""
    rows = checks.IDENTITY[list(source)]
    back = [2 - source.index(2 - k) for k in range(3)]  # source axis D, H, W of each target axis D', H', W'
    expected = VOLUME.transpose(back)
    numpy.testing.assert_allclose(seen(xp, rows, expected.shape, align_corners), expected, rtol=0, atol=1e-12)


def test_an_extruded_image_is_flattened_to_itself(xp):
    """Three planes of seven hold the image; the projection is three times the image."""
    image = numpy.random.default_rng(2).normal(size=(2, 4, 5, 3))
    U = numpy.zeros((2, 7, 4, 5, 3))
    U[:, 2:5] = image[:, None]
    V, _ = sampling.sample3d_forward(xp.asarray(U), checks.identity_grid(xp, 2, (7, 4, 5)))
    checks_of_pairs.close(sampling.flatten_depth_forward(V)[0], 3 * image, 1e-12)


def test_flattening(xp):
    checks.flatten(xp)
    checks.flatten_gradients(xp)


@pytest.mark.parametrize("padding", checks_of_pairs.PADDINGS)
def test_grid_sampler_and_flattening_as_one_pair(xp, padding):
    checks.whole_gradients(xp, padding=padding)


# Dtypes, nothing, views, inputs, errors.

@both_dtypes
def test_dtype_in_dtype_out(xp, dtype):
    theta = xp.asarray(checks.theta(2), dtype=dtype)
    grid, cache_grid = grids.affine_grid3d_forward(theta, size=SIZE)
    V, cache_V = sampling.sample3d_forward(xp.ones((2, 5, 3, 6, 4), dtype=dtype), grid)
    W, cache_W = sampling.flatten_depth_forward(V)
    dV = sampling.flatten_depth_backward(W, cache_W)
    dtheta = grids.affine_grid3d_backward(sampling.sample3d_backward(dV, cache_V)[1], cache_grid)
    assert grid.dtype == W.dtype == dV.dtype == dtheta.dtype == dtype


def test_empty_batch(xp):
    grid, cache = grids.affine_grid3d_forward(xp.zeros((0, 3, 4)), size=SIZE)
    assert grid.shape == (0, 3, *SIZE)
    assert grids.affine_grid3d_backward(grid, cache).shape == (0, 3, 4)
    for shape in ((0, 5, 3, 6, 4), (2, 0, 3, 6, 4), (2, 5, 0, 6, 4)):
        W, cache = sampling.flatten_depth_forward(xp.ones(shape))
        assert W.shape == shape[:1] + shape[2:] and not W.any()
        assert sampling.flatten_depth_backward(W, cache).shape == shape


def test_views_equal_contiguous_arrays_and_nothing_is_written_to(xp):
    rng = numpy.random.default_rng(3)
    pairs = [(lambda a: grids.affine_grid3d_forward(a, size=SIZE), grids.affine_grid3d_backward, checks.theta()),
             (sampling.flatten_depth_forward, sampling.flatten_depth_backward, rng.normal(size=(2, 5, 3, 6, 4)))]
    for forward, backward, value in pairs:
        a = xp.asarray(value)
        y, cache = forward(a)
        dy = xp.asarray(rng.normal(size=y.shape))
        views = [xp.ascontiguousarray(k.T).T for k in (a, dy)]
        assert not any(k.flags.c_contiguous for k in views)
        before = [to_host(k).copy() for k in (a, dy)]
        if xp is numpy:
            for k in (a, dy, *views):
                k.flags.writeable = False
        y_view, cache_view = forward(views[0])
        checks_of_pairs.close(y_view, to_host(y), 1e-12)
        da = backward(dy, cache)
        checks_of_pairs.close(backward(views[1], cache_view), to_host(da), 1e-12)
        da += 1  # the gradient belongs to the caller
        for k, expected in zip((a, dy, *views), before * 2, strict=True):
            numpy.testing.assert_array_equal(to_host(k), expected)


@pytest.mark.parametrize("theta, size, kind, sentence", [
    (numpy.zeros((2, 12)), SIZE, ValueError, "theta must have shape (B, 3, 4), not (2, 12)"),
    (numpy.zeros((2, 4, 3)), SIZE, ValueError, "theta must have shape (B, 3, 4), not (2, 4, 3)"),
    (numpy.zeros((2, 3, 4), "int64"), SIZE, TypeError, "theta must be float32 or float64, not int64"),
    ([checks.IDENTITY], SIZE, TypeError, "theta must be a NumPy or CuPy array, not list"),
    *[(numpy.zeros((2, 3, 4)), size, ValueError, f"size must be 3 positive whole numbers, not {size!r}")
      for size in ((4, 7), (4, 7, 3, 1), (0, 7, 3), (4, -1, 3), (4, 7, 3.0), 28, None)],
])
def test_errors_of_the_grid(theta, size, kind, sentence):
    with raises(kind, sentence):
        grids.affine_grid3d_forward(theta, size=size)


@pytest.mark.parametrize("dgrid, kind, sentence", [
    (numpy.zeros((2, 4, 7, 3)), ValueError, "dgrid must have shape (B, 3, D', H', W'), not (2, 4, 7, 3)"),
    (numpy.zeros((2, 2, 4, 7, 3)), ValueError, "dgrid must have shape (B, 3, D', H', W'), not (2, 2, 4, 7, 3)"),
    (numpy.zeros((2, 3, 7, 4, 3)), ValueError,
     "dgrid must have shape (2, 3, 4, 7, 3), that of the forward's output, not (2, 3, 7, 4, 3)"),
    (None, TypeError, "dgrid must be a NumPy or CuPy array, not NoneType"),
    (numpy.zeros((2, 3, *SIZE), "float32"), TypeError, "G must have the dtype of dgrid, float32, not float64"),
    (strict.zeros((2, 3, *SIZE)), TypeError,
     "G and dgrid must be on the same device, not one on the host and one on the GPU"),
])
def test_errors_of_the_grid_backward(dgrid, kind, sentence):
    _, cache = grids.affine_grid3d_forward(numpy.zeros((2, 3, 4)), size=SIZE)
    with raises(kind, sentence):
        grids.affine_grid3d_backward(dgrid, cache)


def test_errors_of_the_flattening(xp):
    V = xp.zeros((2, 5, 3, 6, 4))
    _, cache = sampling.flatten_depth_forward(V)
    for function, a, kind, sentence in [
        (sampling.flatten_depth_forward, V[0], ValueError, "V must have shape (B, D, H, W, C), not (5, 3, 6, 4)"),
        (sampling.flatten_depth_forward, V.astype("int64"), TypeError, "V must be float32 or float64, not int64"),
        (sampling.flatten_depth_forward, None, TypeError, "V must be a NumPy or CuPy array, not NoneType"),
        (lambda dW: sampling.flatten_depth_backward(dW, cache), xp.zeros((2, 6, 3, 4)), ValueError,
         "dW must have shape (2, 3, 6, 4), that of the forward's output, not (2, 6, 3, 4)"),
        (lambda dW: sampling.flatten_depth_backward(dW, cache), 1.0, TypeError,
         "dW must be a NumPy or CuPy array, not float"),
    ]:
        with raises(kind, sentence):
            function(a)
