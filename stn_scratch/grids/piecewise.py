r"""The piecewise-affine sampling grid (named in the paper's Sec. 3.2), and its derivative.

theta moves the vertices of a regular mesh over [-1, 1]^2. Every cell of the mesh is cut in two triangles by the
diagonal from its top left to its bottom right corner, and within a triangle the map is affine: the barycentric mean of
what its three vertices do. An output pixel needs those three only, so the forward pass *gathers* them and the backward
pass *scatters* to them: the cost grows with the output, not with the mesh.
"""

from functools import lru_cache
from typing import NamedTuple

from stn_scratch.backend import get_array_module, scatter_add
from stn_scratch.coordinates import target_grid, to_pixels
from stn_scratch.grids.usable import FAR, keep, usable_images
from stn_scratch.validate import check_arrays, check_gradient, check_size


class Triangles(NamedTuple):
    points: object  # (2, H'W') the target points: rows x_t, y_t
    index: object  # (3, H'W') the three vertices of each point's triangle: row * Kc + column
    weight: object  # (3, H'W') its barycentric coordinates among them: 0 or more, sum 1


class PiecewiseCache(NamedTuple):
    index: object  # (3, H'W')
    weight: object  # (3, H'W')
    usable: object  # (B,)
    theta_shape: tuple
    grid_shape: tuple


def _cell(x, K):
    """x in [-1, 1], K vertices along the axis -> the cell 0..K-2 that x is in, and where in it, 0 to 1."""
    xp = get_array_module(x)
    x_v = to_pixels(x, K, True)  # in vertices: 0 at the first, K-1 at the last, which belongs to the last cell
    cell = xp.clip(xp.floor(x_v), 0, K - 2)
    return cell.astype(xp.intp), x_v - cell


@lru_cache(maxsize=16)
def _triangles(xp, mesh, size, align_corners, dtype):
    r"""Triangle and weights of every target point, in float64 and then cast. Kept for later: never write into them.

    In a cell with the point at (a, b), 0 to 1, from its top left corner, the barycentric coordinates are
    \(1 - \max(a, b)\) at the top left, \(\min(a, b)\) at the bottom right, and \(|a - b|\) at the third vertex:
    the top right if a >= b, else the bottom left. On the diagonal that one has weight 0, so nothing jumps.
    """
    Kr, Kc = mesh
    G = target_grid(xp, size, align_corners, "float64")
    column, a = _cell(G[0], Kc)
    row, b = _cell(G[1], Kr)
    top_left = row * Kc + column
    third = top_left + xp.where(a >= b, 1, Kc)
    index = xp.stack([top_left, third, top_left + Kc + 1])
    weight = xp.stack([1 - xp.maximum(a, b), xp.abs(a - b), xp.minimum(a, b)])
    return Triangles(target_grid(xp, size, align_corners, dtype)[:2], index, weight.astype(dtype))


def piecewise_affine_grid_forward(theta, *, size, align_corners=True):
    r"""\((x_s, y_s)_i = (x_t, y_t)_i + \sum_{j=1}^{3} \lambda_{ij} \, \theta_{v_{ij}}\): affine in each triangle.

    theta (B, Kr, Kc, 2): displacement (x, y), in normalised units, of the source point of each vertex of a mesh of
    Kr rows and Kc columns over [-1, 1]^2. Zeros are the identity. v_ij are the three vertices of the triangle of
    output pixel i, lambda_ij its barycentric coordinates.

    size (H', W') -> grid (B, 2, H', W'), normalised: grid[:, 0] = x_s, grid[:, 1] = y_s; cache.

    An image whose theta holds NaN or a number beyond 1e15 looks far away: it samples nothing, whatever the padding,
    and gets no gradient.

    Raises TypeError or ValueError if theta is not a float array (B, Kr, Kc, 2) with Kr, Kc >= 2, or size is not two
    positive whole numbers.
    """
    check_arrays(theta=(theta, "B Kr Kc 2"))
    check_size("size", size)
    B, Kr, Kc, _ = theta.shape
    if Kr < 2 or Kc < 2:
        raise ValueError(f"theta must have at least 2 rows and 2 columns of vertices, not shape {theta.shape}")
    xp = get_array_module(theta)
    points, index, weight = _triangles(xp, (Kr, Kc), tuple(size), align_corners, theta.dtype.name)
    usable = usable_images(theta)
    vertices = keep(usable, theta, FAR).reshape(B, Kr * Kc, 2).swapaxes(1, 2)  # (B, 2, Kr Kc)
    # (x_s, y_s) = (x_t, y_t) + ...
    grid = xp.zeros((B, *points.shape), dtype=theta.dtype) + points
    for v, share in zip(index, weight, strict=True):
        # ... + lambda_j theta_v, gathered
        grid += share * xp.take(vertices, v, axis=2)
    grid = grid.reshape(B, 2, *size)
    return grid, PiecewiseCache(index, weight, usable, theta.shape, grid.shape)


def piecewise_affine_grid_backward(dgrid, cache):
    r"""\(\partial L / \partial \theta_v = \sum_{i,j:\, v_{ij} = v} \lambda_{ij} \;
    \partial L / \partial (x_s, y_s)_i\): all the pixels of the triangles around vertex v.

    dgrid (B, 2, H', W') -> dtheta (B, Kr, Kc, 2).
    """
    index, weight, usable, (B, Kr, Kc, _), grid_shape = cache
    check_arrays(dgrid=(dgrid, "B 2 H' W'"), weight=(weight, "3 P"))
    check_gradient("dgrid", dgrid, grid_shape)
    xp = get_array_module(dgrid)
    d_points = dgrid.reshape(2 * B, weight.shape[1])
    dtheta = xp.zeros(2 * B * Kr * Kc, dtype=dgrid.dtype)
    first = xp.arange(2 * B, dtype=xp.intp)[:, None] * (Kr * Kc)  # where the vertices of each image's x, or y, begin
    for v, share in zip(index, weight, strict=True):
        # lambda_j dgrid, scattered to theta_v: many pixels share a vertex, so their shares add
        scatter_add(dtheta, (first + v).ravel(), (share * d_points).ravel())
    return keep(usable, dtheta.reshape(B, 2, Kr, Kc).transpose(0, 2, 3, 1))
