"""The pictures of RESULTS.md: errors beside the paper's, digits that only the ST-CNN gets right, moving windows."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stn_scratch import colocalisation
from stn_scratch.backend import to_host
from stn_scratch.experiments.records import Cell
from stn_scratch.experiments.rows import DISTORTIONS, ROWS
from stn_scratch.experiments.schedules import SCHEDULES
from stn_scratch.experiments.table import PICTURES, groups_of, mean, shortest
from stn_scratch.training import batches, loop
from stn_scratch.training.checkpoint import load_checkpoint
from stn_scratch.training.config import load_config, resume_config
from stn_scratch.training.figures import OUTSIDE, draw_grid, in_pixels
from stn_scratch.training.files import copy_whole
from stn_scratch.training.run_folder import CHECKPOINT, CONFIG, RECORD, save_picture
from stn_scratch.training.step import said
from stn_scratch.transformer import looks

LOCALISED = "localise/tc-4"  # whose windows are shown
PLAIN, WITH = "#9a9a9a", "#2166ac"  # bars of networks without and with a transformer
SHOWN = 7  # digits of a row
CLOSEST = {"r": "affine", "rts": "affine", "p": "projective", "e": "tps"}  # the transformation that undoes each


def draw_errors(found):
    """A panel for each distortion, a bar for each network, and the paper's figure as a line across it.

    All bars are of one schedule, the shortest: it is the one that most networks have.
    """
    groups = groups_of(found, "distorted")
    schedule = shortest(groups)
    groups = {name: records for (name, of), records in groups.items() if of == schedule}
    lines = list(dict.fromkeys(row.line for row in ROWS.values() if row.table == "distorted"))
    shown = [data for data in DISTORTIONS if any(ROWS[name].options["data"] == data for name in groups)]
    figure = Figure(figsize=(2.5 * max(len(shown), 2) + 1.5, 3.4), layout="constrained")
    for ax, data in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        for name, records in groups.items():
            row, errors = ROWS[name], [record["test_error"] for record in records]
            if row.options["data"] == data:
                k = lines.index(row.line)
                ax.barh(k, mean(records), color=WITH if "transform" in row.options else PLAIN, height=0.7)
                ax.plot([min(errors), max(errors)], [k, k], color="black", linewidth=1)
                ax.plot([row.paper] * 2, [k - 0.42, k + 0.42], color="#d95f02", linewidth=2.5)
        ax.set(title=data.upper(), xlabel="test error, %", xlim=(0, None))
        ax.set_yticks(range(len(lines)), lines)
        ax.spines[["top", "right"]].set_visible(False)
    ax.invert_yaxis()
    figure.suptitle(_how(schedule), fontsize=9)
    handles = [Patch(color=PLAIN, label="without a transformer"), Patch(color=WITH, label="with one"),
               Line2D([], [], color="#d95f02", linewidth=2.5, label="the paper")]
    if any(len(records) > 1 for records in groups.values()):
        handles.append(Line2D([], [], color="black", linewidth=1, label="from seed to seed"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _how(name):
    """A schedule in a line: steps and parameters, of each kind of network."""
    _, options, fcn = SCHEDULES[name]
    kinds = {"fcn: ": options | fcn, "cnn: ": options} if fcn else {"": options}
    parts = (f"{kind}{of['iterations']:,} steps, {of['parameters']:,} parameters" for kind, of in kinds.items())
    return f"schedule {name!r}; " + "; ".join(parts)


class Rescued:
    """Test digits of one distortion that the CNN misses and the ST-CNN gets right."""

    def __init__(self, data, cnn, st_cnn):
        self.data, self.x, self.labels, self.said, self.looks = data, [], [], [], []
        parts = zip(*(batches.fixed_batches(run.splits[batches.TEST], data, seed=run.config.seed, purpose=batches.TEST)
                      for run in (cnn, st_cnn)), strict=True)
        for (x, labels), _ in parts:
            mistaken = said(cnn.network.forward(cnn.params, x)[0], labels)
            logits, (look,) = looks(st_cnn.network, st_cnn.params, x)
            for k in np.flatnonzero(to_host((mistaken != labels) & (said(logits, labels) == labels))):
                self.x.append(to_host(x[k]))
                self.labels.append(int(labels[k]))
                self.said.append(int(mistaken[k]))
                self.looks.append(look._replace(U=look.U[k:k + 1], grid=look.grid[k:k + 1], V=look.V[k:k + 1]))
            if len(self.x) >= SHOWN:
                break


def rescued(place, seed):
    """A Rescued for each distortion whose CNN and ST-CNN have been trained here, by the longest schedule of both."""
    found = []
    for data, transform in CLOSEST.items():
        for schedule in reversed(SCHEDULES):
            folders = [Cell(f"{data}/{name}", schedule, seed).folder(place.runs)
                       for name in ("cnn", f"st-cnn-{transform}")]
            if all((folder / RECORD).is_file() for folder in folders):
                found.append(Rescued(data, *(_trained(folder, place.data(data)) for folder in folders)))
                break
    return found


def _trained(folder, data_dir):
    config = resume_config(load_config(folder / CONFIG), {"device": "cpu", "data_dir": data_dir})
    run, _ = loop.prepare(config, folder)
    load_checkpoint(folder / CHECKPOINT, run.params)
    return run


def draw_rescued(found):
    """For each distortion two rows: the digits with the grid over them, and what the transformer makes of them."""
    figure = Figure(figsize=(1.25 * SHOWN + 0.6, 2.75 * len(found) + 0.4), layout="constrained")
    axes = figure.subplots(2 * len(found), SHOWN, squeeze=False)
    for (above, below), group in zip(zip(axes[::2], axes[1::2], strict=True), found, strict=True):
        above[0].set_ylabel(f"{group.data.upper()}\nwhere it looks", fontsize=9)
        below[0].set_ylabel("what it sees", fontsize=9)
        for ax in (*above, *below):
            ax.set(xticks=[], yticks=[])
            ax.set_visible(False)
        for k in range(min(SHOWN, len(group.x))):
            look = group.looks[k]
            above[k].set_visible(True)
            below[k].set_visible(True)
            above[k].imshow(group.x[k].mean(axis=-1), cmap="gray", vmin=0, vmax=1)
            above[k].set_title(f"{group.labels[k]}, CNN said {group.said[k]}", fontsize=8.5)
            H, W = group.x[k].shape[:2]
            draw_grid(above[k], in_pixels(look.grid, look)[0])
            above[k].set(xlim=(-0.2 * W, 1.2 * W - 1), ylim=(1.2 * H - 1, -0.2 * H), facecolor=OUTSIDE)
            below[k].imshow(to_host(look.V)[0].mean(axis=-1), cmap="gray", vmin=0, vmax=1)
    figure.supxlabel("The first test digits that the CNN misses and the ST-CNN gets right; orange: its sampling grid, "
                     "with a square where output pixel (0, 0) is read", fontsize=9)
    return figure


def draw(found, place, seed, folder):
    """Write the `PICTURES` of records, and those of runs where the runs' folders are at hand; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    errors, digits, localised = (folder / name for name in PICTURES)
    drawn = []
    if groups_of(found, "distorted"):
        drawn.append(save_picture(draw_errors(found), errors))
    if groups := rescued(place, seed):
        drawn.append(save_picture(draw_rescued(groups), digits))
    of_runs = [Cell(LOCALISED, schedule, seed).folder(place.runs) / colocalisation.PICTURE for schedule in SCHEDULES]
    if at_hand := [path for path in of_runs if path.is_file()]:
        copy_whole(at_hand[-1], localised)
        drawn.append(localised)
    return drawn
