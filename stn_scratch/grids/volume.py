r"""The affine sampling grid of a volume: theta (3x4) -> grid, and its derivative.

The paper's appendix A.3 transforms volumes. The equation number (10) is given from memory, not checked against the
printed text; the 3x4 matrix is as others report it. All else is as in `affine.py`, with a third axis: x runs along
the columns (W), y along the rows (H), z along the planes (D).
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import axis_points
from stn_scratch.grids.usable import keep, usable_or_far
from stn_scratch.validate import check_arrays, check_gradient, check_size


class Affine3DCache(NamedTuple):
    G: object  # (4, D'H'W')
    usable: object  # (B,)
    grid_shape: tuple


def _target_volume(xp, size, align_corners, dtype):
    """The regular target grid G of a volume, shape (4, D'H'W'): rows x_t, y_t, z_t, 1."""
    D, H, W = size
    G = xp.ones((4, D, H, W), dtype=dtype)
    G[0] = axis_points(xp, W, align_corners, dtype)
    G[1] = axis_points(xp, H, align_corners, dtype)[:, None]
    G[2] = axis_points(xp, D, align_corners, dtype)[:, None, None]
    return G.reshape(4, D * H * W)


def affine_grid3d_forward(theta, *, size, align_corners=True):
    r"""Eq. (10), numbered from memory: \((x_s, y_s, z_s)^T = A_\theta \, (x_t, y_t, z_t, 1)^T\).

    theta (B, 3, 4), size (D', H', W') -> grid (B, 3, D', H', W'), normalised: grid[:, 0] = x_s, grid[:, 1] = y_s,
    grid[:, 2] = z_s; cache. Identity: ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)).

    A volume whose theta holds NaN or a number beyond 1e15 looks far away: it samples nothing, whatever the padding,
    and gets no gradient.

    Raises TypeError or ValueError if theta is not a float array (B, 3, 4), or size is not three positive whole numbers.
    """
    check_arrays(theta=(theta, "B 3 4"))
    check_size("size", size, rank=3)
    xp = get_array_module(theta)
    G = _target_volume(xp, size, align_corners, theta.dtype)
    theta, usable = usable_or_far(theta)
    # Eq. (10): all rows of all A_theta against all target points, one matrix product
    grid = (theta.reshape(-1, 4) @ G).reshape(theta.shape[0], 3, *size)
    return grid, Affine3DCache(G, usable, grid.shape)


def affine_grid3d_backward(dgrid, cache):
    r"""\(\partial L / \partial A_\theta = \sum_i \partial L / \partial (x_s, y_s, z_s)_i \; (x_t, y_t, z_t, 1)_i\).

    dgrid (B, 3, D', H', W') -> dtheta (B, 3, 4).
    """
    G, usable, grid_shape = cache
    check_arrays(dgrid=(dgrid, "B 3 D' H' W'"), G=(G, "4 P"))
    check_gradient("dgrid", dgrid, grid_shape)
    # Eq. (10) is linear in theta: the derivative is the transposed product
    dtheta = dgrid.reshape(-1, G.shape[1]) @ G.T
    return keep(usable, dtheta.reshape(-1, 3, 4))
