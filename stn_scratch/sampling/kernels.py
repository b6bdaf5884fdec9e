r"""Sampling kernels k of Eq. (3), each as the few taps that are not zero.

On one cell of the pixel lattice, between two neighbouring pixels, a kernel is smooth. With the sample at a distance
a in [0, 1] from the cell's first pixel, tap j (pixel cell + j) has the weight k(a - j) and the slope k'(a - j). What is
not smooth is the step from cell to cell: a sample *on* a pixel belongs to the cell on its right or on its left, and
that choice is the one-sided derivative there.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module


class Kernel(NamedTuple):
    offsets: tuple  # of the taps, from the cell's first pixel
    cell: object  # (x_p, side) -> first pixel of the cell, as a float
    weights: object  # a -> one weight for each tap
    slopes: object  # a -> dk/dx for each tap


def _nearest_cell(x_p, side):
    # Eq. (4): floor(x + 0.5), a half rounds up
    return get_array_module(x_p).floor(x_p + 0.5)


def _cell(x_p, side):
    """The cell that a step in the direction `side` (+1 right, -1 left; a number or an array) moves through."""
    xp = get_array_module(x_p)
    if isinstance(side, int):
        return xp.floor(x_p) if side > 0 else xp.ceil(x_p) - 1
    return xp.where(side > 0, xp.floor(x_p), xp.ceil(x_p) - 1)


KERNELS = {
    # Eq. (4): the nearest pixel with weight 1; flat wherever it is differentiable
    "integer": Kernel((0,), _nearest_cell, lambda a: (1 + 0 * a,), lambda a: (0 * a,)),
    # Eq. (5): the tent max(0, 1 - |d|); Eq. (7): its slope, -1 left of the sample and +1 right of it
    "bilinear": Kernel((0, 1), _cell, lambda a: (1 - a, a), lambda a: (-1 + 0 * a, 1 + 0 * a)),
}
