r"""The affine sampling grid, Eq. (1), and its derivative.

The map runs from the output to the input: output pixel (x_t, y_t) is read from (x_s, y_s) = A_theta (x_t, y_t, 1).
So a scale below 1 zooms *in*, and a positive t_x moves the *window* to the right, the picture to the left.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import target_grid
from stn_scratch.grids.usable import keep, usable_or_far
from stn_scratch.validate import check_arrays, check_gradient, check_size


class AffineCache(NamedTuple):
    G: object  # (3, H'W')
    usable: object  # (B,)
    grid_shape: tuple


def affine_grid_forward(theta, *, size, align_corners=True):
    r"""Eq. (1): \((x_s, y_s)^T = A_\theta \, (x_t, y_t, 1)^T\), for every pixel of the target grid G.

    theta (B, 2, 3), size (H', W') -> grid (B, 2, H', W'), normalised: grid[:, 0] = x_s, grid[:, 1] = y_s; cache.

    An image whose theta holds NaN or a number beyond 1e15 looks far away: it samples nothing, whatever the padding,
    and gets no gradient.

    Raises TypeError or ValueError if theta is not a float array (B, 2, 3), or size is not two positive whole numbers.
    """
    check_arrays(theta=(theta, "B 2 3"))
    check_size("size", size)
    xp = get_array_module(theta)
    G = target_grid(xp, size, align_corners, theta.dtype)
    theta, usable = usable_or_far(theta)
    # Eq. (1): all rows of all A_theta against all target points, one matrix product
    grid = (theta.reshape(-1, 3) @ G).reshape(theta.shape[0], 2, *size)
    return grid, AffineCache(G, usable, grid.shape)


def affine_grid_backward(dgrid, cache):
    r"""\(\partial L / \partial A_\theta = \sum_i \partial L / \partial (x_s, y_s)_i \; (x_t, y_t, 1)_i\).

    dgrid (B, 2, H', W') -> dtheta (B, 2, 3).
    """
    G, usable, grid_shape = cache
    check_arrays(dgrid=(dgrid, "B 2 H' W'"), G=(G, "3 P"))
    check_gradient("dgrid", dgrid, grid_shape)
    # Eq. (1) is linear in theta: the derivative is the transposed product
    dtheta = dgrid.reshape(-1, G.shape[1]) @ G.T
    return keep(usable, dtheta.reshape(-1, 2, 3))
