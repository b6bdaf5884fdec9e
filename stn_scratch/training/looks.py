"""looks.png: test digits, where each spatial transformer looks, and what it sees."""

from typing import NamedTuple

from matplotlib.figure import Figure

from stn_scratch.backend import to_host
from stn_scratch.training import batches
from stn_scratch.training.figures import OUTSIDE, as_shown, draw_grid, in_pixels, verdict
from stn_scratch.training.step import by_head
from stn_scratch.transformer import Look, looks

DIGITS_SHOWN = 12
CAPTION = "orange: the sampling grid, with a square where output pixel (0, 0) is read;  grey: outside the image"


class Shown(NamedTuple):
    """What the pictures show, on the host."""

    x: object  # (B, H, W, C) test images
    labels: object  # (B,) or (B, heads)
    predicted: object  # likewise
    seen: list  # a Look for each spatial transformer


def look_at(run):
    """The first test digits, as the network sees them."""
    split = batches.Split(*(a[:DIGITS_SHOWN] for a in run.splits[batches.TEST]))
    x, labels = batches.fixed_set(split, run.config.data, seed=run.config.seed, purpose=batches.TEST)
    logits, seen = looks(run.network, run.params, x)
    seen = [Look(*map(to_host, look[:-1]), look.transformer) for look in seen]
    predicted = by_head(logits, labels).argmax(axis=1).reshape(labels.shape)
    return Shown(to_host(x), to_host(labels), to_host(predicted), seen)


def draw_looks(shown):
    """A column for each digit: the input; then for each transformer its input with the grid over it, and its output."""
    rows = [("input", shown.x, as_shown(shown.x), None)]
    for number, look in enumerate(shown.seen, start=1):
        name = " it " if len(shown.seen) == 1 else f"\ntransformer {number}\n"
        # the output as its input: what is black and white is the same in both
        rows += [(f"where{name}looks", look.U, as_shown(look.U), in_pixels(look.grid, look)),
                 (f"what{name}sees", look.V, as_shown(look.U), None)]
    columns = len(shown.labels)
    figure = Figure(figsize=(1.05 * max(columns, 8) + 0.4, 1.12 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (title, images, (black, white, _), grid) in zip(axes, rows, strict=True):
        row[0].set_ylabel(title, fontsize=9)
        for k, ax in enumerate(row):
            ax.imshow(images[k].mean(axis=-1), cmap="gray", vmin=black[k], vmax=white[k])
            ax.set(xticks=[], yticks=[])
            if grid is not None:
                draw_grid(ax, grid[k])
                _leave_margin(ax, *images.shape[1:3])
    for ax, label, guess in zip(axes[0], shown.labels, shown.predicted, strict=True):
        verdict(ax, label, guess)
    figure.supxlabel(_caption(shown.seen), fontsize=9)
    return figure


def _caption(seen):
    """What the colours mean, and how feature maps are shown."""
    notes = {note: None for look in seen if (note := as_shown(look.U)[2])}
    return "\n".join([CAPTION] * bool(seen) + [f"feature maps: {note}" for note in notes])


def _leave_margin(ax, H, W):
    """A margin round an image of H x W pixels, so that a grid that leaves it is still seen."""
    ax.set(xlim=(-0.3 * W, 1.3 * W - 1), ylim=(1.3 * H - 1, -0.3 * H), facecolor=OUTSIDE)
