"""The functions that can be read, by name."""

from difflib import get_close_matches
from importlib import import_module
from inspect import getmembers, isfunction, unwrap
from itertools import chain
from sys import modules
from types import CodeType

MODULES = ("paper", "coordinates", "grids.affine", "grids.constrained", "grids.bounded", "grids.compose",
           "grids.projective", "grids.thin_plate", "grids.piecewise", "grids.volume", "sampling.kernels",
           "sampling.padding", "sampling.sampler", "sampling.bilinear", "sampling.volume", "layers.dense",
           "layers.im2col", "layers.few_channels", "layers.frequencies", "layers.convolution",
           "layers.pooling", "layers.few_channels_pooled", "layers.conv_pool", "layers.loss", "layers.triplet",
           "gradcheck", "training.step")


def readable():
    """Name -> function, for every public function of the project's equations; those of `paper` as "paper.sample"."""
    found = {}
    for path in MODULES:
        module = import_module(f"stn_scratch.{path}")
        for name, function in getmembers(module, isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                found[f"paper.{name}" if path == "paper" else name] = function
    return found


def find(name):
    """The functions of a name, one or both of a pair ("affine_grid" is forward and backward), then their helpers.

    Raises ValueError, with the names that come closest, if there is none.
    """
    functions = readable()
    if name in functions:
        return _with_helpers([functions[name]])
    pair = [functions[f"{name}_{way}"] for way in ("forward", "backward") if f"{name}_{way}" in functions]
    if not pair:
        stems = {known.removesuffix("_forward").removesuffix("_backward") for known in functions}
        close = get_close_matches(name, [*functions, *stems], n=4, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(sorted(stems))}"
        raise ValueError(f"there is no function {name!r} to read: {hint}")
    return _with_helpers(pair)


def _with_helpers(functions):
    """The functions, and behind them those of their own module that they call, and so on."""
    found = list(functions)
    for function in found:  # which grows
        here = vars(modules[function.__module__])
        called = [unwrap(here[name]) for name in _names(function.__code__) if name in here]
        own = [f for f in called if isfunction(f) and f.__module__ == function.__module__]
        found += [f for f in dict.fromkeys(own) if f not in found]
    return found


def _names(code):
    """The names that a function's code asks for, in its inner functions and comprehensions, too."""
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return [*code.co_names, *chain.from_iterable(inner)]
