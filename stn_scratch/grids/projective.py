r"""The projective sampling grid, one of the transformations that the paper names in Sec. 3.2, and its derivative.

A plane seen in perspective: the affine map of Eq. (1), divided by w, which changes from pixel to pixel. Where w falls
to 0 lies the horizon, and behind it the division would show what lies behind the viewer, upside down. Nothing is there.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import target_grid
from stn_scratch.grids.usable import keep, usable_images
from stn_scratch.validate import check_arrays, check_gradient, check_size

HORIZON = 1e-3  # a point with w at or below it is on or behind the horizon


class ProjectiveCache(NamedTuple):
    G: object  # (3, H'W')
    x_s: object  # (B, H'W')
    y_s: object  # (B, H'W')
    w: object  # (B, H'W'), 1 where not visible
    visible: object  # (B, H'W') in front of the horizon
    grid_shape: tuple


def projective_grid_forward(theta, *, size, align_corners=True):
    r"""\(x_s = \frac{h_{11} x_t + h_{12} y_t + h_{13}}{w}, \; y_s = \frac{h_{21} x_t + h_{22} y_t + h_{23}}{w}\).

    Here \(w = h_{31} x_t + h_{32} y_t + 1\), for every pixel of the target grid G. The paper only names this
    family, with its 8 parameters (Sec. 3.2); the formula is the usual homography with \(h_{33} = 1\).

    theta (B, 8) = h11, h12, h13, h21, h22, h23, h31, h32, size (H', W') -> grid (B, 2, H', W'), normalised:
    grid[:, 0] = x_s, grid[:, 1] = y_s; cache. Identity: (1, 0, 0, 0, 1, 0, 0, 0).

    A point on or behind the horizon, w <= 1e-3, is put at infinity: the sampler samples nothing there, whatever the
    padding, and the point gets no gradient. So is every point of an image whose theta holds NaN or a number beyond
    1e15. The centre of the output, where w = 1, is always in front.

    Raises TypeError or ValueError if theta is not a float array (B, 8), or size is not two positive whole numbers.
    """
    check_arrays(theta=(theta, "B 8"))
    check_size("size", size)
    xp = get_array_module(theta)
    B = theta.shape[0]
    G = target_grid(xp, size, align_corners, theta.dtype)
    usable = usable_images(theta)
    # H = [[h11, h12, h13], [h21, h22, h23], [h31, h32, 1]]
    H = xp.ones((B, 9), dtype=theta.dtype)
    H[:, :8] = keep(usable, theta)
    # (X, Y, w) = H (x_t, y_t, 1): all rows of all H against all target points, one matrix product
    X_Y_w = (H.reshape(-1, 3) @ G).reshape(B, 3, G.shape[1])
    X, Y, w = X_Y_w[:, 0], X_Y_w[:, 1], X_Y_w[:, 2]
    visible = usable[:, None] & (w > HORIZON)
    w = xp.where(visible, w, 1)
    # x_s = X / w, y_s = Y / w
    x_s, y_s = X / w, Y / w
    grid = xp.where(visible[:, None], xp.stack([x_s, y_s], axis=1), xp.inf).reshape(B, 2, *size)
    return grid, ProjectiveCache(G, x_s, y_s, w, visible, grid.shape)


def projective_grid_backward(dgrid, cache):
    r"""The quotient rule: \(\partial x_s/\partial h_{1j} = g_j/w\), \(\partial x_s/\partial h_{3j} = -x_s g_j/w\).

    Here \(g = (x_t, y_t, 1)\), and likewise with \(h_{2j}\) for \(y_s\); summed over the points in front of the
    horizon. Both coordinates see \(h_{3j}\), so their shares add: \(\partial L / \partial h_{3j} =
    -\sum_i (x_s \, \partial L / \partial x_s + y_s \, \partial L / \partial y_s)_i \, (g_j / w)_i\).

    dgrid (B, 2, H', W') -> dtheta (B, 8). What dgrid holds at the other points, be it NaN, does not matter.

    Raises TypeError or ValueError if dgrid is not a float array of the grid's shape, dtype and device.
    """
    G, x_s, y_s, w, visible, grid_shape = cache
    check_gradient("dgrid", dgrid, grid_shape)
    check_arrays(grid=(x_s, "..."), dgrid=(dgrid, "..."))  # one device, one dtype
    xp = get_array_module(dgrid)
    dx, dy = (xp.where(visible, dgrid[:, k].reshape(x_s.shape), 0) for k in (0, 1))
    # x_s = X / w: dx_s/dX = 1 / w, and the same for y_s
    dX, dY = dx / w, dy / w
    # quotient rule: dx_s/dw = (0 w - X 1) / w^2 = -X / w^2 = -x_s / w, dy_s/dw = -y_s / w; both see the same w
    dw = -(x_s * dX + y_s * dY)
    # (X, Y, w) = H (x_t, y_t, 1) is linear in H: the derivative is the transposed product
    dH = xp.stack([dX, dY, dw], axis=1).reshape(-1, G.shape[1]) @ G.T
    # h33 = 1 is no parameter
    return dH.reshape(-1, 9)[:, :8]
