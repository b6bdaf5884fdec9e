r"""The affine sampling grid, Eq. (1), and constrained forms of theta, each with its derivative.

The map runs from the output to the input: output pixel (x_t, y_t) is read from (x_s, y_s) = A_theta (x_t, y_t, 1).
So a scale below 1 zooms *in*, and a positive t_x moves the *window* to the right, the picture to the left.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import target_grid
from stn_scratch.validate import check_arrays, check_gradient, check_size


class AffineCache(NamedTuple):
    G: object  # (3, H'W')
    grid_shape: tuple


def affine_grid_forward(theta, *, size, align_corners=True):
    r"""Eq. (1): \((x_s, y_s)^T = A_\theta \, (x_t, y_t, 1)^T\), for every pixel of the target grid G.

    theta (B, 2, 3), size (H', W') -> grid (B, 2, H', W'), normalised: grid[:, 0] = x_s, grid[:, 1] = y_s; cache.

    Raises TypeError or ValueError if theta is not a float array (B, 2, 3), or size is not two positive whole numbers.
    """
    check_arrays(theta=(theta, "B 2 3"))
    check_size("size", size)
    xp = get_array_module(theta)
    G = target_grid(xp, size, align_corners, theta.dtype)
    # Eq. (1): all rows of all A_theta against all target points, one matrix product
    grid = (theta.reshape(-1, 3) @ G).reshape(theta.shape[0], 2, *size)
    return grid, AffineCache(G, grid.shape)


def affine_grid_backward(dgrid, cache):
    r"""\(\partial L / \partial A_\theta = \sum_i \partial L / \partial (x_s, y_s)_i \; (x_t, y_t, 1)_i\).

    dgrid (B, 2, H', W') -> dtheta (B, 2, 3).
    """
    G, grid_shape = cache
    check_arrays(dgrid=(dgrid, "B 2 H' W'"), G=(G, "3 P"))
    check_gradient("dgrid", dgrid, grid_shape)
    # Eq. (1) is linear in theta: the derivative is the transposed product
    dtheta = dgrid.reshape(-1, G.shape[1]) @ G.T
    return dtheta.reshape(-1, 2, 3)


def _theta(p, rows):
    """Stack two rows of three entries, each (B,) or the number 0, to theta (B, 2, 3)."""
    xp = get_array_module(p)
    theta = xp.zeros((p.shape[0], 2, 3), dtype=p.dtype)
    for r, row in enumerate(rows):
        for c, entry in enumerate(row):
            theta[:, r, c] = entry
    return theta


def _stack(dp):
    """Stack derivatives, each (B,), to dp (B, number of parameters)."""
    return get_array_module(dp[0]).stack(dp, axis=1)


class ThetaCache(NamedTuple):
    p: object  # (B, number of parameters)


def attention_theta_forward(p):
    r"""Eq. (2): \(A_\theta = \begin{bmatrix} s & 0 & t_x \\ 0 & s & t_y \end{bmatrix}\): crop, move, scale alike.

    p (B, 3) = s, t_x, t_y -> theta (B, 2, 3), cache. Identity: (1, 0, 0).
    """
    check_arrays(p=(p, "B 3"))
    s, t_x, t_y = p.T
    return _theta(p, [[s, 0, t_x], [0, s, t_y]]), ThetaCache(p)


def attention_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 3)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 3"))
    # Eq. (2): s stands in both diagonal places, so their gradients add
    ds = dtheta[:, 0, 0] + dtheta[:, 1, 1]
    return _stack([ds, dtheta[:, 0, 2], dtheta[:, 1, 2]])


def translation_theta_forward(p):
    r"""\(A_\theta = \begin{bmatrix} 1 & 0 & t_x \\ 0 & 1 & t_y \end{bmatrix}\): move only (Eq. 2 with s = 1).

    p (B, 2) = t_x, t_y -> theta (B, 2, 3), cache. Identity: (0, 0).
    """
    check_arrays(p=(p, "B 2"))
    t_x, t_y = p.T
    return _theta(p, [[1, 0, t_x], [0, 1, t_y]]), ThetaCache(p)


def translation_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 2)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 2"))
    return _stack([dtheta[:, 0, 2], dtheta[:, 1, 2]])


def rotation_theta_forward(p):
    r"""\(A_\theta = \begin{bmatrix} \cos a & -\sin a & 0 \\ \sin a & \cos a & 0 \end{bmatrix}\).

    p (B, 1) = angle a in radians -> theta (B, 2, 3), cache. Identity: (0,).

    y points down, so a > 0 turns the window clockwise and the picture in it counter-clockwise. In normalised
    coordinates this is a true rotation only for a square image; on others it shears.
    """
    check_arrays(p=(p, "B 1"))
    xp = get_array_module(p)
    cos, sin = xp.cos(p[:, 0]), xp.sin(p[:, 0])
    return _theta(p, [[cos, -sin, 0], [sin, cos, 0]]), ThetaCache(p)


def rotation_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 1)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 1"))
    xp = get_array_module(dtheta)
    cos, sin = xp.cos(cache.p[:, 0]), xp.sin(cache.p[:, 0])
    # d cos a = -sin a on the diagonal; d(-sin a) = -cos a and d sin a = cos a beside it
    da = -sin * (dtheta[:, 0, 0] + dtheta[:, 1, 1]) + cos * (dtheta[:, 1, 0] - dtheta[:, 0, 1])
    return _stack([da])


def similarity_theta_forward(p):
    r"""\(A_\theta = \begin{bmatrix} s \cos a & -s \sin a & t_x \\ s \sin a & s \cos a & t_y \end{bmatrix}\).

    p (B, 4) = s, angle a in radians, t_x, t_y -> theta (B, 2, 3), cache. Identity: (1, 0, 0, 0).
    """
    check_arrays(p=(p, "B 4"))
    xp = get_array_module(p)
    s, a, t_x, t_y = p.T
    cos, sin = xp.cos(a), xp.sin(a)
    return _theta(p, [[s * cos, -s * sin, t_x], [s * sin, s * cos, t_y]]), ThetaCache(p)


def similarity_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 4)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 4"))
    xp = get_array_module(dtheta)
    s, a, _, _ = cache.p.T
    cos, sin = xp.cos(a), xp.sin(a)
    diagonal = dtheta[:, 0, 0] + dtheta[:, 1, 1]
    beside = dtheta[:, 1, 0] - dtheta[:, 0, 1]
    ds = cos * diagonal + sin * beside
    da = s * (-sin * diagonal + cos * beside)
    return _stack([ds, da, dtheta[:, 0, 2], dtheta[:, 1, 2]])
