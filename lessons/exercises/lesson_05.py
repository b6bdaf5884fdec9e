"""Lesson 5, sampling."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import paper

PICTURE = np.array([[0.1, 0.5, 0.2, 0.9], [0.8, 0.3, 0.6, 0.4], [0.7, 0.2, 1.0, 0.15]])


def _of_images(sample):
    """A sampler of (B, H, W, C) images as one of a single image U (H, W) at points x_p, y_p (P,)."""

    def of_one(U, x_p, y_p):
        return sample(U[None, ..., None], x_p[None, None], y_p[None, None])[0, 0, :, 0]

    return of_one


_nearest, _bilinear = _of_images(paper.sample_integer), _of_images(paper.sample)


def _truncated(U, x_p, y_p):
    return _nearest(U, np.trunc(x_p), np.trunc(y_p))


def _half_to_even(U, x_p, y_p):
    return _nearest(U, np.round(x_p), np.round(y_p))


def _row_and_column_swapped(U, x_p, y_p):
    return _nearest(U, y_p, x_p)


def _clipped_weights(U, x_p, y_p):
    H, W = U.shape
    x0, y0 = np.floor(x_p).astype(int), np.floor(y_p).astype(int)
    x1, y1 = np.clip(x0 + 1, 0, W - 1), np.clip(y0 + 1, 0, H - 1)
    x0, y0 = np.clip(x0, 0, W - 1), np.clip(y0, 0, H - 1)
    return ((x1 - x_p) * (y1 - y_p) * U[y0, x0] + (x_p - x0) * (y1 - y_p) * U[y0, x1]
            + (x1 - x_p) * (y_p - y0) * U[y1, x0] + (x_p - x0) * (y_p - y0) * U[y1, x1])


def _border(U, x_p, y_p):
    H, W = U.shape
    return _bilinear(U, np.clip(x_p, 0, W - 1), np.clip(y_p, 0, H - 1))


def _weights_exchanged(U, x_p, y_p):
    x_0, y_0 = np.floor(x_p), np.floor(y_p)
    return _bilinear(U, 2 * x_0 + 1 - x_p, 2 * y_0 + 1 - y_p)


def _wrapped(U, x_p, y_p):
    """Index -1 reads the last column."""
    around = np.pad(U, ((0, 0), (1, 0)), mode="wrap")
    return _bilinear(around, x_p + 1, y_p)


def _wide_tent(d):
    return np.maximum(0, 1 - np.abs(d) / 2)


INSIDE = np.array([0.3, 1.8, 2.5, 0.0, 3.0, 1.5]), np.array([1.2, 0.4, 1.5, 2.0, 0.7, 0.5])
OUTSIDE = np.array([-0.4, 3.3, 1.2, -2.0, 5.0]), np.array([0.6, 1.5, 2.8, 1.0, 9.0])

EXERCISES = {
    "05.1": Exercise(_nearest, lambda: [(PICTURE, *INSIDE)], ("V",), (
        Mistake(_truncated, "you cut the fraction off. Which pixel is nearest to 1.8?"),
        Mistake(_half_to_even, "only points at exactly one half are wrong: np.round takes 2.5 to 2, Eq. (4) takes "
                               "floor(2.5 + 0.5) = 3."),
        Mistake(_row_and_column_swapped, "x and y are exchanged: x_p counts columns, the second index of U."))),
    "05.2": Exercise(paper.tent, lambda: [(np.array([-1.7, -1, -0.3, 0, 0.25, 1, 2.5]),)], ("k",), (
        Mistake(_wide_tent, "your tent is two pixels wide on either side. At |d| = 1, the next pixel, it must be 0."),
        Mistake(lambda d: 1 - np.abs(d), "far from the sample your weights are negative: where is max(0, ...)?"),
        Mistake(lambda d: np.maximum(0, 1 - d), "where d < 0 your weights exceed 1: it is |d| that counts."))),
    "05.3": Exercise(_bilinear, lambda: [(PICTURE, *INSIDE), (PICTURE, *OUTSIDE)], ("V",), (
        Mistake(_clipped_weights, "right inside, wrong at the last row and column: you formed the weights from clipped "
                                  "indices. Form them from x_p and y_p first, clip only the index."),
        Mistake(_border, "right inside; outside, you repeat the edge. Eq. (5) sums over the pixels that exist: a "
                         "pixel that does not exist adds 0."),
        Mistake(_weights_exchanged, "each tap has its neighbour's weight: the nearer pixel must weigh more."),
        Mistake(_wrapped, "a tap left of the image reads the last column: a negative index counts from the end."))),
}
