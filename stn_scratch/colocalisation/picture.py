"""localised.png: where the windows are after some steps, like the paper's Fig. 4."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stn_scratch.backend import to_host
from stn_scratch.colocalisation.images import CANVAS
from stn_scratch.training.figures import GRID, OUTSIDE, POINTS
from stn_scratch.training.run_folder import read_metrics, save_picture

PICTURE = "localised.png"
COLUMNS = 6


def draw_boxes(run):
    """Some images in rows, some steps in columns; dotted the digit's frame, solid the window. Gives the path."""
    records = [record for record in read_metrics(run.folder) if "final" not in record]
    last = len(records) - 1
    # early steps matter most: each column stands for some 1.6 times as many as the one before
    chosen = sorted({round(last * (1.6 ** k - 1) / (1.6 ** (COLUMNS - 1) - 1)) for k in range(COLUMNS)})
    images = to_host(run.scene.images[:len(records[0]["boxes"])])
    rows, columns = len(images), len(chosen)
    figure = Figure(figsize=(1.4 * max(columns, 3), 1.4 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for k, row in enumerate(axes):
        for ax, number in zip(row, chosen, strict=True):
            ax.imshow(images[k, ..., 0], cmap="gray", vmin=0, vmax=1)
            _box(ax, run.scene.boxes[k], color=POINTS, linestyle=":")
            _box(ax, records[number]["boxes"][k], color=GRID, linestyle="-")
            # a margin, for the first windows are larger than the image
            ax.set(xticks=[], yticks=[], xlim=(-0.3 * CANVAS, 1.3 * CANVAS), ylim=(1.3 * CANVAS, -0.3 * CANVAS),
                   facecolor=OUTSIDE)
    for ax, number in zip(axes[0], chosen, strict=True):
        ax.set_title(f"step {records[number]['step']}\n{records[number]['localised']:.0f} %", fontsize=9)
    figure.supxlabel("orange: the window;  blue, dotted: the digit's frame;  per cent: IoU > 0.5, of all images",
                     fontsize=8)
    return save_picture(figure, run.folder / PICTURE)


def _box(ax, box, **style):
    x, y, side = box
    ax.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fill=False, linewidth=1.6, **style))
