"""Strips of one to five digits on a square canvas: house numbers without the houses (paper, Sec. 4.2).

SVHN's photographs are read by `svhn.py`; these strips need MNIST alone. They pose the same question: which digits, how
many, in which order. All that is drawn here is ours.
"""

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.data.distort import place

CANVAS = 64
LONGEST = 5
NULL = 10  # the class of a position behind the last digit
NEAR, FAR = 14, 22  # pixels from one digit's middle to the next: some touch
INK = 24  # of the 28 pixels of MNIST's frame; what is drawn hardly ever leaves them


def in_a_row(digits, *, left, count):
    """Digits side by side, by whole pixels; where frames overlap, the brighter pixel.

    digits (B, n, H, W, 1); left (B, n): each digit's first column, from 0 to (n - 1) `FAR`; count (B,): how many are
    taken; host arrays -> (B, H, W + (n - 1) FAR, 1).
    """
    xp = get_array_module(digits)
    B, n, H, W, _ = digits.shape
    taken = xp.asarray(np.arange(n) < count[:, None])[:, :, None, None, None]
    # columns first, so that an image's columns are one index
    digits = xp.where(taken, digits, 0).swapaxes(2, 3)
    rows = xp.zeros((B, W + (n - 1) * FAR, H, 1), dtype=digits.dtype)
    image = xp.asarray(np.arange(B)[:, None])
    for k in range(n):
        column = xp.asarray(left[:, k, None] + np.arange(W))
        rows[image, column] = xp.maximum(rows[image, column], digits[:, k])
    return rows.swapaxes(1, 2)


def draw_strips(rng, images, labels):
    """One image from five digits: the first 1 to 5 of them side by side in a strip, scaled, slightly turned, anywhere.

    images (B, 5, 28, 28, 1), labels (B, 5) -> x (B, 64, 64, 1), and labels (B, 5), `NULL` behind the last digit. The
    turn is up to 15 degrees; the strip has 0.7 to 1 times the largest size that fits the canvas, where a digit is at
    most twice its own.
    """
    xp = get_array_module(images)
    B, n = labels.shape
    count = rng.integers(1, n + 1, B)
    left = np.cumsum(rng.integers(NEAR, FAR + 1, (B, n)), axis=1)
    left -= left[:, :1]
    last = left[np.arange(B), count - 1]
    angle = rng.uniform(-np.pi / 12, np.pi / 12, B)
    cos, sin = np.cos(angle), np.sin(angle)
    # the box of the turned strip, at scale 1
    box = np.stack([(last + INK) * cos + INK * abs(sin), (last + INK) * abs(sin) + INK * cos])
    scale = rng.uniform(0.7, 1, B) * np.minimum(2, CANVAS / box[0])
    middle = (CANVAS - 1) / 2 + rng.uniform(-1, 1, (2, B)) * (CANVAS - scale * box) / 2
    # from the strip's middle to that of its row, which has room for five digits
    x, y = middle + scale * ((n - 1) * FAR - last) / 2 * np.stack([cos, sin])
    x = place(in_a_row(images, left=left, count=count), canvas=CANVAS, angle=angle, scale=scale, x=x, y=y)
    return x, xp.where(xp.asarray(np.arange(n) < count[:, None]), labels, NULL)
