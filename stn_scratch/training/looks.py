"""looks.png: test digits, where each spatial transformer looks, and what it sees."""

from typing import NamedTuple

from matplotlib.figure import Figure

from stn_scratch.backend import to_host
from stn_scratch.data.tasks import TASKS
from stn_scratch.grids.affine import affine_grid_forward
from stn_scratch.training import batches
from stn_scratch.training.figures import OUTSIDE, as_shown, draw_grid, draw_image, in_pixels, verdict
from stn_scratch.training.step import said
from stn_scratch.transformer import Look, looks

DIGITS_SHOWN = 12
CAPTION = "orange: the sampling grid, with a square where output pixel (0, 0) is read;  grey: outside the image"


class Shown(NamedTuple):
    """What the pictures show, on the host."""

    x: object  # (B, H, W, C) test images
    labels: object  # (B,) or (B, heads)
    predicted: object  # likewise
    seen: list  # a Look for each spatial transformer
    null: int | None = None  # the class of a label that is not there


def look_at(run):
    """The first test digits, as the network sees them."""
    parts = batches.fixed_batches(run.splits[batches.TEST], run.config.data, seed=run.config.seed, purpose=batches.TEST)
    x, labels = (a[:DIGITS_SHOWN] for a in next(parts))
    logits, seen = looks(run.network, run.params, x)
    seen = [from_the_front(Look(*map(to_host, look[:-1]), look.transformer)) for look in seen]
    return Shown(flat(to_host(x)), to_host(labels), to_host(said(logits, labels)), seen, TASKS[run.config.data].null)


def from_the_front(look):
    """A look into a volume as one at images: input and output flattened, and the grid of the output's middle plane."""
    if look.U.ndim == 4:
        return look
    theta = look.theta.reshape(-1, 3, 4)[:, :2, [0, 1, 3]]  # x_s, y_s where z_t = 0
    grid, _ = affine_grid_forward(theta, size=look.V.shape[2:4])
    return look._replace(U=flat(look.U), theta=theta.reshape(-1, 6), grid=grid, V=flat(look.V))


def flat(U):
    """Volumes (B, D, H, W, C) seen along z (B, H, W, C), the brightest pixel of each white; images as they are."""
    if U.ndim == 4:
        return U
    W = U.sum(axis=1)
    return W / W.max(axis=(1, 2, 3), keepdims=True, initial=1e-9)


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
    for row, (title, images, shading, grid) in zip(axes, rows, strict=True):
        row[0].set_ylabel(title, fontsize=9)
        for k, ax in enumerate(row):
            draw_image(ax, images, k, shading)
            ax.set(xticks=[], yticks=[])
            if grid is not None:
                draw_grid(ax, grid[k])
                _leave_margin(ax, *images.shape[1:3])
    for ax, label, guess in zip(axes[0], shown.labels, shown.predicted, strict=True):
        verdict(ax, label, guess, shown.null)
    figure.supxlabel(_caption(shown), fontsize=9)
    return figure


def _caption(shown):
    """What the colours mean, and how feature maps are shown."""
    shadings = [as_shown(images) for images in (shown.x, *(look.U for look in shown.seen))]
    notes = [f"{'feature maps' if shading.colours is None else 'images'}: {shading.note}" for shading in shadings
             if shading.note]
    return "\n".join([CAPTION] * bool(shown.seen) + list(dict.fromkeys(notes)))


def _leave_margin(ax, H, W):
    """A margin round an image of H x W pixels, so that a grid that leaves it is still seen."""
    ax.set(xlim=(-0.3 * W, 1.3 * W - 1), ylim=(1.3 * H - 1, -0.3 * H), facecolor=OUTSIDE)
