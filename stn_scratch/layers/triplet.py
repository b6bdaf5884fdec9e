"""The triplet loss by which images of one thing find it in each other: co-localisation (paper, App. A.2)."""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_arrays, check_number


class TripletCache(NamedTuple):
    near: object  # (P, D) e_n - e_m
    far: object  # (P, D) e_n - e_rand
    active: object  # (P, 1) 1 where the hinge is open, else 0


def triplet_hinge_forward(e_n, e_m, e_rand, *, alpha=1.0):
    r"""Eq. (8), its terms: \(L_{nm} = \max(0, \|e_n - e_m\|^2 - \|e_n - e_n^{\mathrm{rand}}\|^2 + \alpha)\).

    e_n, e_m, e_rand (P, D): the codes of two windows, and of a random piece of the first one's image, for P pairs of
    images; margin alpha >= 0 -> loss (P,), cache. Whoever trains with it takes the sum or the mean of the terms.

    Raises TypeError or ValueError for arrays of other shapes, dtypes or devices, and for a negative alpha.
    """
    check_arrays(e_n=(e_n, "P D"), e_m=(e_m, "P D"), e_rand=(e_rand, "P D"))
    check_number("alpha", alpha)
    xp = get_array_module(e_n)
    near, far = e_n - e_m, e_n - e_rand
    margin = (near * near).sum(axis=1) - (far * far).sum(axis=1) + float(alpha)
    return xp.maximum(margin, 0), TripletCache(near, far, (margin > 0).astype(e_n.dtype)[:, None])


def triplet_hinge_backward(dloss, cache, *, need_de_rand=True):
    """dloss (P,) -> de_n, de_m, de_rand, each (P, D).

    need_de_rand=False leaves out de_rand (None instead): a random piece was not chosen by anybody.
    """
    near, far, active = cache
    check_arrays(dloss=(dloss, "P"), e_n=(near, "P D"))
    # where the hinge is closed a small step changes nothing; dL / d ||.||^2 has the factor 2 of a square
    slope = 2 * active * dloss[:, None]
    # e_n stands in both distances, e_m in the first, e_rand in the second
    return slope * (near - far), -slope * near, (slope * far if need_de_rand else None)
