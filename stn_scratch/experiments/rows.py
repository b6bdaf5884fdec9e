"""The rows of the paper's tables, and of its readers', as data: what is trained on what, and what the paper reports."""

from fnmatch import fnmatch
from typing import NamedTuple

from stn_scratch.models import MODELS


class Row(NamedTuple):
    """One cell of a table: a network on data."""

    name: str  # table/data-model-transformation
    table: str  # a key of TABLES
    options: dict  # fields of Config that make it what it is, whatever the schedule
    paper: float | None = None  # the error in per cent that the paper reports, with its schedule and parameters
    note: str = ""  # what a reader of the figure must know

    @property
    def label(self):
        """The network and its transformation, as the tables call them."""
        transform = self.options.get("transform")
        return self.options["model"] + (f" {transform}" if transform else "")


class Table(NamedTuple):
    title: str
    text: str  # what is learned, and what is the paper's and what is ours in it


TABLES = {
    "distorted": Table("Distorted MNIST (Sec. 4.1, Table 1)", """
Digits rotated (R), rotated, scaled and translated (RTS), in perspective (P), elastic (E), on 42 x 42 pixels; one image
of each of the 10,000 test digits. The canvas of R, P and E, and the pixels in which E's distortion is counted, are
ours."""),
    "clutter": Table("Translated digits in clutter, 60 x 60 (Sec. 4.1, TC)", """
A digit at a random place, and six 6 x 6 pieces of other digits. The paper does not say which transformation it used;
ours is affine."""),
}


def _distorted():
    """The 32 cells of Table 1."""
    figures = {  # R, RTS, P, E
        ("fcn", None): (2.1, 5.2, 3.1, 3.2),
        ("cnn", None): (1.2, 0.8, 1.5, 1.4),
        ("st-fcn", "affine"): (1.2, 0.8, 1.5, 2.7),
        ("st-fcn", "projective"): (1.3, 0.9, 1.4, 2.6),
        ("st-fcn", "tps"): (1.1, 0.8, 1.4, 2.4),
        ("st-cnn", "affine"): (0.7, 0.5, 0.8, 1.2),
        ("st-cnn", "projective"): (0.8, 0.6, 0.8, 1.3),
        ("st-cnn", "tps"): (0.7, 0.5, 0.8, 1.1),
    }
    for k, data in enumerate(("r", "rts", "p", "e")):
        for (model, transform), errors in figures.items():
            yield _row("distorted", data, model, transform, errors[k])


def _clutter():
    for model, transform, error in (("fcn", None, 13.2), ("cnn", None, 3.5), ("st-fcn", "affine", 2.0),
                                    ("st-cnn", "affine", 1.7)):
        yield _row("clutter", "tc", model, transform, error)


def _row(table, data, model, transform=None, paper=None, *, note="", **options):
    chosen = {"model": model, "data": data} | ({"transform": transform} if transform else {})
    name = "-".join(filter(None, (model, transform)))
    return Row(f"{data}/{name}", table, chosen | options, paper, note)


ROWS = {row.name: row for row in (*_distorted(), *_clutter())}


class Schedule(NamedTuple):
    """How long, and how, a row is trained: fields of Config."""

    description: str
    options: dict
    fcn: dict = {}  # noqa: RUF012  instead of them, for networks without convolutions, whose steps are quick

    def of(self, row):
        return self.options | (self.fcn if row.options["model"].endswith("fcn") else {}) | row.options


SCHEDULES = {
    "first": Schedule(
        "ours, a first pass of some minutes a row on a CPU: 100,000 parameters in networks with convolutions, "
        "400,000 in those without",
        {"iterations": 1500, "batch": 256, "parameters": 100_000, "decay": "cosine"},
        {"iterations": 6000, "parameters": 400_000}),
    "better": Schedule(
        "ours, chosen on validation digits: a tenth of the paper's steps",
        {"iterations": 15_000, "batch": 256, "parameters": 400_000, "decay": "cosine"}),
    "paper": Schedule(
        "the paper's (A.4), where known",
        {"iterations": 150_000, "batch": 256, "parameters": 400_000, "lr": 0.01, "localisation_factor": 1.0,
         "clip_norm": None}),
}


def chosen(patterns):
    """The rows whose names fit one of the patterns, such as "rts/st-cnn-*", in the order of `ROWS`.

    Raises ValueError for a pattern that no name fits.
    """
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in ROWS):
            raise ValueError(f"there is no experiment {pattern!r}; `experiments --list` names them")
    return [row for name, row in ROWS.items() if any(fnmatch(name, pattern) for pattern in patterns)]


def has_transformer(row):
    return bool(MODELS[row.options["model"]].transformers)
