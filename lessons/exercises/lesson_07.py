"""Lesson 7, the gradient of the points."""

import numpy as np
from checks import Exercise, Mistake
from one_image import sample_at, sample_at_backward

from stn_scratch import paper


def _tent_slope(d):
    """dk/dx of a pixel 8 of 17 for a sample at 8 + d: an image with one bright pixel has the tent as its row."""
    bright = np.zeros((1, 17))
    bright[0, 8] = 1
    bright = np.repeat(bright, 3, axis=0)
    _, cache = sample_at(bright, 8 + d, np.ones_like(d))
    return sample_at_backward(np.ones_like(d), cache)[1]


def _printed_tent_slope(d):
    return np.where(np.abs(d) >= 1, 0, np.where(d <= 0, 1.0, -1.0))


def _zero_at_kinks(d):
    return np.where(np.abs(d) < 1, -np.sign(d), 0.0)


def _zero_at_the_left_foot(d):
    return np.where(np.abs(d) >= 1, 0.0, np.where(d < 0, 1.0, -1.0))


def _slope_to_the_left(d):
    return np.where((d > -1) & (d <= 1), np.where(d <= 0, 1.0, -1.0), 0.0)


def _points(dV, U, x_p, y_p):
    return sample_at_backward(dV, sample_at(U, x_p, y_p)[1])[1:]


def _by_paper(dV, U, x_p, y_p):
    image, points = U[None, ..., None], (x_p[None, None], y_p[None, None])
    return tuple(dV * slope(image, *points)[0, 0, :, 0] for slope in (paper.d_sample_dx, paper.d_sample_dy))


def _floor_and_ceil(dV, U, x_p, y_p):
    """Taps at floor and ceil: on the lattice they are one pixel, and its difference from itself is 0."""
    dx, dy = _points(dV, U, x_p, y_p)
    return dx * (x_p != np.floor(x_p)), dy * (y_p != np.floor(y_p))


def _one_weight_forgotten(dV, U, x_p, y_p):
    return _points(dV, U, x_p, np.floor(y_p))[0], _points(dV, U, np.floor(x_p), y_p)[1]


def _with(**options):
    """The package's gradients with other options."""

    def of_options(dV, U, x_p, y_p):
        return sample_at_backward(dV, sample_at(U, x_p, y_p, **options)[1])[1:]

    return of_options


def _left(dV, U, x_p, y_p):
    case = dV, U, x_p, y_p
    return tuple(2 * c - r for c, r in zip(_with(lattice="central")(*case), _points(*case), strict=True))


def _left_at_the_end(dV, U, x_p, y_p):
    """Taps at floor and floor + 1, but never beyond the last pixel."""
    case = dV, U, x_p, y_p
    ends = (x_p == U.shape[1] - 1, y_p == U.shape[0] - 1)
    return tuple(np.where(*chosen) for chosen in zip(ends, _left(*case), _points(*case), strict=True))


def _exchanged(dV, U, x_p, y_p):
    return _points(dV, U, x_p, y_p)[::-1]


def _without_dV(dV, U, x_p, y_p):
    return _points(np.ones_like(dV), U, x_p, y_p)


PICTURE = np.array([[0.1, 0.5, 0.2, 0.9, 0.4], [0.8, 0.3, 0.6, 0.4, 0.7], [0.7, 0.2, 1.0, 0.15, 0.35]])
OFF = np.array([0.3, 1.8, 2.5, 3.25, -0.4, 4.6]), np.array([1.2, 0.4, 1.5, -0.7, 0.6, 1.1])
ON = np.array([1.0, 2.0, 3.0, 1.5, 4.0, 1.0, 4.0, 0.0]), np.array([1.0, 0.5, 1.0, 1.0, 1.0, 2.0, 2.0, 0.0])

EXERCISES = {
    "07.1": Exercise(_tent_slope, lambda: [(np.array([-1.5, -1, -0.4, 0, 0.25, 0.9, 1, 2]),)], ("dk",), (
        Mistake(_printed_tent_slope, "between the pixels it is right. At d = -1 and d = 0 you follow Eq. (7) to the "
                                     "letter; take one small step to the right there: does the tent rise or fall?"),
        Mistake(_zero_at_kinks, "you give 0 at d = -1 and d = 0; one small step to the right: rise or fall?"),
        Mistake(_zero_at_the_left_foot, "right except at d = -1: one small step to the right and the tent rises."),
        Mistake(_slope_to_the_left, "at the kinks this is the slope to the left."),
        Mistake(lambda d: -_tent_slope(d), "the sign: left of its pixel, where d < 0, does the tent rise?"),
        Mistake(lambda d: np.where(d >= 0, -1.0, 1.0), "far away the tent is flat: its slope there is 0."))),
    "07.2": Exercise(_points, lambda: [(np.array([1.0, -2.0, 0.5, 3.0, 1.5, -1.0]), PICTURE, *OFF),
                                       (np.array([1.0, 2.0, -1.5, 0.5, 1.0, -1.0, 2.0, 0.5]), PICTURE, *ON)],
                     ("dx", "dy"), (
        Mistake(_by_paper, "right between pixels. At a whole number you have Eq. (7) as printed: U itself, not a "
                           "difference of neighbours. What would a constant image give?"),
        Mistake(_floor_and_ceil, "right between pixels, and 0 at whole numbers: there floor and ceil are the same "
                                 "pixel. Take floor and floor + 1."),
        Mistake(_one_weight_forgotten, "dV/dx is a difference of columns, *averaged over two rows*: the weights of y "
                                       "are missing."),
        Mistake(_left, "at whole numbers this is the slope to the left: which two taps does floor give?"),
        Mistake(_left_at_the_end, "right but at the last column and row: there the tap to the right is outside, and "
                                  "counts as 0."),
        Mistake(_with(lattice="central"), "at whole numbers this is the mean of both sides; here take the right one."),
        Mistake(_with(padding="border"), "at the rim a tap outside counts as 0, not as the border pixel."),
        Mistake(lambda *case: tuple(-d for d in _points(*case)), "left minus right: the sign."),
        Mistake(_exchanged, "dx and dy are exchanged."),
        Mistake(_without_dV, "these are the slopes of V. Where is the gradient dV that came from behind?"))),
}
