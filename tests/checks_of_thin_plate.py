"""Checks of the thin-plate-spline grid, shared: the ordinary tests run them, and the mutants must fail them.

The functions under test are looked up on their module at each call, so that a mutant may stand in for them.
"""

import math

import checks_of_pairs as checks
import numpy

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import affine, thin_plate


def random_theta(K=16, B=3, seed=0):
    return numpy.random.default_rng(seed).normal(size=(B, K, 2))


def lattice(K):
    """The control points (K, 2), x and y, row by row."""
    n = math.isqrt(K)
    return numpy.array([(2 * column / (n - 1) - 1, 2 * row / (n - 1) - 1) for row in range(n) for column in range(n)])


def grid_of(xp, theta, **options):
    return to_host(thin_plate.tps_grid_forward(xp.asarray(theta), **options)[0])


def bend(p, q):
    """U(|p - q|), from the definition."""
    r = math.hypot(p[0] - q[0], p[1] - q[1])
    return r ** 2 * math.log(r ** 2) if r else 0.0


def dense_grid(theta, size, align_corners=True, smoothing=0.0):
    """Bookstein's system, for each image, and his sum, one number at a time."""
    grid = checks.dense_grid(numpy.array([[[1, 0, 0], [0, 1, 0]]] * len(theta)), size, align_corners)
    K = theta.shape[1]
    C = lattice(K)
    for b, h, w in numpy.ndindex(len(theta), *size):
        if h == w == 0:  # a new image
            L = numpy.zeros((K + 3, K + 3))
            for j, k in numpy.ndindex(K, K):
                L[j, k] = bend(C[j], C[k]) + (smoothing if j == k else 0)
            for j, (x, y) in enumerate(C):
                L[j, K:] = L[K:, j] = 1, x, y
            weights = numpy.linalg.solve(L, numpy.concatenate([theta[b], numpy.zeros((3, 2))]))
        p = grid[b, :, h, w].copy()
        grid[b, :, h, w] += sum(weights[j] * bend(p, C[j]) for j in range(K))
        grid[b, :, h, w] += weights[K] + weights[K + 1] * p[0] + weights[K + 2] * p[1]
    return grid


def bending(grid):
    """How far each image's grid (B, 2, H', W') is from the nearest affine one."""
    B, _, H, W = grid.shape
    x, y = numpy.meshgrid(numpy.linspace(-1, 1, W), numpy.linspace(-1, 1, H))
    G = numpy.stack([x.ravel(), y.ravel(), numpy.ones(H * W)], axis=1)
    points = grid.reshape(2 * B, H * W).T
    rest = points - G @ numpy.linalg.lstsq(G, points, rcond=None)[0]
    return numpy.linalg.norm(rest.reshape(H * W, B, 2), axis=(0, 2))


# The checks. Each raises AssertionError if it fails.

def loops(xp, K=16, **options):
    options = {"size": (4, 7), **options}
    theta = random_theta(K)
    checks.close(grid_of(xp, theta, **options), dense_grid(theta, **options), 1e-11)


def control_points(xp, K=16, size=(7, 10)):
    """Every control point stands on an output pixel, and is displaced as told."""
    theta, n = random_theta(K), math.isqrt(K)
    grid = grid_of(xp, theta, size=size)
    on_lattice = grid[:, :, ::(size[0] - 1) // (n - 1), ::(size[1] - 1) // (n - 1)].reshape(3, 2, K)
    checks.close(on_lattice.swapaxes(1, 2), lattice(K) + theta, 1e-10)


def affine_moves(xp, K=16, **options):
    """A displacement that is affine at the control points is affine everywhere, smoothed or not."""
    A = numpy.random.default_rng(1).normal(size=(3, 2, 3))
    theta = lattice(K) @ A[:, :, :2].swapaxes(1, 2) + A[:, None, :, 2] - lattice(K)
    smoothing = options.pop("smoothing", 0.0)
    options = {"size": (4, 7), **options}
    expected, _ = affine.affine_grid_forward(A, **options)
    checks.close(grid_of(xp, theta, smoothing=smoothing, **options), expected, 1e-12)


def bends(xp, K=16):
    """Any one control point that moves alone bends the grid."""
    theta = numpy.eye(K)[:, :, None] * [0.3, -0.2]
    assert (bending(grid_of(xp, theta, size=(7, 10))) > 0.05).all()


def smooths(xp):
    """At the control points, smoothing leaves less of the bending, in the end none, and all of the affine part."""
    values = [0, 0.1, 1, 10, 1e9]
    grids = [grid_of(xp, random_theta(), size=(4, 4), smoothing=value) for value in values]
    left = numpy.array([bending(grid) for grid in grids])
    assert (left[1:] < 0.99 * left[:-1]).all() and (left[-1] < 1e-7).all()
    for grid in grids[1:]:
        checks.close((grid - grids[0]).sum(axis=(2, 3)), numpy.zeros((3, 2)), 1e-10)


def identity(xp, K=16, dtype="float64", **options):
    options = {"size": (4, 7), "align_corners": True, **options}
    grid = grid_of(xp, numpy.zeros((2, K, 2), dtype=dtype), **options)
    expected = checks.dense_grid(numpy.array([[[1, 0, 0], [0, 1, 0]]] * 2), **options)
    assert grid.dtype == dtype
    checks.close(grid, expected, {"float64": 1e-12, "float32": 1e-5}[dtype])


def gradients(xp, K=16, **options):
    options = {"size": (4, 7), **options}
    args = (xp.asarray(random_theta(K)),)
    check_gradients(thin_plate.tps_grid_forward, thin_plate.tps_grid_backward, args, **options)


def adjoint(xp, K=16, **options):
    def linear_part(theta, **options):
        grid, cache = thin_plate.tps_grid_forward(theta, **options)
        return grid - thin_plate.tps_grid_forward(0 * theta, **options)[0], cache

    options = {"size": (4, 7), **options}
    assert adjoint_error(linear_part, thin_plate.tps_grid_backward, (xp.asarray(random_theta(K)),), **options) <= 1e-12


def derivative_at_a_control_point(xp):
    """Where a pixel coincides with control point j, it follows theta_j, and no other."""
    _, cache = thin_plate.tps_grid_forward(xp.asarray(random_theta(B=32)), size=(4, 4))
    dtheta = thin_plate.tps_grid_backward(xp.asarray(numpy.eye(32).reshape(32, 2, 4, 4)), cache)
    checks.close(to_host(dtheta).swapaxes(1, 2).reshape(32, 32), numpy.eye(32), 1e-10)


CHECKS = {"loops": loops, "control points": control_points, "affine moves": affine_moves, "bends": bends,
          "smooths": smooths, "identity": identity, "gradients": gradients, "adjoint": adjoint,
          "derivative at a control point": derivative_at_a_control_point}
