"""Normalised and pixel coordinates: the convention, in one place.

x counts columns, y counts rows; x stands before y. Normalised coordinates run over [-1, 1]. With `align_corners=True`,
-1 and +1 are the *centres* of the first and last pixel; with False they are the outer *edges*, half a pixel further
out. The paper normalises (its Eq. 1) but prints no formula for the way to pixels; both are in use, so both are here.
"""

from stn_scratch.validate import check_flag


def to_pixels(x, size, align_corners):
    """Normalised x -> pixel coordinate x_p along an axis of `size` pixels, 0 at the centre of the first.

    align_corners:      x_p = x (size-1)/2 + (size-1)/2
    not align_corners:  x_p = x  size   /2 + (size-1)/2

    The order matters: (x + 1) (size-1)/2 is the same on paper, but its rounding puts a quarter of the float32 identity
    grid's points beside their pixel instead of on it; this form, two in a hundred. An axis of one pixel with
    align_corners has every x at 0.
    """
    return x * pixels_per_unit(size, align_corners) + (size - 1) / 2


def pixels_per_unit(size, align_corners):
    """dx_p/dx of `to_pixels`: (size-1)/2, or size/2 without align_corners."""
    return _span(size, align_corners) / 2


def _span(size, align_corners):
    """How many pixels -1 and +1 are apart."""
    check_flag("align_corners", align_corners)
    return size - 1 if align_corners else size


def axis_points(xp, size, align_corners, dtype):
    """The normalised coordinates of the `size` pixel centres of one axis, shape (size,).

    A single pixel stands at 0, the middle, in both conventions.
    """
    k = 2 * xp.arange(size, dtype=dtype) - (size - 1)
    return k / max(_span(size, align_corners), 1)


def target_grid(xp, size, align_corners, dtype):
    """The regular target grid G in homogeneous coordinates, shape (3, H'W'): rows x_t, y_t, 1 (paper, Sec. 3.2).

    Output pixel i = n W' + m stands at (x_t, y_t) = (column m, row n), normalised.
    """
    H, W = size
    G = xp.ones((3, H, W), dtype=dtype)
    G[0] = axis_points(xp, W, align_corners, dtype)
    G[1] = axis_points(xp, H, align_corners, dtype)[:, None]
    return G.reshape(3, H * W)
