"""Checks of the piecewise-affine grid, shared: the ordinary tests run them, and the mutants must fail them.

The functions under test are looked up on their module at each call, so that a mutant may stand in for them.
"""

import checks_of_pairs as checks
import numpy

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import affine, piecewise


def random_theta(mesh=(3, 4), B=2, seed=0):
    return numpy.random.default_rng(seed).normal(size=(B, *mesh, 2))


def vertices(mesh):
    """(Kr, Kc, 2): x, y."""
    return numpy.stack(numpy.meshgrid(*(numpy.linspace(-1, 1, K) for K in mesh[::-1])), axis=-1)


def grid_of(xp, theta, **options):
    return to_host(piecewise.piecewise_affine_grid_forward(xp.asarray(theta), **options)[0])


def barycentric(p, a, b, c):
    """The shares of a, b, c in p, by the areas of the triangles that p makes with two of them."""
    def area(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
    return numpy.array([area(p, b, c), area(a, p, c), area(a, b, p)]) / area(a, b, c)


def triangles(mesh):
    """The vertices (row, column) of each triangle: of two a cell, cut from its top left to its bottom right."""
    for r, c in numpy.ndindex(mesh[0] - 1, mesh[1] - 1):
        yield (r, c), (r, c + 1), (r + 1, c + 1)
        yield (r, c), (r + 1, c), (r + 1, c + 1)


def shares(p, mesh):
    """The first triangle that p is in, or on the edge of, and its shares."""
    at = vertices(mesh)
    for triangle in triangles(mesh):
        weights = barycentric(p, *(at[v] for v in triangle))
        if weights.min() >= -1e-12:
            return triangle, weights
    raise AssertionError(f"{p} is in no triangle")


def target(size, align_corners=True):
    return checks.dense_grid(numpy.array([[[1, 0, 0], [0, 1, 0]]]), size, align_corners)[0]


def dense_grid(theta, size, align_corners=True):
    """One point at a time: find its triangle among all, and mix its vertices."""
    grid = numpy.zeros((len(theta), 2, *size)) + target(size, align_corners)
    for h, w in numpy.ndindex(*size):
        triangle, weights = shares(grid[0, :, h, w], theta.shape[1:3])
        grid[:, :, h, w] += sum(weight * theta[:, r, c] for weight, (r, c) in zip(weights, triangle, strict=True))
    return grid


# The checks. Each raises AssertionError if it fails.

def loops(xp, mesh=(3, 4), **options):
    options = {"size": (6, 9), **options}
    theta = random_theta(mesh)
    checks.close(grid_of(xp, theta, **options), dense_grid(theta, **options), 1e-12)


def on_vertices(xp):
    """Every vertex of a 3 x 4 mesh stands on an output pixel, and is displaced as told."""
    for size, (step_y, step_x) in {(3, 4): (1, 1), (5, 10): (2, 3)}.items():
        grid = grid_of(xp, random_theta(), size=size)[:, :, ::step_y, ::step_x]
        checks.close(grid.transpose(0, 2, 3, 1), vertices((3, 4)) + random_theta(), 1e-12)


def affine_moves(xp, mesh=(3, 4), **options):
    """A displacement that is affine at the vertices is affine everywhere."""
    A = numpy.random.default_rng(1).normal(size=(2, 2, 3))
    at = vertices(mesh)
    theta = numpy.einsum("bij,rcj->brci", A[:, :, :2], at) + A[:, None, None, :, 2] - at
    options = {"size": (6, 9), **options}
    checks.close(grid_of(xp, theta, **options), affine.affine_grid_forward(A, **options)[0], 1e-12)


def continuous(xp):
    """From pixel to pixel the displacement changes by no more than the steepest edge of the mesh allows."""
    theta, size = random_theta(), (62, 85)
    move = grid_of(xp, theta, size=size) - target(size)
    for axis in (1, 2):
        per_cell = (size[axis - 1] - 1) / (theta.shape[axis] - 1)
        steepest = abs(numpy.diff(theta, axis=axis)).max(axis=(1, 2)) / per_cell  # (B, 2)
        assert (abs(numpy.diff(move, axis=axis + 1)).max(axis=(2, 3)) <= steepest + 1e-12).all()


def affine_in_each_triangle(xp):
    """One affine map fits all points of a triangle, and each triangle has its own."""
    mesh, size = (2, 3), (9, 13)
    points, maps = target(size), {}
    grid = grid_of(xp, random_theta(mesh), size=size)
    inside = [shares(points[:, h, w], mesh)[0] for h, w in numpy.ndindex(*size)]
    for triangle in triangles(mesh):
        chosen = [k for k, other in enumerate(inside) if other == triangle]
        G = numpy.c_[points.reshape(2, -1).T[chosen], numpy.ones(len(chosen))]
        values = grid.reshape(4, -1).T[chosen]
        maps[triangle] = numpy.linalg.lstsq(G, values, rcond=None)[0]
        checks.close(G @ maps[triangle], values, 1e-12)
    found = list(maps.values())
    assert all(abs(a - b).max() > 0.1 for k, a in enumerate(found) for b in found[:k]) and len(found) == 4


def identity(xp, mesh=(3, 4), dtype="float64", **options):
    options = {"size": (6, 9), **options}
    grid = grid_of(xp, numpy.zeros((2, *mesh, 2), dtype=dtype), **options)
    assert grid.dtype == dtype
    checks.close(grid, [target(**options)] * 2, {"float64": 1e-12, "float32": 1e-5}[dtype])


def gradients(xp, mesh=(3, 4), **options):
    check_gradients(piecewise.piecewise_affine_grid_forward, piecewise.piecewise_affine_grid_backward,
                    (xp.asarray(random_theta(mesh)),), **{"size": (6, 9), **options})


def adjoint(xp, mesh=(3, 4), **options):
    def linear_part(theta, **options):
        grid, cache = piecewise.piecewise_affine_grid_forward(theta, **options)
        return grid - piecewise.piecewise_affine_grid_forward(0 * theta, **options)[0], cache

    assert adjoint_error(linear_part, piecewise.piecewise_affine_grid_backward, (xp.asarray(random_theta(mesh)),),
                         **{"size": (6, 9), **options}) <= 1e-12


CHECKS = {"loops": loops, "vertices": on_vertices, "affine moves": affine_moves, "continuous": continuous,
          "triangles": affine_in_each_triangle, "identity": identity, "gradients": gradients, "adjoint": adjoint}
