"""The package's sampler for one image U (H, W) and points in pixels: what the lessons write by hand."""

import numpy as np

from stn_scratch import sample_backward, sample_forward
from stn_scratch.coordinates import pixels_per_unit, to_pixels


def normalised(p, size):
    """The inverse of `to_pixels`, align_corners=True. Images here have 3, 5, 9 or 17 pixels a side: powers of two lie
    between -1 and +1, and a point on a pixel stays on it to the last bit."""
    x = (p - (size - 1) / 2) / pixels_per_unit(size, True)
    assert (to_pixels(x, size, True) == p)[p == np.floor(p)].all(), "a point was rounded off its pixel"
    return x


def sample_at(U, x_p, y_p, **options):
    """U (H, W), x_p and y_p (P,) in pixels -> V (P,), cache."""
    grid = np.stack([normalised(x_p, U.shape[1]), normalised(y_p, U.shape[0])])[None, :, None]
    V, cache = sample_forward(U[None, ..., None], grid, **options)
    return V[0, 0, :, 0], (cache, U.shape)


def sample_at_backward(dV, cache):
    """dV (P,) -> dU (H, W), dx_p (P,), dy_p (P,): per pixel."""
    cache, (H, W) = cache
    dU, dgrid = sample_backward(dV[None, None, :, None], cache)
    return dU[0, ..., 0], dgrid[0, 0, 0] / pixels_per_unit(W, True), dgrid[0, 1, 0] / pixels_per_unit(H, True)
