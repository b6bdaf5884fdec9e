"""Digits that a window does not show quite right: what the encoder of co-localisation learns to recognise."""

import numpy as np

from stn_scratch.data.distort import place

SCALES = (0.5, 1.3)
FARTHEST = 5  # pixels


def draw_moved(rng, images, labels):
    """Each digit scaled by 0.5 to 1.3, and moved by up to 5 pixels along each axis; what leaves the frame is cut off.

    images (B, 1, 28, 28, 1), labels (B, 1) -> x (B, 28, 28, 1), labels (B,)
    """
    digits = images[:, 0]
    B, size = digits.shape[:2]
    at_x, at_y = (size - 1) / 2 + rng.uniform(-FARTHEST, FARTHEST, (2, B))
    x = place(digits, canvas=size, angle=np.zeros(B), scale=rng.uniform(*SCALES, B), x=at_x, y=at_y)
    return x, labels[:, 0]
