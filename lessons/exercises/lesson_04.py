"""Lesson 4, the affine grid."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import affine_grid_forward
from stn_scratch.coordinates import target_grid, to_pixels


def _target_grid(size):
    return target_grid(np, size, True, "float64")


def _rows_swapped(size):
    return _target_grid(size)[[1, 0, 2]]


def _up_to_but_not_one(size):
    H, W = size
    x, y = np.meshgrid(2 * np.arange(W) / W - 1, 2 * np.arange(H) / H - 1)
    return np.stack([x.ravel(), y.ravel(), np.ones(H * W)])


def _columns_first(size):
    H, W = size
    G = _target_grid(size).reshape(3, H, W)
    return G.swapaxes(1, 2).reshape(3, H * W)


def _affine_grid(theta, size):
    return affine_grid_forward(theta, size=size)[0]


def _y_first(theta, size):
    return _affine_grid(theta, size)[:, ::-1]


def _other_way_round(theta, size):
    square = np.concatenate([theta, np.tile([[[0.0, 0, 1]]], (len(theta), 1, 1))], axis=1)
    return _affine_grid(np.linalg.inv(square)[:, :2], size)


def _without_translation(theta, size):
    return _affine_grid(theta * [1, 1, 0], size)


def _to_pixels(x, size, align_corners):
    return to_pixels(x, size, align_corners)


def _by_size(x, size, align_corners):
    return (x + 1) * size / 2


def _by_size_less_two(x, size, align_corners):
    return (x + 1) * (size - 2) / 2 if align_corners else to_pixels(x, size, False)


def _one_rule_for_both(x, size, align_corners):
    return to_pixels(x, size, True)


def _thetas():
    return np.array([[[0.8, -0.3, 0.2], [0.5, 1.1, -0.4]], [[1.0, 0.2, -0.1], [-0.6, 0.7, 0.3]]])


EXERCISES = {
    "04.1": Exercise(_target_grid, lambda: [((3, 5),), ((4, 2),)], ("G",), (
        Mistake(_rows_swapped, "the rows of G stand in the order y_t, x_t, 1. Which of the two counts columns?"),
        Mistake(_up_to_but_not_one, "your points begin at -1 but never reach +1: you divided 2 by the number of "
                                    "pixels. How many steps lie between the first and the last of W pixels?"),
        Mistake(_columns_first, "the points are all there, but numbered column by column. Pixel i stands in row "
                                "i // W': which coordinate changes fastest?"))),
    "04.2": Exercise(_affine_grid, lambda: [(_thetas(), (3, 5)), (_thetas()[:1], (4, 2))], ("grid",), (
        Mistake(_y_first, "grid[:, 0] holds y_s. Eq. (1) puts x first, in theta's rows and in the grid."),
        Mistake(_other_way_round, "this is the grid of the inverse of theta. Eq. (1) runs from output to input: "
                                  "no matrix needs inverting."),
        Mistake(_without_translation, "the last column of theta has no effect. What does the row of ones in G do?"))),
    "04.3": Exercise(_to_pixels, lambda: [(np.linspace(-1.5, 1.5, 7), 5, True), (np.linspace(-1, 1, 4), 8, False)],
                     ("x_p",), (
        Mistake(_by_size, "x = 1 lands at `size`, one pixel behind the last: pixels are counted from 0."),
        Mistake(_by_size_less_two, "x = 1 lands at size - 2: one pixel is lost. Where must +1 land?"),
        Mistake(_one_rule_for_both, "with align_corners=False, -1 and +1 are the outer edges, half a pixel beyond the "
                                    "centres. How long is the axis then, in pixels?"))),
}
