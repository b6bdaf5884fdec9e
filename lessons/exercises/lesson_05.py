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


def _both_wrapped(U, x_p, y_p):
    around = np.pad(U, 12, mode="wrap")
    return _bilinear(around, x_p + 12, y_p + 12)


def _inside_only(U, x_p, y_p):
    """0 for every point outside, though some of its taps may be inside."""
    H, W = U.shape
    return _bilinear(U, x_p, y_p) * ((x_p >= 0) & (x_p <= W - 1) & (y_p >= 0) & (y_p <= H - 1))


def _without_the_last(U, x_p, y_p):
    """A mask by m < W - 1, n < H - 1."""
    U = U.copy()
    U[-1], U[:, -1] = 0, 0
    return _bilinear(U, x_p, y_p)


def _without_the_first(U, x_p, y_p):
    """A mask by m > 0, n > 0."""
    U = U.copy()
    U[0], U[:, 0] = 0, 0
    return _bilinear(U, x_p, y_p)


def _masked_along_x_only(U, x_p, y_p):
    return _bilinear(np.pad(U, ((12, 12), (0, 0)), mode="edge"), x_p, y_p + 12)


def _masked_along_y_only(U, x_p, y_p):
    return _bilinear(np.pad(U, ((0, 0), (12, 12)), mode="edge"), x_p + 12, y_p)


def _weights_of_the_other_axis(U, x_p, y_p):
    x_0, y_0 = np.floor(x_p), np.floor(y_p)
    return _bilinear(U, x_0 + (y_p - y_0), y_0 + (x_p - x_0))


def _cut_off_below_zero(U, x_p, y_p):
    """x_0 = x.astype(int), weights 1 - a and a with a = x - x_0, taps outside masked."""
    framed, V = np.pad(U, 12), 0
    x_0, y_0 = x_p.astype(int), y_p.astype(int)
    for n, weight_y in ((y_0, 1 - (y_p - y_0)), (y_0 + 1, y_p - y_0)):
        for m, weight_x in ((x_0, 1 - (x_p - x_0)), (x_0 + 1, x_p - x_0)):
            V = V + weight_y * weight_x * framed[n + 12, m + 12]
    return V


def _wide_tent(d):
    return np.maximum(0, 1 - np.abs(d) / 2)


INSIDE = np.array([0.3, 1.8, 2.5, 0.0, 3.0, 1.5]), np.array([1.2, 0.4, 1.5, 2.0, 0.7, 0.5])
OUTSIDE = np.array([-0.4, 3.3, 1.2, -2.0, 5.0, -0.3]), np.array([0.6, 1.5, 2.8, 1.0, 9.0, -0.8])

EXERCISES = {
    "05.1": Exercise(_nearest, lambda: [(PICTURE, *INSIDE)], ("V",), (
        Mistake(_truncated, "you cut the fraction off. Which pixel is nearest to 1.8?"),
        Mistake(_half_to_even, "only points at exactly one half are wrong: np.round takes 2.5 to 2, Eq. (4) takes "
                               "floor(2.5 + 0.5) = 3."),
        Mistake(lambda U, x_p, y_p: _nearest(U, np.ceil(x_p), np.ceil(y_p)),
                "you always round up. Which pixel is nearest to 0.3?"),
        Mistake(lambda U, x_p, y_p: _nearest(U, np.ceil(x_p - 0.5), np.ceil(y_p - 0.5)),
                "only points at exactly one half are wrong: yours round down."),
        Mistake(lambda U, x_p, y_p: np.array([_nearest(U, x_p, y + 0 * y_p) for y in y_p]),
                "you took every y_p with every x_p. U[rows, columns], with two arrays in one index, takes pairs."),
        Mistake(_row_and_column_swapped, "x and y are exchanged: x_p counts columns, the second index of U."))),
    "05.2": Exercise(paper.tent, lambda: [(np.array([-1.7, -1, -0.3, 0, 0.25, 1, 2.5]),)], ("k",), (
        Mistake(_wide_tent, "your tent is two pixels wide on either side. At |d| = 1, the next pixel, it must be 0."),
        Mistake(lambda d: np.maximum(0, 1 - 2 * np.abs(d)) / 2,
                "your tent is one half high. At d = 0 the pixel itself must count in full."),
        Mistake(lambda d: (np.abs(d) < 1).astype(float), "that is a box: a pixel 0.9 away counts like the nearest."),
        Mistake(lambda d: np.minimum(0, 1 - np.abs(d)), "that is the smaller of the two; the formula says max."),
        Mistake(lambda d: np.maximum(0, 1 - d ** 2), "that is 1 - d^2, a bow. A tent has straight sides: |d|."),
        Mistake(lambda d: 1 - np.abs(d), "far from the sample your weights are negative: where is max(0, ...)?"),
        Mistake(lambda d: np.maximum(0, 1 - d), "where d < 0 your weights exceed 1: it is |d| that counts."))),
    "05.3": Exercise(_bilinear, lambda: [(PICTURE, *INSIDE), (PICTURE, *OUTSIDE)], ("V",), (
        Mistake(_clipped_weights, "right inside, wrong at the last row and column: you formed the weights from clipped "
                                  "indices. Form them from x_p and y_p first, clip only the index."),
        Mistake(_border, "right inside; outside, you repeat the edge. Eq. (5) sums over the pixels that exist: a "
                         "pixel that does not exist adds 0."),
        Mistake(_weights_exchanged, "each tap has its neighbour's weight: the nearer pixel must weigh more."),
        Mistake(_both_wrapped, "taps outside came in again on the other side. They must add 0."),
        Mistake(_inside_only, "right inside. A *point* outside may still have taps inside, as one at -0.4 has: mask "
                              "each tap, not the point."),
        Mistake(_without_the_last, "the last row and column never count: which is the largest index that exists?"),
        Mistake(_without_the_first, "row 0 and column 0 never count. Are they inside?"),
        Mistake(_masked_along_x_only, "right for taps left and right of the image; those above and below still count."),
        Mistake(_masked_along_y_only, "right for taps above and below the image; those left and right still count."),
        Mistake(_weights_of_the_other_axis, "the weights of rows and columns are exchanged: which distance weighs a "
                                            "column m?"),
        Mistake(_cut_off_below_zero, "right where x and y are positive. int() cuts towards 0: what is the whole number "
                                     "*below* -0.4?"),
        Mistake(_wrapped, "a tap left of the image reads the last column: a negative index counts from the end."))),
}
