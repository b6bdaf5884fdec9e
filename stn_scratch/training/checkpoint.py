"""Checkpoints: one .npz with all that a run needs to go on as if it had never stopped."""

import json
import zipfile
import zlib

import numpy as np

from stn_scratch.backend import get_array_module, to_host
from stn_scratch.parameters import layout
from stn_scratch.training.files import replacing

ARRAYS = ("params", "velocity", "state")
STATE = ("layout", "step", "steps", "generator")


def _named_layout(params):
    """The names and shapes of all parameters, as JSON gives them back: what tells one model from another."""
    return [["/".join(path), list(shape)] for path, shape in layout(params)]


def save_checkpoint(path, params, optimiser, *, step, generator_state):
    """Write parameters, optimiser and generator state. A file already there is replaced only by a complete one."""
    velocity = np.zeros(0, params.flat.dtype) if optimiser.velocity is None else to_host(optimiser.velocity)
    state = dict(zip(STATE, (_named_layout(params), step, optimiser.steps, generator_state), strict=True))
    with replacing(path) as file:
        np.savez(file, params=to_host(params.flat), velocity=velocity, state=np.array(json.dumps(state)))


def load_checkpoint(path, params, optimiser=None):
    """Read a checkpoint into `params` and `optimiser`, in place. Gives the step and the generator's state.

    Raises FileNotFoundError or ValueError, one sentence, if there is none, it is damaged, is no checkpoint, or is
    another model's; then nothing is changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            flat, velocity, state = (members[name] for name in ARRAYS)
        state = json.loads(str(state))
        found, step, steps, generator = (state[name] for name in STATE)
        if velocity.size not in (0, flat.size):
            raise ValueError("a velocity that fits no parameters")
    except (ValueError, KeyError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path} is damaged, or no checkpoint of stn_scratch") from None
    wanted = _named_layout(params)
    if found != wanted or flat.shape != params.flat.shape:
        raise ValueError(f"{path} is a checkpoint of another model: {_difference(found, wanted)}")
    xp = get_array_module(params.flat)
    params.flat[...] = xp.asarray(flat)
    if optimiser is not None:
        optimiser.steps = steps
        optimiser.velocity = xp.asarray(velocity) if velocity.size else None
    return step, generator


def _difference(found, wanted):
    for (name, shape), (wanted_name, wanted_shape) in zip(found, wanted, strict=False):
        if (name, shape) != (wanted_name, wanted_shape):
            return f"it has {name} {tuple(shape)} where this one has {wanted_name} {tuple(wanted_shape)}"
    return f"it has {len(found)} parameter arrays, this one {len(wanted)}"
