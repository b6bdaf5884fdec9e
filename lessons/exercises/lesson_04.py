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


def _sides_exchanged(size):
    return _target_grid(size[::-1])


def _y_upwards(size):
    return _target_grid(size) * [[1], [-1], [1]]


def _from_0_to_1(size):
    return (_target_grid(size) + 1) / 2


def _pixel_numbers(size):
    H, W = size
    i = np.arange(H * W)
    return np.stack([i % W, i // W, np.ones(H * W)])


def _affine_grid(theta, size):
    return affine_grid_forward(theta, size=size)[0]


def _y_first(theta, size):
    return _affine_grid(theta, size)[:, ::-1]


def _other_way_round(theta, size):
    square = np.concatenate([theta, np.tile([[[0.0, 0, 1]]], (len(theta), 1, 1))], axis=1)
    return _affine_grid(np.linalg.inv(square)[:, :2], size)


def _reshaped_not_transposed(theta, size):
    points = _affine_grid(theta, size).reshape(len(theta), 2, -1).swapaxes(1, 2)
    return points.reshape(len(theta), 2, *size)


def _coordinates_last(theta, size):
    return _affine_grid(theta, size).reshape(len(theta), *size, 2).transpose(0, 3, 1, 2)


def _images_mixed(theta, size):
    return _affine_grid(theta, size).reshape(2, -1, *size).swapaxes(0, 1)


def _without_translation(theta, size):
    return _affine_grid(theta * [1, 1, 0], size)


def _to_pixels(x, size, align_corners):
    return to_pixels(x, size, align_corners)


def _by_size(x, size, align_corners):
    return (x + 1) * size / 2


def _by_size_less_two(x, size, align_corners):
    return (x + 1) * (size - 2) / 2 if align_corners else to_pixels(x, size, False)


def _edge_at_zero(x, size, align_corners):
    return to_pixels(x, size, True) if align_corners else (x + 1) * size / 2


def _edges_always(x, size, align_corners):
    return to_pixels(x, size, False)


def _rules_exchanged(x, size, align_corners):
    return to_pixels(x, size, not align_corners)


def _from_the_middle(x, size, align_corners):
    return to_pixels(x, size, align_corners) - (size - 1) / 2


def _kept_inside(x, size, align_corners):
    return np.clip(to_pixels(x, size, align_corners), 0, size - 1)


def _one_rule_for_both(x, size, align_corners):
    return to_pixels(x, size, True)


def _thetas():
    return np.array([[[0.8, -0.3, 0.2], [0.5, 1.1, -0.4]], [[1.0, 0.2, -0.1], [-0.6, 0.7, 0.3]]])


EXERCISES = {
    "04.1": Exercise(_target_grid, lambda: [((3, 5),), ((4, 2),)], ("G",), (
        Mistake(_rows_swapped, "the rows of G stand in the order y_t, x_t, 1. Which of the two counts columns?"),
        Mistake(_up_to_but_not_one, "your points begin at -1 but never reach +1: you divided 2 by the number of "
                                    "pixels. How many steps lie between the first and the last of W pixels?"),
        Mistake(_sides_exchanged, "H' and W' changed places: how many different x are there?"),
        Mistake(_y_upwards, "your y points up, as in a plot. The first row has y = -1."),
        Mistake(_from_0_to_1, "your points run from 0 to 1. Where does x begin?"),
        Mistake(_pixel_numbers, "these are numbers of pixels, not yet normalised."),
        Mistake(_columns_first, "the points are all there, but numbered column by column. Pixel i stands in row "
                                "i // W': which coordinate changes fastest?"))),
    "04.2": Exercise(_affine_grid, lambda: [(_thetas(), (3, 5)), (_thetas()[:1], (4, 2))], ("grid",), (
        Mistake(_y_first, "grid[:, 0] holds y_s. Eq. (1) puts x first, in theta's rows and in the grid."),
        Mistake(_other_way_round, "this is the grid of the inverse of theta. Eq. (1) runs from output to input: "
                                  "no matrix needs inverting."),
        Mistake(_reshaped_not_transposed, "x and y alternate in your rows: reshape does not exchange axes."),
        Mistake(_coordinates_last, "the product has x_s and y_s as *rows*: the 2 comes before H' and W'."),
        Mistake(_images_mixed, "the rows of one image went into another's: the first axis is the batch."),
        Mistake(_without_translation, "the last column of theta has no effect. What does the row of ones in G do?"))),
    "04.3": Exercise(_to_pixels, lambda: [(np.linspace(-1.5, 1.5, 7), 5, True), (np.linspace(-1, 1, 4), 8, False)],
                     ("x_p",), (
        Mistake(_by_size, "x = 1 lands at `size`, beyond the last pixel; with False all is half a pixel off: "
                          "0 is the *centre* of the first."),
        Mistake(_edge_at_zero, "right for True. For False, -1 is the outer edge of pixel 0, whose *centre* is 0: where "
                               "is the edge?"),
        Mistake(_edges_always, "this ignores align_corners=True: where must +1 land then?"),
        Mistake(_rules_exchanged, "the two rules are exchanged."),
        Mistake(_from_the_middle, "x = 0 is the middle of the axis; yours lands on pixel 0."),
        Mistake(_kept_inside, "a point may lie outside: lesson 5 deals with it."),
        Mistake(_by_size_less_two, "x = 1 lands at size - 2: one pixel is lost. Where must +1 land?"),
        Mistake(_one_rule_for_both, "with align_corners=False, -1 and +1 are the outer edges, half a pixel beyond the "
                                    "centres. How long is the axis then, in pixels?"))),
}
