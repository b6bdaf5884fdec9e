"""What the pictures of a run share: colours, feature maps as grey pictures, and grids in pixels."""

import numpy as np

from stn_scratch.coordinates import to_pixels
from stn_scratch.sampling.sampler import FARTHEST

# told apart by the colour-blind, too: green and purple, orange and blue
RIGHT, WRONG = "#1b7837", "#762a83"
GRID, POINTS, OUTSIDE = "#f1a340", "#56b4e9", "#505050"


def verdict(ax, label, guess):
    """The title over an image: its label or labels, and what the network said where that is another."""
    label, guess = (" ".join(map(str, np.ravel(a))) for a in (label, guess))
    right = label == guess
    ax.set_title(label if right else f"{label}, said {guess}", fontsize=9, color=RIGHT if right else WRONG)


def as_shown(U):
    """How U (B, H, W, C) is shown -> black, white (B,), and a note: which means are black and white.

    An image of one channel within 0 to 1 is shown as it is. All else is a feature map: the mean over its channels, each
    picture scaled to its own range, in which 0 is held: nothing, as the sampler finds outside, is never bright.
    """
    B, _, _, C = U.shape
    if C == 1 and U.min() >= 0 and U.max() <= 1:
        return np.zeros(B), np.ones(B), ""
    means = U.mean(axis=-1).reshape(B, -1)
    note = f"mean of {C} channels, scaled" if C > 1 else "scaled"
    return np.minimum(means.min(axis=1), 0), np.maximum(means.max(axis=1), 0), note


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
