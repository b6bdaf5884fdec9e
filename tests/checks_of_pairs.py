"""Checks of the grid and the sampler, shared: the ordinary tests run them, and the mutants must fail them.

The functions under test are looked up on their modules at each call, so that a mutant may stand in for any of them.
"""

from typing import NamedTuple

import numpy
from strict import strict

from stn_scratch import network, paper, transformer
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import affine
from stn_scratch.sampling import sampler


class Sizes(NamedTuple):
    B: int
    H: int
    W: int
    C: int
    H_out: int
    W_out: int


# all different; and (H-1)/2, (W-1)/2, or H/2, W/2, are powers of two, so that lattice points are met without rounding
SIZES = {True: Sizes(2, 3, 5, 4, 6, 7), False: Sizes(2, 4, 8, 3, 5, 6)}
PADDINGS = ["zeros", "border", "reflect"]
NUDGE = 2.0 ** -20


def same(xp, actual, expected):
    """Assert that two host arrays are equal to the last bit; of a GPU, where atomic sums come in any order, nearly."""
    if xp in (numpy, strict):
        numpy.testing.assert_array_equal(actual, expected)
    else:
        close(actual, expected, 1e-5 if actual.dtype == "float32" else 1e-12)


def close(actual, expected, tolerance):
    """Assert that two arrays are equal within an absolute tolerance; gives the largest difference."""
    actual, expected = to_host(actual), numpy.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, not {expected.shape}"
    error = abs(actual - expected).max(initial=0)
    assert error <= tolerance, f"largest difference {error:.3g} > {tolerance:.3g}"  # NaN fails, too
    return error


# Inputs.

def pixel_coordinates(where, size, shape, rng):
    """Random pixel coordinates along one axis of `size` pixels."""
    low = rng.random(shape) < 0.5
    if where == "generic":
        return rng.uniform(0, size - 1, shape)
    if where == "border":  # between the edge pixel and the first one that does not exist
        return numpy.where(low, rng.uniform(-1, 0, shape), rng.uniform(size - 1, size, shape))
    if where == "outside":
        return numpy.where(low, rng.uniform(-3 * size, -1, shape), rng.uniform(size, 4 * size, shape))
    return rng.integers(-3, size + 3, shape) + {"lattice": 0.0, "halves": 0.5}[where]


def normalised(x_p, size, align_corners):
    return (x_p - (size - 1) / 2) / ((size - 1 if align_corners else size) / 2)


def inputs(xp, where="generic", align_corners=True, dtype="float64", seed=0):
    """U, grid, dV. `where`: a kind of point, or two for x and y, as in "lattice generic"."""
    rng, s = numpy.random.default_rng(seed), SIZES[align_corners]
    where_x, where_y = (where.split() * 2)[:2]
    x = normalised(pixel_coordinates(where_x, s.W, (s.B, s.H_out, s.W_out), rng), s.W, align_corners)
    y = normalised(pixel_coordinates(where_y, s.H, (s.B, s.H_out, s.W_out), rng), s.H, align_corners)
    U = rng.normal(size=(s.B, s.H, s.W, s.C))
    dV = rng.normal(size=(s.B, s.H_out, s.W_out, s.C))
    return tuple(xp.asarray(a, dtype=dtype) for a in (U, numpy.stack([x, y], axis=1), dV))


def identity_grid(xp, B, size, align_corners, dtype="float64"):
    theta = xp.asarray([[[1, 0, 0], [0, 1, 0]]] * B, dtype=dtype)
    return affine.affine_grid_forward(theta, size=size, align_corners=align_corners)[0]


# The oracle: one coordinate at a time, then the sums of the paper.

def padded(x, size, padding, align_corners):
    """Where a pixel coordinate (a Python float) lands."""
    if padding == "zeros":
        return x
    if padding == "reflect":
        low, high = (0, size - 1) if align_corners else (-0.5, size - 0.5)
        while low < high and not low <= x <= high:
            x = 2 * low - x if x < low else 2 * high - x
    return min(max(x, 0.0), size - 1.0)


def oracle(U, grid, dV, kernel="bilinear", padding="zeros", align_corners=True, lattice="right"):
    """V, dU, dgrid from paper.py, on the host. A slope is Eq. (7) at a point a nudge to the side: inside the cell."""
    U, grid, dV = (to_host(a).astype("float64") for a in (U, grid, dV))
    pad = numpy.vectorize(lambda x, size: padded(x, size, padding, align_corners), otypes=[float])
    W, H = U.shape[2], U.shape[1]
    scale_x, scale_y = ((n - 1 if align_corners else n) / 2 for n in (W, H))
    x, y = grid[:, 0] * scale_x + (W - 1) / 2, grid[:, 1] * scale_y + (H - 1) / 2
    x_in, y_in = pad(x, W), pad(y, H)
    if kernel == "integer":
        V = paper.sample_integer(U, x_in, y_in)
        weights = paper.d_sample_dU(U, numpy.floor(x_in + 0.5), numpy.floor(y_in + 0.5))
    else:
        V = paper.sample(U, x_in, y_in)
        weights = paper.d_sample_dU(U, x_in, y_in)
    dU = numpy.einsum("bhwc,bhwnm->bnmc", dV, weights)
    dgrid = numpy.zeros_like(grid)
    sides = [] if kernel == "integer" else {"right": [1], "central": [1, -1]}[lattice]
    for step in (side * NUDGE for side in sides):
        x_side, y_side = pad(x + step, W), pad(y + step, H)
        slope_x, slope_y = numpy.rint((x_side - x_in) / step), numpy.rint((y_side - y_in) / step)  # +1, 0 or -1
        dx = (dV * paper.d_sample_dx(U, x_side, y_in)).sum(axis=3) * slope_x * scale_x
        dy = (dV * paper.d_sample_dy(U, x_in, y_side)).sum(axis=3) * slope_y * scale_y
        dgrid += numpy.stack([dx, dy], axis=1) / len(sides)
    return V, dU, dgrid


def dense_grid(theta, size, align_corners):
    """Eq. (1), one number at a time."""
    grid = numpy.zeros((len(theta), 2, *size))
    for b, r, h, w in numpy.ndindex(grid.shape):
        x_t, y_t = (normalised(k, n, align_corners) if n > 1 else 0 for k, n in ((w, size[1]), (h, size[0])))
        grid[b, r, h, w] = theta[b, r, 0] * x_t + theta[b, r, 1] * y_t + theta[b, r, 2]
    return grid


# The checks. Each gives the largest error it found, or raises AssertionError.

def identity(xp, align_corners=True, dtype="float64", size=(7, 12)):
    """Identity in, identity out, last row and column included."""
    U = numpy.random.default_rng(1).normal(size=(2, *size, 3)).astype(dtype)
    V, _ = sampler.sample_forward(xp.asarray(U), identity_grid(xp, 2, size, align_corners, dtype),
                                  align_corners=align_corners)
    assert V.dtype == dtype
    return close(V, U, {"float64": 1e-12, "float32": 1e-5}[dtype])


def against_paper(xp, where="generic", **options):
    """V, dU and dgrid equal the dense sums."""
    U, grid, dV = inputs(xp, where, options.get("align_corners", True))
    V, cache = sampler.sample_forward(U, grid, **options)
    results = V, *sampler.sample_backward(dV, cache)
    return max(close(a, b, 1e-12) for a, b in zip(results, oracle(U, grid, dV, **options), strict=True))


def gradients(xp, where="generic", side="central", **options):
    """Finite differences of the sampler; on the lattice, those of the right-hand side."""
    U, grid, _ = inputs(xp, where, options.get("align_corners", True), seed=2)
    return check_gradients(sampler.sample_forward, sampler.sample_backward, (U, grid), side=side, **options)


def central_gradients(xp, where="lattice", **options):
    """lattice="central" is the mean of the slopes on both sides: the slope of the odd part of V about the grid."""
    U, start, _ = inputs(xp, where, options.get("align_corners", True), seed=3)
    _, cache = sampler.sample_forward(U, start, lattice="central", **options)

    def odd_part(grid):
        return (sampler.sample_forward(U, grid, **options)[0]
                - sampler.sample_forward(U, 2 * start - grid, **options)[0]) / 2, cache

    return check_gradients(odd_part, lambda dy, cache: sampler.sample_backward(dy, cache)[1], (start,))


def adjoint(xp, where="generic", **options):
    """V is linear in U."""
    U, grid, _ = inputs(xp, where, options.get("align_corners", True), seed=4)
    error = adjoint_error(sampler.sample_forward, sampler.sample_backward, (U, grid), **options)
    assert error <= 1e-12, f"adjoint error {error:.3g}"
    return error


def identity_slopes(xp, U, lattice):
    """The gradient of sum(V) with respect to the identity grid."""
    V, cache = sampler.sample_forward(U, identity_grid(xp, U.shape[0], U.shape[1:3], True), lattice=lattice)
    return to_host(sampler.sample_backward(xp.ones_like(V), cache)[1])


def constant_image(xp, lattice="right"):
    """A constant image has no slope at its interior pixels, although the identity puts every sample on a pixel."""
    dgrid = identity_slopes(xp, xp.full((2, 5, 9, 3), 5.0), lattice)
    assert (dgrid[:, :, 1:-1, 1:-1] == 0).all()


def identity_start(xp, lattice="right"):
    """At the identity, an image that is not constant has slopes: a network can start to learn there."""
    dgrid = identity_slopes(xp, xp.asarray(numpy.random.default_rng(5).normal(size=(2, 5, 9, 3))), lattice)
    assert (dgrid[:, :, 1:-1, 1:-1] != 0).all()


def affine_grid(xp, align_corners=True, size=(4, 7)):
    """Eq. (1): against loops; adjoint; finite differences."""
    theta = numpy.random.default_rng(6).normal(size=(3, 2, 3))
    args, options = (xp.asarray(theta),), {"size": size, "align_corners": align_corners}
    close(affine.affine_grid_forward(*args, **options)[0], dense_grid(theta, size, align_corners), 1e-12)
    error = adjoint_error(affine.affine_grid_forward, affine.affine_grid_backward, args, **options)
    assert error <= 1e-12, f"adjoint error {error:.3g}"
    return check_gradients(affine.affine_grid_forward, affine.affine_grid_backward, args, **options)


def two_paths(xp):
    """The loss reaches the input of a transformer through the pixels and through theta."""
    net = transformer.SpatialTransformer(network.Sequential(network.Flatten(), network.Dense(2)), size=(4, 6))
    rng = numpy.random.default_rng(7)
    U = rng.normal(size=(2, 5, 7, 3))
    params, _ = net.init(rng, U.shape[1:])
    W = params["localisation"]["regression"]["W"]
    W[:] = 0.05 * rng.normal(size=W.shape)
    params = on_device(xp, params)
    return check_gradients(lambda U: net.forward(params, U), lambda dV, cache: net.backward(dV, cache)[0],
                           (xp.asarray(U),))


def on_device(xp, params):
    """A tree of parameters as arrays of xp."""
    if isinstance(params, dict):
        return {name: on_device(xp, p) for name, p in params.items()}
    return xp.asarray(params)
