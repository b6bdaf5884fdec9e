"""What a coordinate outside the image means.

`zeros`    Eq. (3) as it stands: it sums over the pixels that exist, so the outside is black.
`border`   the coordinate is moved to the nearest pixel of the image: the edge pixels go on for ever.
`reflect`  the coordinate is mirrored, at the edge pixels' centres (align_corners) or outer edges, and then clamped.

The last two change the coordinate first, so the chain rule has one more factor: +1 where the coordinate passes
unchanged, -1 where it is mirrored, 0 where it is clamped.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module

PADDINGS = ("zeros", "border", "reflect")


class Padded(NamedTuple):
    x_p: object  # the coordinate after padding
    slope: object  # its derivative with respect to the one before: +1, 0 or -1
    side: object  # the direction in which x_p moves when the coordinate before moves to `side`


def pad_coordinate(x_p, *, size, padding, align_corners, side):
    """x_p: finite pixel coordinates, any shape; size: pixels on this axis; side: +1 or -1, for the one-sided slope."""
    if padding == "zeros":
        return Padded(x_p, 1, side)
    if padding == "border":
        return _clamp(x_p, 1, side, size)
    return _clamp(*_mirror(x_p, side, size, align_corners), size)


def _clamp(x_p, slope, side, size):
    xp = get_array_module(x_p)
    last = size - 1
    # on an edge pixel's centre the step decides: inwards is inside, outwards is clamped
    passes = ((x_p > 0) | (x_p == 0) & (side > 0)) & ((x_p < last) | (x_p == last) & (side < 0))
    return Padded(xp.clip(x_p, 0, last), slope * passes.astype(x_p.dtype), side)


def _mirror(x_p, side, size, align_corners):
    xp = get_array_module(x_p)
    low = 0 if align_corners else -0.5
    span = size - 1 if align_corners else size
    if span == 0:  # one pixel, mirrored at its own centre
        return xp.zeros_like(x_p), 0, side
    r = xp.fmod(x_p - low, 2 * span)  # whose remainder is exact; that of CuPy's mod is not
    r = xp.where(r < 0, r + 2 * span, r)
    forth = (r < span) if side > 0 else (r > 0) & (r <= span)
    slope = xp.where(forth, 1, -1).astype(x_p.dtype)
    return low + xp.minimum(r, 2 * span - r), slope, slope * side
