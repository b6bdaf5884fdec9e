"""Batches of distorted digits. The next one is drawn by a second thread while the network works on this one."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from stn_scratch.backend import get_array_module, host_generator, to_device, use_gpu_of
from stn_scratch.data import hold_out
from stn_scratch.data.distort import distort

# what a seed's generators are for; each has a stream of its own
TRAINING, VALIDATION, TEST = 1, 2, 3
# images that are distorted by a generator of their own, so that a process need not distort the others
BLOCK = 64


class Split(NamedTuple):
    images: object  # (N, 28, 28, 1) float32, on the run's device
    labels: object  # (N,) integers


class Batch(NamedTuple):
    x: object  # (B, canvas, canvas, 1), or of them the part that was asked for
    labels: object  # (B,), likewise
    generator_state: dict  # after this batch was drawn


def generator(seed, purpose):
    """The NumPy generator of a seed for one purpose."""
    return host_generator([seed, purpose])


def splits(digits, *, validation, device):
    """Training, validation and test digits on `device`. Validation digits are training digits, held out."""
    held_out = max(1, round(validation * len(digits.train_labels)))
    train_images, train_labels, validation_images, validation_labels = hold_out(digits, validation=held_out)
    move = to_device if device == "gpu" else (lambda a: a)
    return {purpose: Split(move(images), move(labels)) for purpose, images, labels in (
        (TRAINING, train_images, train_labels),
        (VALIDATION, validation_images, validation_labels),
        (TEST, digits.test_images, digits.test_labels))}


def fixed_set(split, data, *, seed, purpose):
    """Every digit of a split once, distorted: the same images whenever the seed is the same."""
    return distort(data, generator(seed, purpose), split.images), split.labels


def training_batches(split, data, *, batch, rng, part=None):
    """Batches for ever: digits drawn at random with replacement, distorted afresh; `rng` runs one batch ahead.

    part: a range of the batch's images, those of one process among several; default all. Whatever the parts, `rng`
    draws the same and the images are the same. Close it when you are done: it holds a thread.
    """
    part = range(batch) if part is None else part
    xp = get_array_module(split.images)

    def draw():
        chosen = rng.integers(0, len(split.labels), batch)
        seeds = rng.integers(0, 2**63, -(-batch // BLOCK))
        state = rng.bit_generator.state
        blocks = []
        for k in range(part.start // BLOCK, -(-part.stop // BLOCK)):
            begin, end = k * BLOCK, (k + 1) * BLOCK
            digits = xp.take(split.images, xp.asarray(chosen[begin:end]), axis=0)
            blocks.append(distort(data, host_generator(seeds[k]), digits)[max(0, part.start - begin):part.stop - begin])
        return Batch(xp.concatenate(blocks), xp.take(split.labels, xp.asarray(chosen[part.start:part.stop])), state)

    with ThreadPoolExecutor(1, "batches", initializer=use_gpu_of, initargs=(split.images,)) as executor:
        following = executor.submit(draw)
        while True:
            current, following = following.result(), executor.submit(draw)
            yield current
