"""Lesson 13, one code, two machines."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import sample_forward


def _fraction(x):
    a = x - np.floor(x)
    return a, np.asarray(a.itemsize)


def _through_int(x):
    a = x - np.floor(x).astype(np.int32)
    return a, np.asarray(a.itemsize)


def _cut_off(x):
    a = x - np.trunc(x)
    return a, np.asarray(a.itemsize)


def _of_absolute(x):
    a = np.abs(x) - np.floor(np.abs(x))
    return a, np.asarray(a.itemsize)


def _take(row, index):
    """The package's sampler with the nearest-pixel kernel: a pixel that does not exist gives 0."""
    W = len(row)
    x_s = (index - (W - 1) / 2) / ((W - 1) / 2)
    grid = np.stack([x_s, np.zeros_like(x_s)])[None, :, None]
    image = np.repeat(row[None, None, :, None], 3, axis=1)
    return sample_forward(image, grid, kernel="integer")[0][0, 0, :, 0]


def _wrapped(row, index):
    return row[index % len(row)]


def _clipped(row, index):
    return row[np.clip(index, 0, len(row) - 1)]


def _negative_wraps(row, index):
    return np.where(index < len(row), row[np.minimum(index, len(row) - 1)], 0)


EXERCISES = {
    "13.1": Exercise(_fraction, lambda: [(np.array([0.25, 1.5, -0.75, 3.0], dtype="float32"),)], ("a", "bytes"), (
        Mistake(_through_int, "the values are right, and each takes 8 bytes: float32 minus int32 is float64. What type "
                              "does np.floor give?"),
        Mistake(_cut_off, "below 0 your fraction is negative: which whole number lies *below* -0.75?"),
        Mistake(_of_absolute, "-0.75 lies a quarter above -1, not three quarters above 0."))),
    "13.2": Exercise(_take, lambda: [(np.array([3.0, 1, 4, 1.5, 9]), np.array([0, 4, -1, -2, 7, 2, 5]))],
                     ("values",), (
        Mistake(_wrapped, "an index outside came round to the other end, as CuPy does it silently."),
        Mistake(_clipped, "outside, you repeat the edge: the index is safe now, but the value must be 0."),
        Mistake(_negative_wraps, "to the right it is 0; to the left, -1 read the last entry."))),
}
