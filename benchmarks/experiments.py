"""The long runs on a GPU, as data: what `on_gpu` trains, in this order."""

from typing import NamedTuple


class Experiment(NamedTuple):
    """One run: its folder's name, and the options of `python -m stn_scratch train`."""

    name: str
    options: tuple


def _experiment(data, parameters, model, transform):
    named = f"{data}-{model}" + (f"-{transform}" if transform else "") + f"-{parameters // 1000}k"
    chosen = ("--model", model, *(("--transform", transform) if transform else ()))
    return Experiment(named, ("--data", data, *chosen, "--parameters", str(parameters), *BUDGET))


# All of MNIST, from the folder that STN_DATA names: never the embedded digits in its place.
BUDGET = ("--digits", "mnist", "--recipe", "short", "--iterations", "20000", "--batch", "256",
          "--checkpoint-every", "1000", "--validate-every", "2000")
NETWORKS = (("st-cnn", "affine"), ("cnn", None), ("st-cnn", "tps"), ("st-cnn", "projective"))

# the paper's size first, and within it a whole column of the paper's table, so that a part of the list compares
EXPERIMENTS = [_experiment(data, parameters, *network) for parameters in (400_000, 100_000)
               for data in ("rts", "r", "p", "e") for network in NETWORKS]
