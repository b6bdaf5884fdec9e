"""What the pictures of a run share: colours, images and feature maps as pictures, and grids in pixels."""

from typing import NamedTuple

import numpy as np

from stn_scratch.coordinates import to_pixels
from stn_scratch.sampling.sampler import FARTHEST

# told apart by the colour-blind, too: green and purple, orange and blue
RIGHT, WRONG = "#1b7837", "#762a83"
GRID, POINTS, OUTSIDE = "#f1a340", "#56b4e9", "#505050"
# of an image's channels, which add up to white: two as magenta and green, three as they are
CHANNELS = {2: np.array([(1.0, 0.2, 1.0), (0.0, 0.8, 0.0)]), 3: np.eye(3)}


def verdict(ax, label, guess, null=None):
    """The title over an image: its label or labels, and what the network said where that is another.

    null: the class of a label that is not there; a dash between others, left out behind the last one.
    """
    between = "\n" if np.ndim(label) else ", "
    label, guess = (" ".join("-" if k == null else str(k) for k in np.ravel(a)).rstrip(" -") for a in (label, guess))
    right = label == guess
    ax.set_title(label if right else f"{label}{between}said {guess or 'nothing'}", fontsize=9,
                 color=RIGHT if right else WRONG)


class Shading(NamedTuple):
    """How images (B, H, W, C) are shown."""

    black: object  # (B,) the values that are black and white
    white: object
    colours: object  # (C, 3) of the channels; None: their mean, in grey
    note: str  # what a reader must know of it


def as_shown(U):
    """How U (B, H, W, C) is shown -> Shading.

    An image of one channel within 0 to 1 is shown as it is, one of two or three in colours. All else is a feature map:
    the mean over its channels, each picture scaled to its own range, in which 0 is held: nothing, as the sampler finds
    outside, is never bright.
    """
    B, _, _, C = U.shape
    if C <= 3 and U.min() >= 0 and U.max() <= 1:
        note = "channel 1 magenta, channel 2 green" if C == 2 else ""
        return Shading(np.zeros(B), np.ones(B), CHANNELS.get(C), note)
    means = U.mean(axis=-1).reshape(B, -1)
    note = f"mean of {C} channels, scaled" if C > 1 else "scaled"
    return Shading(np.minimum(means.min(axis=1), 0), np.maximum(means.max(axis=1), 0), None, note)


def draw_image(ax, images, k, shading, *, dim=1.0):
    """Image k of (B, H, W, C), its white at 1 / dim of the scale."""
    if shading.colours is not None:
        # a bicubic sampler goes beyond 0 and 1, and matplotlib would log that
        ax.imshow(np.clip(images[k] @ shading.colours / dim, 0, 1))
        return
    black, white = shading.black[k], shading.white[k]
    ax.imshow(images[k].mean(axis=-1), cmap="gray", vmin=black, vmax=black + dim * (white - black))


def in_pixels(points, look):
    """points (B, 2, ...), normalised -> in pixels of the transformer's input; what is not sampled is NaN: not drawn."""
    _, H, W, _ = look.U.shape
    points = np.where(np.abs(points) <= FARTHEST, points, np.nan)
    align_corners = look.transformer.align_corners
    return np.stack([to_pixels(points[:, 0], W, align_corners), to_pixels(points[:, 1], H, align_corners)], axis=1)


def draw_grid(ax, grid, *, lines=7, width=1.0):
    """Some lines of a sampling grid (2, H', W'), its outline, and a square where output pixel (0, 0) is read."""
    _, H, W = grid.shape
    for k in np.linspace(0, H - 1, lines).round().astype(int):
        ax.plot(*grid[:, k], color=GRID, linewidth=width * (1.4 if k in (0, H - 1) else 0.4))
    for k in np.linspace(0, W - 1, lines).round().astype(int):
        ax.plot(*grid[:, :, k], color=GRID, linewidth=width * (1.4 if k in (0, W - 1) else 0.4))
    ax.plot(*grid[:, 0, 0], "s", color=GRID, markersize=3.5 * width ** 2)
