"""What the lessons draw again and again: rows of images, and a sampling grid laid over an image."""

import matplotlib.pyplot as plt
import numpy as np

from stn_scratch.coordinates import to_pixels

GRID, FIRST = "#d95f02", "#1b9e77"  # told apart by colour-blind readers, too

plt.rcParams.update({"figure.dpi": 80, "font.size": 10, "axes.titlesize": 10})


def show(images, titles=None, *, width=1.6, vmax=1.0):
    """A row of images (H, W), each under its title. Gives the axes, to draw on."""
    figure, axes = plt.subplots(1, len(images), figsize=(width * len(images), width + 0.4), squeeze=False,
                                layout="constrained")
    for k, (ax, image) in enumerate(zip(axes[0], images, strict=True)):
        ax.imshow(image, cmap="gray", vmin=0, vmax=vmax)
        ax.set(xticks=[], yticks=[], title=titles[k] if titles else "")
    return axes[0]


def lay_grid(ax, grid, image_size, *, align_corners=True, lines=6, margin=0.35):
    """Draw a sampling grid (2, H', W') over an image of image_size (H, W): some of its lines, its outline.

    A dot stands where output pixel (0, 0) is read. The axes reach beyond the image: what is read there is 0.
    """
    H, W = image_size
    x_p, y_p = to_pixels(grid[0], W, align_corners), to_pixels(grid[1], H, align_corners)
    for k in np.unique(np.linspace(0, x_p.shape[0] - 1, lines).round().astype(int)):
        ax.plot(x_p[k], y_p[k], color=GRID, linewidth=1.8 if k in (0, x_p.shape[0] - 1) else 0.6)
    for k in np.unique(np.linspace(0, x_p.shape[1] - 1, lines).round().astype(int)):
        ax.plot(x_p[:, k], y_p[:, k], color=GRID, linewidth=1.8 if k in (0, x_p.shape[1] - 1) else 0.6)
    ax.plot(x_p[0, 0], y_p[0, 0], "o", color=FIRST, markersize=6)
    ax.set(xlim=(-margin * W - 0.5, (1 + margin) * W - 0.5), ylim=((1 + margin) * H - 0.5, -margin * H - 0.5),
           facecolor="#dddddd")
