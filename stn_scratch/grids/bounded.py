r"""Bounded forms of theta, p -> theta (B, 2, 3) for `affine_grid_forward`, with parameters that are safe to learn.

p passes through tanh on its way, so that every p is a transformation that can be undone and stays near the image. All
zeros are the identity, and there the slopes are those of the plain forms in `constrained.py`. A number beyond 1e15,
even an infinite one, counts as 1e15, and that is at the bound. Only NaN makes theta infinite, as in the plain forms.

Every function raises TypeError or ValueError for an array of another shape, dtype or device, and for a bound that is
too small to be one.
"""

from math import log
from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.grids.constrained import (
    ThetaCache,
    attention_theta_backward,
    attention_theta_forward,
    check_limit,
    columns,
    similarity_theta_backward,
    similarity_theta_forward,
    stack_dp,
    stack_theta,
)
from stn_scratch.grids.usable import LARGEST, keep
from stn_scratch.validate import check_arrays


class BoundedCache(NamedTuple):
    plain: ThetaCache  # of the plain form, whose parameters are the bounded ones
    slope: object  # (B, number of parameters) of these with respect to p


def _clipped(p, shape):
    check_arrays(p=(p, shape))
    return get_array_module(p).clip(p, -LARGEST, LARGEST)


def _bounded(p, limit):
    r"""\(q = \ell \tanh(p / \ell)\), between -limit and limit, and dq/dp, which is 1 at 0."""
    limit = float(limit)  # a NumPy number would change the dtype
    t = get_array_module(p).tanh(p / limit)
    return limit * t, 1 - t * t


def _bounded_scale(p, largest):
    r"""\(s = L^{\tanh(p / \log L)}\), between 1/L and L, and ds/dp, which is 1 at 0."""
    log_s, slope = _bounded(p, log(largest))
    s = get_array_module(p).exp(log_s)
    return s, s * slope


def scale_theta_forward(p, *, largest=4.0):
    r"""\(A_\theta = \begin{bmatrix} s & 0 & 0 \\ 0 & s & 0 \end{bmatrix}\) with \(s = L^{\tanh(p / \log L)}\).

    p (B, 1), largest L > 1 -> theta (B, 2, 3), cache. Identity: (0,). s lies between 1/L and L, and p and -p undo each
    other; near the identity s = 1 + p.
    """
    p = _clipped(p, "B 1")
    check_limit("largest", largest, above=1)
    q, slope = _bounded_scale(p, largest)
    (s,), cache = columns(q, "B 1")
    return stack_theta(cache, [[s, 0, 0], [0, s, 0]]), BoundedCache(cache, slope)


def scale_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 1)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.plain.p, "B 1"))
    # s stands in both diagonal places; then s = L^tanh(p / log L)
    return stack_dp(cache.plain, [(dtheta[:, 0, 0] + dtheta[:, 1, 1]) * cache.slope[:, 0]])


def shear_theta_forward(p, *, largest=1.0):
    r"""\(A_\theta = \begin{bmatrix} 1 & a \\ 0 & 1 \end{bmatrix} \begin{bmatrix} 1 & 0 \\ b & 1 \end{bmatrix}
    = \begin{bmatrix} 1 + ab & a & 0 \\ b & 1 & 0 \end{bmatrix}\): along y by b, then along x by a.

    p (B, 2), \(a, b = \ell \tanh(p / \ell)\) with l = largest > 0 -> theta (B, 2, 3), cache. Identity: (0, 0). Its
    determinant is 1: areas stay as they are.
    """
    p = _clipped(p, "B 2")
    check_limit("largest", largest, above=1 / LARGEST)
    q, slope = _bounded(p, largest)
    (a, b), cache = columns(q, "B 2")
    return stack_theta(cache, [[1 + a * b, a, 0], [b, 1, 0]]), BoundedCache(cache, slope)


def shear_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 2)."""
    check_arrays(dtheta=(dtheta, "B 2 3"), p=(cache.plain.p, "B 2"))
    a, b = cache.plain.p.T
    # a and b stand alone, and in 1 + a b together
    da = dtheta[:, 0, 1] + b * dtheta[:, 0, 0]
    db = dtheta[:, 1, 0] + a * dtheta[:, 0, 0]
    return stack_dp(cache.plain, [da * cache.slope[:, 0], db * cache.slope[:, 1]])


def bounded_attention_theta_forward(p, *, largest=4.0, farthest=1.0):
    r"""Eq. (2), bounded: \(s = L^{\tanh(p_1 / \log L)}\), \(t_x = f \tanh(p_2 / f)\), \(t_y = f \tanh(p_3 / f)\).

    p (B, 3), largest L > 1, farthest f > 0 -> theta (B, 2, 3), cache. Identity: (0, 0, 0). With f = 1 the middle of the
    window stays in the image.
    """
    p = _clipped(p, "B 3")
    check_limit("largest", largest, above=1)
    check_limit("farthest", farthest, above=1 / LARGEST)
    xp = get_array_module(p)
    (s, ds), (t, dt) = _bounded_scale(p[:, :1], largest), _bounded(p[:, 1:], farthest)
    theta, cache = attention_theta_forward(xp.concatenate([s, t], axis=1))
    return theta, BoundedCache(cache, xp.concatenate([ds, dt], axis=1))


def bounded_attention_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 3)."""
    # chain rule: the plain parameters are functions of p, one by one
    return keep(cache.plain.usable, attention_theta_backward(dtheta, cache.plain) * cache.slope)


def bounded_similarity_theta_forward(p, *, largest=4.0, farthest=1.0, aspect=1.0):
    r"""The similarity, bounded: \(s = L^{\tanh(p_1 / \log L)}\), \(a = p_2\), \(t_x, t_y = f \tanh(p_{3, 4} / f)\).

    p (B, 4), largest L > 1, farthest f > 0, aspect as in `rotation_theta_forward` -> theta (B, 2, 3), cache. Identity:
    (0, 0, 0, 0). The angle a comes round by itself and needs no bound.
    """
    p = _clipped(p, "B 4")
    check_limit("largest", largest, above=1)
    check_limit("farthest", farthest, above=1 / LARGEST)
    xp = get_array_module(p)
    a = p[:, 1:2]
    (s, ds), (t, dt) = _bounded_scale(p[:, :1], largest), _bounded(p[:, 2:], farthest)
    theta, cache = similarity_theta_forward(xp.concatenate([s, a, t], axis=1), aspect=aspect)
    return theta, BoundedCache(cache, xp.concatenate([ds, xp.ones_like(a), dt], axis=1))


def bounded_similarity_theta_backward(dtheta, cache):
    """dtheta (B, 2, 3) -> dp (B, 4)."""
    # chain rule: the plain parameters are functions of p, one by one
    return keep(cache.plain.usable, similarity_theta_backward(dtheta, cache.plain) * cache.slope)
