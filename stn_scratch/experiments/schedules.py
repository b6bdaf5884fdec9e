"""How long, and how, a row is trained."""

from typing import NamedTuple


class Schedule(NamedTuple):
    """Fields of Config, for whole tables of rows; a row may change some of them."""

    description: str
    options: dict
    fcn: dict = {}  # noqa: RUF012  instead of them, for networks without convolutions, whose steps are quick


SCHEDULES = {
    "first": Schedule(
        "ours, a first pass of some minutes a row on a CPU: 100,000 parameters and 1,500 steps for networks with "
        "convolutions, 400,000 and 6,000 for those without (FCN), if the table says nothing else: compare each "
        "kind with its own; in this and in all of ours the rate falls like half a cosine",
        {"iterations": 1500, "batch": 256, "parameters": 100_000, "decay": "cosine"},
        {"iterations": 6000, "parameters": 400_000}),
    "longer": Schedule(
        "ours: four times the steps of `first`; the networks that come with the package are of this one",
        {"iterations": 6000, "batch": 256, "parameters": 100_000, "decay": "cosine"},
        {"iterations": 24_000, "parameters": 400_000}),
    "better": Schedule(
        "ours: a tenth of the paper's steps, with a little weight decay, if the table says nothing else",
        {"iterations": 15_000, "batch": 256, "parameters": 400_000, "decay": "cosine", "weight_decay": 2e-4}),
    "half": Schedule(
        "ours: half of the paper's steps",
        {"iterations": 75_000, "batch": 256, "parameters": 400_000, "decay": "cosine"}),
    "paper": Schedule(
        "the paper's (A.4), where known",
        {"iterations": 150_000, "batch": 256, "parameters": 400_000, "lr": 0.01, "localisation_factor": 1.0,
         "clip_norm": None}),
}
