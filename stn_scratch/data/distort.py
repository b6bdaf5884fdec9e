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
from stn_scratch.grids.projective import projective_grid_forward
from stn_scratch.grids.thin_plate import tps_grid_forward
from stn_scratch.sampling import sample_forward
from stn_scratch.validate import check_choice

# the corners of an image's frame in normalised coordinates, clockwise from the top left
FRAME = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


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


def homography(points, images):
    r"""The projective map that takes four points to four images, by its 8 linear equations.

    points (B, 4, 2), images (B, 4, 2) or (4, 2), rows x, y, on the host -> theta (B, 8) of `projective_grid_forward`,
    float64. No three points of an image may lie on one line, nor its line w = 0 pass through (0, 0).
    """
    x, y = points[..., 0], points[..., 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows, right = [], []
    for k, first in enumerate(([x, y, one, zero, zero, zero], [zero, zero, zero, x, y, one])):
        image = images[..., k] + zero
        # h11 x + h12 y + h13 = x_s w with w = h31 x + h32 y + 1, so h11 x + h12 y + h13 - h31 x x_s - h32 y x_s = x_s
        rows.append(np.stack([*first, -x * image, -y * image], axis=-1))
        right.append(image)
    A, b = np.concatenate(rows, axis=1), np.concatenate(right, axis=1)
    return np.linalg.solve(A, b[..., None])[..., 0]


def stretch(digits, *, canvas, corners):
    """Each digit seen in perspective on a black canvas, the outer corners of its frame at the given places.

    digits (B, H, W, C); corners (B, 4, 2): x, y of the top left corner and on clockwise, a host array, in pixels from
    the centre of the canvas' first pixel -> (B, canvas, canvas, C).
    """
    xp = get_array_module(digits)
    # from pixels to [-1, 1], here the canvas' outer edges (align_corners=False), as FRAME is the digit's
    points = (corners - (canvas - 1) / 2) / (canvas / 2)
    # the way back, from the canvas to the digit: where is each canvas pixel read?
    theta = xp.asarray(homography(points, FRAME).astype(digits.dtype.name))
    grid, _ = projective_grid_forward(theta, size=(canvas, canvas), align_corners=False)
    images, _ = sample_forward(digits, grid, align_corners=False)
    return images


def warp(digits, *, canvas, scale, displacement):
    """Each digit bent by a thin-plate spline on a black canvas; at scale 1 its frame fills the canvas.

    digits (B, H, W, C); scale (B,); displacement (B, K, 2): by how much the canvas is read beside each of its K
    control points, x, y in canvas pixels; host arrays -> (B, canvas, canvas, C). The control points are a square
    lattice, row by row, from edge to edge of the canvas.
    """
    xp = get_array_module(digits)
    # from pixels to [-1, 1], here the canvas' outer edges (align_corners=False)
    theta, scale = (xp.asarray(a.astype(digits.dtype.name)) for a in (displacement / (canvas / 2), scale))
    bent, _ = tps_grid_forward(theta, size=(canvas, canvas), align_corners=False)
    # then from the canvas to the digit: divide by the scale
    images, _ = sample_forward(digits, bent / scale[:, None, None, None], align_corners=False)
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


def _folded(corners, canvas):
    """Which frames (B, 4, 2) cannot be seen in perspective, or hardly: (B,) bool.

    The horizon is outside the frame if its corners turn clockwise, all four. Three that turn by less than a triangle of
    1/32 of the canvas are nearly on one line. The canvas' middle must be inside, for there w is 1.
    """
    edges = np.roll(corners, -1, axis=1) - corners
    following = np.roll(edges, -1, axis=1)
    inwards = (canvas - 1) / 2 - corners
    turns = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    sides = edges[..., 0] * inwards[..., 1] - edges[..., 1] * inwards[..., 0]
    return (turns.min(axis=1) <= canvas ** 2 / 16) | (sides.min(axis=1) <= 0)


def draw_p(rng, digits, canvas):
    """P: the corners of the frame moved by a normal of 5 pixels, after a scale of 0.75 to 1 (paper, App. A.4).

    Ours, for the paper does not say: the canvas; that, as in R, the 28-pixel frame at scale 1 fills it; and that a
    frame that folds over, some 6 in 10,000, gets new corners, from the same generator.
    """
    scale = rng.uniform(0.75, 1.0, len(digits))
    frame = (canvas - 1) / 2 + scale[:, None, None] * canvas / 2 * FRAME
    corners = frame + rng.normal(0, 5, frame.shape)
    while (folded := _folded(corners, canvas)).any():
        corners[folded] = frame[folded] + rng.normal(0, 5, frame[folded].shape)
    return stretch(digits, canvas=canvas, corners=corners)


def draw_e(rng, digits, canvas):
    """E: 16 control points moved by a normal of 1.5 pixels, after a scale of 0.75 to 1 (paper, App. A.4).

    Ours, for the paper does not say, or by memory only: the canvas; that, as in R, the 28-pixel frame at scale 1 fills
    it; that the pixels are the canvas'; the 16 points, and the range of the scale.
    """
    scale = rng.uniform(0.75, 1.0, len(digits))
    return warp(digits, canvas=canvas, scale=scale, displacement=rng.normal(0, 1.5, (len(digits), 16, 2)))


def place_anywhere(rng, digits, canvas):
    """Each digit at a random place, whole pixels, uniform over all where its frame fits; and its middle x, y (B,)."""
    B, side = digits.shape[:2]
    x, y = rng.integers(0, canvas - side + 1, (2, B)) + (side - 1) / 2
    return place(digits, canvas=canvas, angle=np.zeros(B), scale=np.ones(B), x=x, y=y), x, y


def draw_tc(rng, digits, canvas, *, patches=6, size=6):
    """TC: at a random place, and patches, six of 6x6 pixels, of other digits of the batch strewn over the canvas."""
    images, _, _ = place_anywhere(rng, digits, canvas)
    return add_clutter(rng, images, digits, patches=patches, size=size)


def draw_none(rng, digits, canvas):
    """The digits as they are."""
    return digits


DISTORTIONS = {
    "none": Distortion(28, "the digits as they are", draw_none),
    "r": Distortion(42, "rotation by up to 90 degrees", draw_r),
    "rts": Distortion(42, "rotation by up to 45 degrees, scale 0.7 to 1.2, random place", draw_rts),
    "tc": Distortion(60, "random place, six 6x6 pieces of other digits as clutter", draw_tc),
    "p": Distortion(42, "perspective: scale 0.75 to 1, corners moved by a normal of 5 pixels", draw_p),
    "e": Distortion(42, "elastic: scale 0.75 to 1, 16 points of a thin plate moved by a normal of 1.5 pixels", draw_e),
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
