"""What a cell does: train a classifier, or find the digits of one class."""

import time
from pathlib import Path
from typing import NamedTuple

from stn_scratch import colocalisation
from stn_scratch.experiments.records import RUNS, record_of
from stn_scratch.experiments.rows import ENCODER, ROWS
from stn_scratch.experiments.schedules import SCHEDULES
from stn_scratch.training import loop, parallel
from stn_scratch.training.config import Config, load_config, resume_config
from stn_scratch.training.run_folder import CONFIG, RECORD, read_metrics

# the folder of a task's data beside that of MNIST, where it has its own
FOLDERS = {"cluttered-file": "cluttered_mnist", "gtsrb": "gtsrb", "svhn": "svhn", "cub": "cub"}


class Place(NamedTuple):
    """Where cells run: what may differ from machine to machine."""

    runs: object = RUNS  # the folder of the run folders
    data_dir: str | None = None  # MNIST's folder, or one that holds a folder mnist and others
    device: str = "cpu"
    threads: int | None = None

    def options(self):
        """The same as options of the command line: those that are not the default."""
        chosen = ((field, getattr(self, field)) for field in self._fields)
        return [word for field, value in chosen if str(value) != str(self._field_defaults[field])
                for word in (f"--{field.replace('_', '-')}", str(value))]

    def data(self, task):
        """The folder of a task's data."""
        if self.data_dir is None:
            return None
        folder = Path(self.data_dir) / FOLDERS.get(task, "mnist")
        return str(folder) if folder.is_dir() else self.data_dir


def config_of(cell, place):
    """The Config of a cell that trains a classifier."""
    row, (_, options, fcn) = ROWS[cell.row], SCHEDULES[cell.schedule]
    chosen = options | (fcn if row.options["model"].endswith("fcn") else {}) | row.schedules.get(cell.schedule, {})
    # never the embedded digits in MNIST's place
    own = {"seed": cell.seed, "digits": "mnist", "device": place.device, "threads": place.threads}
    return Config(**chosen | row.options | own, data_dir=place.data(row.options["data"]))


def classify(cell, place, *, begun, progress):
    """Train a classifier, and test it -> its record; None in all but the first of the processes that mpirun started."""
    folder, config = cell.folder(place.runs), config_of(cell, place)
    if begun:
        resume_config(load_config(folder / CONFIG), vars(config))
    run, error, images = loop.start(config, folder, resume=begun, progress=progress)
    if parallel.ranks().rank > 0:
        return None  # the run's folder may be on another machine
    metrics = read_metrics(folder)
    validation = [record["validation_error"] for record in metrics if "validation_error" in record]
    return record_of(cell, folder, run.config, test_error=error, test_images=images, validation_error=validation[-1],
                     minutes=round(minutes(metrics, config.batch), 2))


def minutes(metrics, batch):
    """The time spent on training steps, all parts of an interrupted run together."""
    seconds, before = 0.0, 0
    for record in metrics:
        if "images_per_s" in record:
            seconds += (record["step"] - before) * batch / record["images_per_s"]
            before = record["step"]
    return seconds / 60


def encoder_of(cell):
    """The cell whose network a co-localisation compares windows by; None for a cell that needs no other."""
    return cell._replace(row=ENCODER) if ROWS[cell.row].task == "colocalise" else None


def colocalise(cell, place, *, begun, progress):
    """Find the digits of one class -> the record; its error is the share of those that were not found."""
    colocalisation.check_alone()
    encoder = encoder_of(cell).folder(place.runs)
    if not (encoder / RECORD).is_file():
        raise ValueError(f"{cell.row} compares windows by the network of {ENCODER}, which has not been trained here")
    config = colocalisation.Config(encoder=str(encoder), data_dir=place.data("none"), seed=cell.seed,
                                   device=place.device, **ROWS[cell.row].options)
    folder, began = cell.folder(place.runs), time.perf_counter()
    run, found = colocalisation.run(config, folder, resume=begun)
    colocalisation.draw_boxes(run)
    return record_of(cell, folder, config, test_error=100 - found["localised"], test_images=len(found["boxes"]),
                     iou=found["iou"], minutes=round((time.perf_counter() - began) / 60, 2))


RUNNERS = {"classify": classify, "colocalise": colocalise}
