"""Batches of a task's images. The next one is drawn by a second thread while the network works on this one."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from stn_scratch.backend import get_array_module, host_generator, to_device, use_gpu_of
from stn_scratch.data.tasks import TASKS

# what a seed's generators are for; each has a stream of its own
TRAINING, VALIDATION, TEST = 1, 2, 3
# images that are drawn by a generator of their own, so that a process need not draw the others
BLOCK = 64


class Split(NamedTuple):
    """What a task's images are made of."""

    images: object  # (N, ...), on the run's device: what the task draws images from
    labels: object  # (N,) or (N, heads) integers


class Batch(NamedTuple):
    x: object  # (B, *in_shape), or of them the part that was asked for
    labels: object  # (B,) or (B, heads), likewise
    generator_state: dict  # after this batch was drawn


def generator(seed, purpose):
    """The NumPy generator of a seed for one purpose."""
    return host_generator([seed, purpose])


def splits(digits, data, *, validation, device):
    """Training, validation and test images of the task `data`, on `device`. Validation images are held-out training."""
    count = len(digits.train_labels)
    held_out = min(max(1, round(validation * count)), max(1, count - 1))
    train_images, train_labels, validation_images, validation_labels = TASKS[data].hold_out(digits, validation=held_out)
    move = to_device if device == "gpu" else (lambda a: a)
    return {purpose: Split(move(images), move(labels)) for purpose, images, labels in (
        (TRAINING, train_images, train_labels),
        (VALIDATION, validation_images, validation_labels),
        (TEST, digits.test_images, digits.test_labels))}


def _drawn(split, data, rng, chosen):
    """The task's images and labels from the sources `chosen`, a host array (B, sources)."""
    xp = get_array_module(split.images)
    chosen = xp.asarray(chosen)
    return TASKS[data].draw(rng, xp.take(split.images, chosen, axis=0), xp.take(split.labels, chosen, axis=0))


def fixed_batches(split, data, *, seed, purpose):
    """Every image of a split once, drawn: images and labels, part by part; the same whenever the seed is the same.

    Where the task makes one image from several, the first ones are all of the split, in their order.
    """
    rng, count = generator(seed, purpose), len(split.labels)
    chosen = np.arange(count)[:, None]
    if TASKS[data].sources > 1:
        chosen = np.concatenate([chosen, rng.integers(0, count, (count, TASKS[data].sources - 1))], axis=1)
    # in even parts that fit a core's cache
    parts = max(1, -(-count // BLOCK))
    for begin, end in pairwise(k * count // parts for k in range(parts + 1)):
        yield _drawn(split, data, rng, chosen[begin:end])


def training_batches(split, data, *, batch, rng, part=None):
    """Batches for ever: sources chosen at random with replacement, drawn afresh; `rng` runs one batch ahead.

    part: a range of the batch's images, those of one process among several; default all. Whatever the parts, `rng`
    draws the same and the images are the same. Close it when you are done: it holds a thread.
    """
    part = range(batch) if part is None else part
    xp = get_array_module(split.images)

    def draw():
        chosen = rng.integers(0, len(split.labels), (batch, TASKS[data].sources))
        seeds = rng.integers(0, 2**63, -(-batch // BLOCK))
        state = rng.bit_generator.state
        blocks = []
        for k in range(part.start // BLOCK, -(-part.stop // BLOCK)):
            begin, end = k * BLOCK, (k + 1) * BLOCK
            own = slice(max(0, part.start - begin), part.stop - begin)
            blocks.append([a[own] for a in _drawn(split, data, host_generator(seeds[k]), chosen[begin:end])])
        x, labels = zip(*blocks, strict=True)
        return Batch(xp.concatenate(x), xp.concatenate(labels), state)

    with ThreadPoolExecutor(1, "batches", initializer=use_gpu_of, initargs=(split.images,)) as executor:
        following = executor.submit(draw)
        while True:
            current, following = following.result(), executor.submit(draw)
            yield current
