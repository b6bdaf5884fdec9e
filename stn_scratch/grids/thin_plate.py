r"""The thin-plate-spline sampling grid (paper, Sec. 3.2; Bookstein 1989), and its derivative.

theta moves K control points, a square lattice over [-1, 1]^2; the spline is the smoothest displacement of the plane
that moves each of them as told. It is linear in theta, and its matrix M depends on nothing that is learnt: one solve,
kept, then one matrix product a call. The lattice spans [-1, 1]^2 in normalised coordinates, whatever `align_corners`
says of the pixels.
"""

from functools import lru_cache
from math import isqrt
from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import target_grid
from stn_scratch.grids.usable import FAR, keep, usable_images
from stn_scratch.validate import check_arrays, check_gradient, check_number, check_size


class Spline(NamedTuple):
    points: object  # (2, H'W') the target points: rows x_t, y_t
    M: object  # (H'W', K) displacement of the target points = M theta


class TPSCache(NamedTuple):
    M: object  # (H'W', K)
    usable: object  # (B,)
    grid_shape: tuple


def _U(r2):
    r"""\(U(r) = r^2 \log r^2\), from r^2. U(0) = 0, its limit: the mask comes before the log, so 0 log 0 never arises.
    """
    xp = get_array_module(r2)
    return r2 * xp.log(xp.where(r2 > 0, r2, 1))


def _squared_distances(a, b):
    """a (3, P), b (3, K), rows x, y, 1 -> |a_i - b_j|^2 (P, K)."""
    return (a[0][:, None] - b[0]) ** 2 + (a[1][:, None] - b[1]) ** 2


@lru_cache(maxsize=16)
def _spline(xp, K, size, align_corners, smoothing, dtype):
    r"""Points and matrix M of a spline, in float64 and then cast. Kept for the calls to come: never write into them.

    Bookstein 1989: the displacement of a point p, in x and in y alike, is
    \(f(p) = \sum_j w_j \, U(|p - c_j|) + a_x x + a_y y + a_1\), whose w and a solve
    \(\begin{bmatrix} U + \lambda I & P \\ P^T & 0 \end{bmatrix} \begin{bmatrix} w \\ a \end{bmatrix}
    = \begin{bmatrix} \theta \\ 0 \end{bmatrix}\) with \(U_{jk} = U(|c_j - c_k|)\), rows \(P_j = (x_j, y_j, 1)\).
    """
    # the control points c_j: row by row, x fastest, the outermost on -1 and +1
    C = target_grid(xp, (isqrt(K), isqrt(K)), True, "float64")
    L = xp.zeros((K + 3, K + 3), dtype="float64")
    # U_jk + lambda I: at c_j the displacement is theta_j, less lambda w_j
    L[:K, :K] = _U(_squared_distances(C, C)) + smoothing * xp.eye(K, dtype="float64")
    # P, the affine part; P^T w = 0: the bending part has no affine one in it
    L[:K, K:] = C.T
    L[K:, :K] = C
    # (w, a) for a unit displacement of each control point in turn
    w_a = xp.linalg.solve(L, xp.eye(K + 3, K, dtype="float64"))
    G = target_grid(xp, size, align_corners, "float64")
    # f at every target point: sum_j w_j U(|p - c_j|) + a_x x + a_y y + a_1
    M = _U(_squared_distances(G, C)) @ w_a[:K] + G.T @ w_a[K:]
    return Spline(target_grid(xp, size, align_corners, dtype)[:2], M.astype(dtype))


def tps_grid_forward(theta, *, size, align_corners=True, smoothing=0.0):
    r"""\((x_s, y_s)_i = (x_t, y_t)_i + \sum_j M_{ij} \, \theta_j\): a thin-plate spline through the moved lattice.

    theta      (B, K, 2): displacement (x, y), in normalised units, of the source point of each of K control points,
               a square lattice over [-1, 1]^2, row by row, x fastest (K = 16: 4 x 4). Zeros are the identity
    smoothing  lambda: 0 hits every control point exactly; more bends less, towards the best affine map (Wahba 1990)

    size (H', W') -> grid (B, 2, H', W'), normalised: grid[:, 0] = x_s, grid[:, 1] = y_s; cache.

    An image whose theta holds NaN or a number beyond 1e15 looks far away: it samples nothing, whatever the padding,
    and gets no gradient.

    Raises TypeError or ValueError if theta is not a float array (B, K, 2) with K = 4, 9, 16, ..., size is not two
    positive whole numbers, or smoothing is not a finite number, 0 or more.
    """
    check_arrays(theta=(theta, "B K 2"))
    check_size("size", size)
    check_number("smoothing", smoothing)
    B, K, _ = theta.shape
    if K < 4 or isqrt(K) ** 2 != K:
        raise ValueError(f"theta must have a square number of control points, 4 or more, not {K}")
    xp = get_array_module(theta)
    points, M = _spline(xp, K, tuple(size), align_corners, float(smoothing), theta.dtype.name)
    usable = usable_images(theta)
    # M theta: all x's and y's of all images, one matrix product
    displacement = keep(usable, theta, FAR).swapaxes(1, 2).reshape(-1, K) @ M.T
    # (x_s, y_s) = (x_t, y_t) + displacement
    grid = (displacement.reshape(B, *points.shape) + points).reshape(B, 2, *size)
    return grid, TPSCache(M, usable, grid.shape)


def tps_grid_backward(dgrid, cache):
    r"""\(\partial L / \partial \theta_j = \sum_i M_{ij} \; \partial L / \partial (x_s, y_s)_i\).

    dgrid (B, 2, H', W') -> dtheta (B, K, 2).
    """
    M, usable, grid_shape = cache
    check_arrays(dgrid=(dgrid, "B 2 H' W'"), M=(M, "P K"))
    check_gradient("dgrid", dgrid, grid_shape)
    P, K = M.shape
    # the displacement is linear in theta: the derivative is the transposed product, M^T dgrid
    dtheta = dgrid.reshape(-1, P) @ M
    return keep(usable, dtheta.reshape(-1, 2, K).swapaxes(1, 2))
