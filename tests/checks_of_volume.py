"""Checks of the 3-D grid, sampler and flattening, shared: the ordinary tests run them, and the mutants must fail them.

The functions under test are looked up on their modules at each call, so that a mutant may stand in for any of them.
"""

from typing import NamedTuple

import checks_of_pairs as checks
import numpy

from stn_scratch import paper
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import volume as grids
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling import volume as sampling


class Sizes(NamedTuple):
    B: int
    D: int
    H: int
    W: int
    C: int
    D_out: int
    H_out: int
    W_out: int


# all different; and half of n-1, or half of n, is a power of two on each axis, so that lattice points are met exactly
SIZES = {True: Sizes(2, 5, 3, 9, 4, 6, 8, 7), False: Sizes(3, 2, 8, 4, 5, 6, 9, 7)}
IDENTITY = numpy.eye(3, 4)
SIZE = (4, 7, 3)


def scales(size, align_corners):
    """Pixels per normalised unit for x, y, z on a volume of `size` D, H, W."""
    return [(n - 1 if align_corners else n) / 2 for n in size[::-1]]


# Inputs.

def inputs(xp, where="generic", align_corners=True, dtype="float64", seed=0):
    """U, grid, dV. `where`: a kind of point, or three for x, y and z, as in "lattice generic border"."""
    rng, s = numpy.random.default_rng(seed), SIZES[align_corners]
    shape = (s.B, s.D_out, s.H_out, s.W_out)
    grid = [checks.normalised(checks.pixel_coordinates(kind, n, shape, rng), n, align_corners)
            for kind, n in zip((where.split() * 3)[:3], (s.W, s.H, s.D), strict=True)]
    U, dV = rng.normal(size=(s.B, s.D, s.H, s.W, s.C)), rng.normal(size=(*shape, s.C))
    return tuple(xp.asarray(a, dtype=dtype) for a in (U, numpy.stack(grid, axis=1), dV))


def theta(B=3, seed=0):
    return numpy.random.default_rng(seed).normal(size=(B, 3, 4))


def identity_grid(xp, B, size, align_corners=True, dtype="float64"):
    return grids.affine_grid3d_forward(xp.asarray([IDENTITY] * B, dtype=dtype), size=size,
                                       align_corners=align_corners)[0]


# The oracles: loops for Eq. (10), the printed triple sum over every pixel for Eq. (9).

def dense_grid(theta, size, align_corners):
    """Eq. (10), one number at a time."""
    grid = numpy.zeros((len(theta), 3, *size))
    for b, r, d, h, w in numpy.ndindex(grid.shape):
        x_t, y_t, z_t = (checks.normalised(k, n, align_corners) if n > 1 else 0
                         for k, n in zip((w, h, d), size[::-1], strict=True))
        a = theta[b, r]
        grid[b, r, d, h, w] = a[0] * x_t + a[1] * y_t + a[2] * z_t + a[3]
    return grid


def printed_slope(d):
    """Eq. (7)'s braces for d = x - m, 0 < |d|: 0 if |d| >= 1, else the sign of m - x."""
    return numpy.where(abs(d) >= 1, 0.0, -numpy.sign(d))


def oracle(U, grid, dV, padding="zeros", align_corners=True, lattice="right"):
    """V, dU, dgrid on the host. A slope is the printed one at a point a nudge to the side: inside the cell."""
    U, grid, dV = (to_host(a).astype("float64") for a in (U, grid, dV))
    pad = numpy.vectorize(lambda x, n: checks.padded(x, n, padding, align_corners), otypes=[float])
    sizes, scale = U.shape[3:0:-1], scales(U.shape[1:4], align_corners)  # W, H, D
    p = [grid[:, k] * scale[k] + (n - 1) / 2 for k, n in enumerate(sizes)]
    inside = [pad(x, n) for x, n in zip(p, sizes, strict=True)]
    k = [paper.tent(x[..., None] - numpy.arange(n)) for x, n in zip(inside, sizes, strict=True)]

    def triple_sum(k_x, k_y, k_z):
        """sum_n sum_m sum_l U_nml k_x(m) k_y(n) k_z(l)"""
        return numpy.einsum("blnmc,bdhwm,bdhwn,bdhwl->bdhwc", U, k_x, k_y, k_z, optimize=True)

    dU = numpy.einsum("bdhwc,bdhwm,bdhwn,bdhwl->blnmc", dV, *k, optimize=True)
    dgrid = numpy.zeros_like(grid)
    sides = {"right": [1], "central": [1, -1]}[lattice]
    for step in (side * checks.NUDGE for side in sides):
        for axis, n in enumerate(sizes):
            moved = pad(p[axis] + step, n)
            through_padding = numpy.rint((moved - inside[axis]) / step)  # +1, 0 or -1
            factors = list(k)
            factors[axis] = printed_slope(moved[..., None] - numpy.arange(n)) * through_padding[..., None]
            dgrid[:, axis] += (dV * triple_sum(*factors)).sum(axis=4) * scale[axis] / len(sides)
    return triple_sum(*k), dU, dgrid


# The checks. Each gives the largest error it found, or raises AssertionError.

def identity(xp, align_corners=True, dtype="float64", size=(5, 3, 9)):
    """Identity in, identity out, the last plane, row and column included."""
    U = numpy.random.default_rng(1).normal(size=(2, *size, 3)).astype(dtype)
    V, _ = sampling.sample3d_forward(xp.asarray(U), identity_grid(xp, 2, size, align_corners, dtype),
                                     align_corners=align_corners)
    assert V.dtype == dtype
    return checks.close(V, U, {"float64": 1e-12, "float32": 1e-5}[dtype])


def against_the_sum(xp, where="generic", **options):
    """V, dU and dgrid equal the dense sums."""
    U, grid, dV = inputs(xp, where, options.get("align_corners", True))
    V, cache = sampling.sample3d_forward(U, grid, **options)
    results = V, *sampling.sample3d_backward(dV, cache)
    return max(checks.close(a, b, 1e-12) for a, b in zip(results, oracle(U, grid, dV, **options), strict=True))


def gradients(xp, where="generic", side="central", **options):
    """Finite differences of the sampler; on the lattice, those of the right-hand side."""
    U, grid, _ = inputs(xp, where, options.get("align_corners", True), seed=2)
    return check_gradients(sampling.sample3d_forward, sampling.sample3d_backward, (U, grid), side=side, entries=40,
                           **options)


def central_gradients(xp, where="lattice", **options):
    """lattice="central" is the mean of the slopes on both sides: the slope of the odd part of V about the grid."""
    U, start, _ = inputs(xp, where, options.get("align_corners", True), seed=3)
    _, cache = sampling.sample3d_forward(U, start, lattice="central", **options)

    def odd_part(grid):
        return (sampling.sample3d_forward(U, grid, **options)[0]
                - sampling.sample3d_forward(U, 2 * start - grid, **options)[0]) / 2, cache

    return check_gradients(odd_part, lambda dy, cache: sampling.sample3d_backward(dy, cache)[1], (start,), entries=40)


def adjoint(xp, where="generic", **options):
    """V is linear in U."""
    U, grid, _ = inputs(xp, where, options.get("align_corners", True), seed=4)
    error = adjoint_error(sampling.sample3d_forward, sampling.sample3d_backward, (U, grid), **options)
    assert error <= 1e-12, f"adjoint error {error:.3g}"
    return error


def identity_slopes(xp, U, lattice):
    """The gradient of sum(V) with respect to the identity grid, inside."""
    V, cache = sampling.sample3d_forward(U, identity_grid(xp, U.shape[0], U.shape[1:4]), lattice=lattice)
    return to_host(sampling.sample3d_backward(xp.ones_like(V), cache)[1])[:, :, 1:-1, 1:-1, 1:-1]


def constant_volume(xp, lattice="right"):
    assert (identity_slopes(xp, xp.full((2, 9, 3, 5, 4), 5.0), lattice) == 0).all()


def identity_start(xp, lattice="right"):
    U = numpy.random.default_rng(5).normal(size=(2, 9, 3, 5, 4))
    assert (identity_slopes(xp, xp.asarray(U), lattice) != 0).all()


def like_the_2d_sampler(xp, where="border generic generic", **options):
    """In a volume whose planes are all the same image, z does not matter: each output plane is a 2-D sample."""
    U, grid, dV = map(to_host, inputs(xp, where, options.get("align_corners", True), seed=6))
    image = U[:, 0]
    U[:] = image[:, None]
    V, cache = sampling.sample3d_forward(xp.asarray(U), xp.asarray(grid), **options)
    dU, dgrid = map(to_host, sampling.sample3d_backward(xp.asarray(dV), cache))
    assert U.shape[1] > 1 and V.shape[1] > 1
    dU_2d = 0
    for d in range(V.shape[1]):
        V_2d, cache_2d = sample_forward(xp.asarray(image), xp.asarray(grid[:, :2, d]), **options)
        checks.close(V[:, d], to_host(V_2d), 1e-12)
        dU_d, dgrid_2d = map(to_host, sample_backward(xp.asarray(dV[:, d]), cache_2d))
        checks.close(dgrid[:, :2, d], dgrid_2d, 1e-12)
        dU_2d = dU_2d + dU_d
    checks.close(dgrid[:, 2], numpy.zeros_like(dgrid[:, 2]), 1e-12)
    checks.close(dU.sum(axis=1), dU_2d, 1e-12)


def grid(xp, align_corners=True, size=SIZE):
    """Eq. (10) against loops."""
    args, options = (xp.asarray(theta()),), {"size": size, "align_corners": align_corners}
    return checks.close(grids.affine_grid3d_forward(*args, **options)[0], dense_grid(theta(), **options), 1e-12)


def grid_gradients(xp, align_corners=True, size=SIZE):
    """Adjoint and finite differences of Eq. (10)."""
    pair, args = (grids.affine_grid3d_forward, grids.affine_grid3d_backward), (xp.asarray(theta()),)
    options = {"size": size, "align_corners": align_corners}
    error = adjoint_error(*pair, args, **options)
    assert error <= 1e-12, f"adjoint error {error:.3g}"
    return check_gradients(*pair, args, **options)


def flatten(xp):
    """W_nm = sum_l V_nml, one number at a time."""
    V = numpy.random.default_rng(7).normal(size=(2, 5, 3, 6, 4))
    W = numpy.zeros((2, 3, 6, 4))
    for b, l_, n, m, c in numpy.ndindex(V.shape):
        W[b, n, m, c] += V[b, l_, n, m, c]
    return checks.close(sampling.flatten_depth_forward(xp.asarray(V))[0], W, 1e-12)


def flatten_gradients(xp):
    pair = sampling.flatten_depth_forward, sampling.flatten_depth_backward
    args = (xp.asarray(numpy.random.default_rng(8).normal(size=(2, 5, 3, 6, 4))),)
    error = adjoint_error(*pair, args)
    assert error <= 1e-12, f"adjoint error {error:.3g}"
    return check_gradients(*pair, args)


def whole_gradients(xp, **options):
    """(U, theta) -> grid -> V -> W as one pair: dU and dtheta."""
    rng = numpy.random.default_rng(9)
    U = xp.asarray(rng.normal(size=(2, 5, 3, 6, 4)))
    start = xp.asarray(IDENTITY + 0.3 * rng.normal(size=(2, 3, 4)))

    def forward(U, theta):
        grid, cache_grid = grids.affine_grid3d_forward(theta, size=SIZE)
        V, cache_V = sampling.sample3d_forward(U, grid, **options)
        W, cache_W = sampling.flatten_depth_forward(V)
        return W, (cache_grid, cache_V, cache_W)

    def backward(dW, cache):
        dV = sampling.flatten_depth_backward(dW, cache[2])
        dU, dgrid = sampling.sample3d_backward(dV, cache[1])
        return dU, grids.affine_grid3d_backward(dgrid, cache[0])

    assert adjoint_error(forward, backward, (U, start)) <= 1e-12
    return check_gradients(forward, backward, (U, start))
