"""The paper's distorted digits (Sec. 4.1, App. A.4), drawn on the fly with our own grid and sampler.

Every random number is drawn on the host and only then moved to the digits' device, so a seed gives the same images on
both. Angles are in radians, lengths in pixels.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.data.clutter import add_clutter
from stn_scratch.grids.affine import affine_grid_forward
from stn_scratch.sampling import sample_forward
from stn_scratch.validate import check_choice


class Distortion(NamedTuple):
    canvas: int  # side of the distorted image
    description: str
    draw: object  # (rng, digits (B, H, W, 1), canvas) -> images (B, canvas, canvas, 1)


def place(digits, *, canvas, angle, scale, x, y):
    """Each digit turned, scaled and placed on a black canvas.

    digits (B, H, W, C); angle (clockwise), scale, x, y: (B,) host arrays; x, y the digit's centre on the canvas, in
    pixels from the centre of its first pixel -> (B, canvas, canvas, C).
    """
    xp = get_array_module(digits)
    _, H, W, _ = digits.shape
    # the way back, from the canvas to the digit: turn by -angle, divide by the scale
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    middle = (canvas - 1) / 2
    # the canvas' middle, seen from the digit's centre
    dx, dy = middle - x, middle - y
    # from pixels to [-1, 1], where the edge pixels' centres are: middle canvas pixels are 1 unit
    theta = np.empty((len(digits), 2, 3))
    theta[:, 0] = np.stack([cos * middle, sin * middle, cos * dx + sin * dy], axis=1) / ((W - 1) / 2)
    theta[:, 1] = np.stack([-sin * middle, cos * middle, -sin * dx + cos * dy], axis=1) / ((H - 1) / 2)
    grid, _ = affine_grid_forward(xp.asarray(theta.astype(digits.dtype.name)), size=(canvas, canvas))
    images, _ = sample_forward(digits, grid)
    return images


def draw_r(rng, digits, canvas):
    """R: turned by up to 90 degrees either way; the 28-pixel frame, enlarged, fills the canvas (its size is ours)."""
    B = len(digits)
    middle = np.full(B, (canvas - 1) / 2)
    scale = np.full(B, canvas / digits.shape[1])
    return place(digits, canvas=canvas, angle=rng.uniform(-np.pi / 2, np.pi / 2, B), scale=scale, x=middle, y=middle)


def draw_rts(rng, digits, canvas):
    """RTS: turned by up to 45 degrees, scaled by 0.7 to 1.2, anywhere where the scaled 28-pixel frame still fits."""
    B = len(digits)
    angle = rng.uniform(-np.pi / 4, np.pi / 4, B)
    scale = rng.uniform(0.7, 1.2, B)
    margin = (canvas - digits.shape[1] * scale) / 2
    x, y = (canvas - 1) / 2 + rng.uniform(-1, 1, (2, B)) * margin
    return place(digits, canvas=canvas, angle=angle, scale=scale, x=x, y=y)


def draw_tc(rng, digits, canvas):
    """TC: at a random place, whole pixels, and six 6x6 patches of other digits of the batch strewn over the canvas."""
    B, size = digits.shape[:2]
    x, y = rng.integers(0, canvas - size + 1, (2, B)) + (size - 1) / 2
    images = place(digits, canvas=canvas, angle=np.zeros(B), scale=np.ones(B), x=x, y=y)
    return add_clutter(rng, images, digits, patches=6, size=6)


def draw_none(rng, digits, canvas):
    """The digits as they are."""
    return digits


DISTORTIONS = {
    "none": Distortion(28, "the digits as they are", draw_none),
    "r": Distortion(42, "rotation by up to 90 degrees", draw_r),
    "rts": Distortion(42, "rotation by up to 45 degrees, scale 0.7 to 1.2, random place", draw_rts),
    "tc": Distortion(60, "random place, six 6x6 pieces of other digits as clutter", draw_tc),
}


def distort(name, rng, digits):
    """Distorted images of `digits` (N, 28, 28, 1), N >= 1: (N, canvas, canvas, 1), on the digits' device.

    name: of `DISTORTIONS`; rng: a NumPy generator.
    """
    check_choice("name", name, DISTORTIONS)
    distortion = DISTORTIONS[name]
    # in even parts that fit a core's cache: twice as fast as the whole batch at once, and the memory is bounded
    count = -(-len(digits) // 64)
    cuts = [k * len(digits) // count for k in range(count + 1)]
    parts = [distortion.draw(rng, digits[a:b], distortion.canvas) for a, b in pairwise(cuts)]
    return get_array_module(digits).concatenate(parts)
