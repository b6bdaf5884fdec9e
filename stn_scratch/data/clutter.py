"""Clutter: small pieces of other digits, strewn over an image."""

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import pixels_per_unit
from stn_scratch.sampling import sample_backward, sample_forward


def _window_grid(left, top, *, window, image):
    """The grid (B, 2, window, window) that reads a window of whole pixels from a square image; left, top (B,)."""
    k = np.arange(window)
    x_p = np.broadcast_to(left[:, None, None] + k, (len(left), window, window))
    y_p = np.broadcast_to(top[:, None, None] + k[:, None], (len(top), window, window))
    return (np.stack([x_p, y_p], axis=1) - (image - 1) / 2) / pixels_per_unit(image, align_corners=True)


def add_clutter(rng, images, digits, *, patches, size):
    """Images (B, S, S, 1) with `patches` pieces of size x size pixels, each cut at random from another digit.

    digits (B, D, D, 1): where the pieces come from, image b never from digit b (unless it is alone). Intensities add,
    and stop at 1. A piece is cut by the sampler, and pasted by the sampler's transpose, Eq. (6): to scatter a patch
    into an image is the backward pass of reading it from there.
    """
    xp = get_array_module(images)
    B, S = images.shape[:2]
    D = digits.shape[1]
    clutter = xp.zeros_like(images)
    for _ in range(patches):
        other = (np.arange(B) + rng.integers(1, max(2, B), B)) % B
        cut = _window_grid(*rng.integers(0, D - size + 1, (2, B)), window=size, image=D)
        paste = _window_grid(*rng.integers(0, S - size + 1, (2, B)), window=size, image=S)
        to_device = [xp.asarray(grid.astype(images.dtype.name)) for grid in (cut, paste)]
        pieces, _ = sample_forward(digits[xp.asarray(other)], to_device[0], kernel="integer")
        _, cache = sample_forward(clutter, to_device[1], kernel="integer")
        clutter = clutter + sample_backward(pieces, cache)[0]
    return xp.minimum(images + clutter, 1)
