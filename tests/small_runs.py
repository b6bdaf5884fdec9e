"""Small runs of the training loop, and what may happen to them."""

import json
import os
import signal
from contextlib import contextmanager

import numpy as np
import pytest

from stn_scratch.backend import get_array_module
from stn_scratch.data import load_digits, tasks
from stn_scratch.training import loop, run_folder
from stn_scratch.training.batches import fixed_batches

SMALL = {"parameters": 24_000, "digits": "embedded", "iterations": 8, "batch": 16, "checkpoint_every": 4, "threads": 2,
         "validation": 0.1, "validate_every": 4, "log_every": 1, "shard": 8, "decay_every": 5}


def few_digits():
    """240 training and 60 test digits: enough to train on, soon looked through."""
    every = load_digits(source="embedded")
    return every._replace(train_images=every.train_images[:240], train_labels=every.train_labels[:240],
                          test_images=every.test_images[:60], test_labels=every.test_labels[:60])


def find_few(patch):
    """Whatever is started from here on finds `few_digits`, which are given."""
    few = few_digits()
    patch.setattr(tasks, "load_digits", lambda *_, **__: few)
    return few


def at_step(patch, step, happens):
    """After the training record of `step` is written, `happens()`."""
    log = loop.log

    def log_and(run, record):
        log(run, record)
        if record["step"] == step and "loss" in record:
            happens()

    patch.setattr(loop, "log", log_and)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def checkpoint(folder):
    """The arrays of a run's checkpoint."""
    with np.load(folder / run_folder.CHECKPOINT, allow_pickle=False) as members:
        return dict(members)


def step_saved(folder):
    return json.loads(str(checkpoint(folder)["state"]))["step"]


@contextmanager
def held(folder):
    """As another process holds it."""
    fcntl = pytest.importorskip("fcntl")
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def fixed_set(split, data, *, seed, purpose):
    """All of `fixed_batches` at once."""
    x, labels = zip(*fixed_batches(split, data, seed=seed, purpose=purpose), strict=True)
    xp = get_array_module(split.images)
    return xp.concatenate(x), xp.concatenate(labels)
