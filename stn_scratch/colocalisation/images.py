"""Images that share one unknown thing: a digit of one class somewhere on black (T), or among clutter (TC)."""

from typing import NamedTuple

import numpy as np

from stn_scratch.backend import get_array_module, to_host
from stn_scratch.data.clutter import add_clutter
from stn_scratch.data.distort import place_anywhere
from stn_scratch.validate import check_whole

CANVAS, DIGIT = 84, 28  # the sides of an image and of a digit's frame, in pixels
PATCHES, PATCH = 16, 6  # TC: how many pieces of other digits, and their side


class Scene(NamedTuple):
    """Images of one class, and what the localiser is never told."""

    images: object  # (N, 84, 84, 1), on the digits' device
    boxes: object  # (N, 3) host array: x, y of the middle of the digit's frame and its side, in pixels


def draw_scene(rng, split, others, *, label, images, clutter):
    """`images` images with a digit of class `label` from `split`, no digit twice; TC's clutter from the split `others`.

    Random numbers come from the host's rng. Raises ValueError if the split has too few such digits.
    """
    check_whole("images", images, least=2)
    own = np.flatnonzero(to_host(split.labels) == label)
    if len(own) < images:
        raise ValueError(f"images must be at most {len(own)}, the digits of class {label} that there are, not {images}")
    xp = get_array_module(split.images)
    digits = xp.take(split.images, xp.asarray(rng.choice(own, images, replace=False)), axis=0)
    canvases, x, y = place_anywhere(rng, digits, CANVAS)
    if clutter:
        chosen = rng.integers(0, len(others.labels), images)
        pieces_of = xp.take(others.images, xp.asarray(chosen), axis=0)
        canvases = add_clutter(rng, canvases, pieces_of, patches=PATCHES, size=PATCH)
    return Scene(canvases, np.stack([x, y, np.full(images, DIGIT)], axis=1))


def boxes_of(p):
    """The boxes (N, 3) that windows p (N, 3) = s, t_x, t_y of Eq. (2) cut out: x, y of the middle, and the side.

    Corner-aligned, the window's first and last of 28 samples are 2 s (84 - 1) / 2 pixels apart; its edges are half a
    sample further out. Host arrays.
    """
    middle = (CANVAS - 1) / 2
    side = abs(p[:, :1]) * (CANVAS - 1) * DIGIT / (DIGIT - 1)
    return np.concatenate([middle + middle * p[:, 1:], side], axis=1)


def overlap(a, b):
    """Intersection over union of square boxes (N, 3) = x, y, side, pair by pair -> (N,)."""
    low = np.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)
    high = np.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    return shared / (a[:, 2] ** 2 + b[:, 2] ** 2 - shared)
