r"""Constrained forms of theta, p -> theta (B, 2, 3) for `affine_grid_forward`: Eq. (2) and others, and derivatives.

NaN in p, or a number beyond 1e15, makes the whole theta infinite: a grid of it samples nothing, and p gets the gradient
0. Some p are no use, a scale of 0 for one; `bounded.py` has forms in which every p is.

Every function raises TypeError or ValueError for an array of another shape, dtype or device.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import pixels_per_unit
from stn_scratch.grids.usable import LARGEST, keep, usable_images
from stn_scratch.validate import check_arrays, check_number, check_size


class ThetaCache(NamedTuple):
    p: object  # (B, number of parameters), 0 where not usable
    usable: object  # (B,)
    aspect: float = 1.0


def columns(p, shape, aspect=1.0):
    """The columns of p, each (B,), and the cache."""
    check_arrays(p=(p, shape))
    check_limit("aspect", aspect, above=1 / LARGEST)
    usable = usable_images(p)
    p = keep(usable, p)
    return p.T, ThetaCache(p, usable, float(aspect))


def stack_theta(cache, rows):
    """Stack two rows of three entries, each (B,) or a number, to theta (B, 2, 3)."""
    xp = get_array_module(cache.p)
    theta = xp.zeros((cache.p.shape[0], 2, 3), dtype=cache.p.dtype)
    for r, row in enumerate(rows):
        for c, entry in enumerate(row):
            theta[:, r, c] = entry
    return keep(cache.usable, theta, xp.inf)


def stack_dp(cache, dp):
    """Stack derivatives, each (B,), to dp (B, number of parameters)."""
    return keep(cache.usable, get_array_module(cache.p).stack(dp, axis=1))


def check_limit(name, value, *, above):
    """Raise ValueError unless `value` is a number above `above`, and not beyond LARGEST."""
    check_number(name, value, positive=True)
    if not above < value <= LARGEST:
        raise ValueError(f"{name} must be more than {above:g} and at most {LARGEST:g}, not {value!r}")


def attention_theta_forward(p):
    r"""Eq. (2): \(A_\theta = \begin{bmatrix} s & 0 & t_x \\ 0 & s & t_y \end{bmatrix}\): crop, move, scale alike.

    p (B, 3) = s, t_x, t_y -> theta (B, 2, 3), cache. Identity: (1, 0, 0).
    """
    (s, t_x, t_y), cache = columns(p, "B 3")
    return stack_theta(cache, [[s, 0, t_x], [0, s, t_y]]), cache


def attention_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 3)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 3"))
    # Eq. (2): s stands in both diagonal places, so their gradients add
    ds = dtheta[:, 0, 0] + dtheta[:, 1, 1]
    return stack_dp(cache, [ds, dtheta[:, 0, 2], dtheta[:, 1, 2]])


def translation_theta_forward(p):
    r"""\(A_\theta = \begin{bmatrix} 1 & 0 & t_x \\ 0 & 1 & t_y \end{bmatrix}\): move only (Eq. 2 with s = 1).

    p (B, 2) = t_x, t_y -> theta (B, 2, 3), cache. Identity: (0, 0).
    """
    (t_x, t_y), cache = columns(p, "B 2")
    return stack_theta(cache, [[1, 0, t_x], [0, 1, t_y]]), cache


def translation_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 2)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 2"))
    return stack_dp(cache, [dtheta[:, 0, 2], dtheta[:, 1, 2]])


def pixel_aspect(size, *, align_corners=True):
    """The `aspect` of an image of `size` (H, W): pixels per normalised unit along x, over those along y.

    1 if one of them is 0, on an axis of one pixel with align_corners: there is nothing to turn into.
    """
    check_size("size", size)
    y, x = (pixels_per_unit(n, align_corners) for n in size)
    return x / y if x and y else 1.0


def rotation_theta_forward(p, *, aspect=1.0):
    r"""\(A_\theta = \begin{bmatrix} \cos a & -\sin a / r & 0 \\ r \sin a & \cos a & 0 \end{bmatrix}\), r the aspect.

    p (B, 1) = angle a in radians -> theta (B, 2, 3), cache. Identity: (0,).

    y points down, so a > 0 turns the window clockwise and the picture in it counter-clockwise. The unit of x has r
    times as many pixels as that of y: with r = `pixel_aspect(size)` the turn is rigid in the pixels of an image of that
    size. With 1, the default, it is rigid in those of a square one, and shears others.
    """
    (a,), cache = columns(p, "B 1", aspect)
    xp = get_array_module(p)
    cos, sin = xp.cos(a), xp.sin(a)
    return stack_theta(cache, [[cos, -sin / cache.aspect, 0], [sin * cache.aspect, cos, 0]]), cache


def rotation_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 1)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 1"))
    xp = get_array_module(dtheta)
    cos, sin = xp.cos(cache.p[:, 0]), xp.sin(cache.p[:, 0])
    # d cos a = -sin a on the diagonal; d(-sin a / r) = -cos a / r and d(r sin a) = r cos a beside it
    beside = dtheta[:, 1, 0] * cache.aspect - dtheta[:, 0, 1] / cache.aspect
    da = -sin * (dtheta[:, 0, 0] + dtheta[:, 1, 1]) + cos * beside
    return stack_dp(cache, [da])


def similarity_theta_forward(p, *, aspect=1.0):
    r"""\(A_\theta = \begin{bmatrix} s \cos a & -s \sin a / r & t_x \\ r s \sin a & s \cos a & t_y \end{bmatrix}\).

    p (B, 4) = s, angle a in radians, t_x, t_y; r the aspect, as in `rotation_theta_forward`
    -> theta (B, 2, 3), cache. Identity: (1, 0, 0, 0).
    """
    (s, a, t_x, t_y), cache = columns(p, "B 4", aspect)
    xp = get_array_module(p)
    s_cos, s_sin = s * xp.cos(a), s * xp.sin(a)
    return stack_theta(cache, [[s_cos, -s_sin / cache.aspect, t_x], [s_sin * cache.aspect, s_cos, t_y]]), cache


def similarity_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 4)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.p, "B 4"))
    xp = get_array_module(dtheta)
    s, a, _, _ = cache.p.T
    cos, sin = xp.cos(a), xp.sin(a)
    diagonal = dtheta[:, 0, 0] + dtheta[:, 1, 1]
    beside = dtheta[:, 1, 0] * cache.aspect - dtheta[:, 0, 1] / cache.aspect
    ds = cos * diagonal + sin * beside
    da = s * (-sin * diagonal + cos * beside)
    return stack_dp(cache, [ds, da, dtheta[:, 0, 2], dtheta[:, 1, 2]])
