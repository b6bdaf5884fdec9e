"""Pictures of a run: its curves, and what its spatial transformer looks at."""

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display needed
import matplotlib.pyplot as plt
import numpy as np

from stn_scratch.backend import to_host
from stn_scratch.coordinates import to_pixels
from stn_scratch.training import batches
from stn_scratch.training.loop import read_metrics
from stn_scratch.transformer import looks

DIGITS_SHOWN = 12
RIGHT, WRONG, GRID = "#1b7837", "#c51b7d", "#f1a340"


def write_report(run):
    """Write curves.png and looks.png into the run folder; gives both paths."""
    return [draw_curves(run), draw_looks(run)]


def draw_curves(run):
    """Loss and error against the step: training batches, validation digits, and the final test error."""
    records = read_metrics(run.folder)
    training = [r for r in records if "loss" in r]
    validation = [r for r in records if "validation_error" in r]
    test = [r for r in records if "test_error" in r]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    steps = [r["step"] for r in training]
    left.semilogy(steps, [r["loss"] for r in training], color="#2166ac", linewidth=1)
    left.set(xlabel="step", ylabel="cross-entropy, training batches")
    right.semilogy(steps, [max(r["error"], 1e-2) for r in training], color="#92c5de", linewidth=1,
                   label="training batches")
    right.semilogy([r["step"] for r in validation], [max(r["validation_error"], 1e-2) for r in validation], "o-",
                   color="#2166ac", label="validation digits")
    if test:
        error = test[-1]["test_error"]
        right.semilogy(test[-1]["step"], max(error, 1e-2), "*", color=WRONG, markersize=12,
                       label=f"test digits: {error:.2f} %")
    right.set(xlabel="step", ylabel="error, %")
    right.yaxis.set_major_formatter("{x:g}")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{run.config.model} on {run.config.data.upper()} digits, seed {run.config.seed}")
    return _save(figure, run.folder / "curves.png")


def draw_looks(run):
    """A dozen test digits: the input with the sampling grid over it, the transformer's output, the verdict."""
    split = batches.Split(*(a[:DIGITS_SHOWN] for a in run.splits[batches.TEST]))
    x, labels = batches.fixed_set(split, run.config.data, seed=run.config.seed, purpose=batches.TEST)
    logits, seen = looks(run.network, run.params, x)
    predicted, labels = to_host(logits.argmax(axis=1)), to_host(labels)
    rows = [("input", to_host(x), None)]
    for look in seen:
        rows += [("where it looks", to_host(look.U), _grid_in_pixels(look)), ("what it sees", to_host(look.V), None)]
    figure, axes = plt.subplots(len(rows), len(labels), figsize=(1.05 * len(labels) + 0.4, 1.12 * len(rows) + 0.5),
                                squeeze=False, layout="constrained")
    for row, (title, images, grid) in zip(axes, rows, strict=True):
        row[0].set_ylabel(title, fontsize=9)
        for k, ax in enumerate(row):
            ax.imshow(images[k, ..., 0], cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            if grid is not None:
                _draw_grid(ax, grid[k], images.shape[1:3])
    for ax, label, guess in zip(axes[0], labels, predicted, strict=True):
        ax.set_title(f"{label}" if guess == label else f"{label}, said {guess}", fontsize=9,
                     color=RIGHT if guess == label else WRONG)
    return _save(figure, run.folder / "looks.png")


def _grid_in_pixels(look):
    """The grid (B, 2, H', W') in pixels of the transformer's input, on the host."""
    x_s, y_s = np.moveaxis(to_host(look.grid), 1, 0)
    _, H, W, _ = look.U.shape
    return np.stack([to_pixels(x_s, W, look.transformer.align_corners), to_pixels(y_s, H, look.transformer.align_corners)], axis=1)


def _draw_grid(ax, grid, image_size, lines=7):
    """Some lines of the sampling grid (2, H', W'), its outline, and a dot where output pixel (0, 0) is read."""
    _, H, W = grid.shape
    for k in np.linspace(0, H - 1, lines).round().astype(int):
        ax.plot(*grid[:, k], color=GRID, linewidth=1.4 if k in (0, H - 1) else 0.4)
    for k in np.linspace(0, W - 1, lines).round().astype(int):
        ax.plot(*grid[:, :, k], color=GRID, linewidth=1.4 if k in (0, W - 1) else 0.4)
    ax.plot(*grid[:, 0, 0], "o", color=GRID, markersize=3.5)
    # a margin round the image, so that a grid that leaves it is still seen
    H, W = image_size
    ax.set(xlim=(-0.3 * W, 1.3 * W - 1), ylim=(1.3 * H - 1, -0.3 * H), facecolor="#303030")


def _save(figure, path):
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
