"""Lesson 11, beyond affine."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import projective_grid_backward, projective_grid_forward
from stn_scratch.grids.piecewise import _triangles
from stn_scratch.grids.thin_plate import _U
from stn_scratch.sampling.kernels import Triangle

_FORWARD = np.array([[0.5, -1.2, 0.8, 2.0], [0.3, 0.9, -0.4, 1.5], [1.0, 0.5, 1.7, 0.25]])  # X, Y, w
_FROM_BEHIND = np.array([[1.0, -2.0, 0.5, 3.0], [0.7, 1.5, -1.0, -0.3]])  # dx, dy


def _quotient(dx, dy, X, Y, w):
    """One point an image: its theta is such that the right pixel of a row of two has these X, Y and w."""
    theta = np.zeros((len(w), 8))
    theta[:, 2], theta[:, 5], theta[:, 6] = X, Y, w - 1
    _, cache = projective_grid_forward(theta, size=(1, 2))
    dgrid = np.zeros((len(w), 2, 1, 2))
    dgrid[:, 0, 0, 1], dgrid[:, 1, 0, 1] = dx, dy
    dtheta = projective_grid_backward(dgrid, cache)
    return dtheta[:, 2], dtheta[:, 5], dtheta[:, 6]


def _other_sign(dx, dy, X, Y, w):
    dX, dY, dw = _quotient(dx, dy, X, Y, w)
    return dX, dY, -dw


def _one_coordinate_only(dx, dy, X, Y, w):
    dX, dY, _ = _quotient(dx, dy, X, Y, w)
    return dX, dY, _quotient(dx, 0 * dy, X, Y, w)[2]


def _w_not_squared(dx, dy, X, Y, w):
    dX, dY, dw = _quotient(dx, dy, X, Y, w)
    return dX, dY, dw * w


def _numerators_not_divided(dx, dy, X, Y, w):
    return dx, dy, _quotient(dx, dy, X, Y, w)[2]


def _not_a_number_at_0(r2):
    with np.errstate(divide="ignore", invalid="ignore"):
        return r2 * np.log(r2)


def _log_r(r2):
    return _U(r2) / 2


def _r_log(r2):
    return np.sqrt(r2) * np.log(np.where(r2 > 0, r2, 1))


def _a_little_added(r2):
    return r2 * np.log(r2 + 1e-6)


def _squared_twice(r2):
    return _U(r2 ** 2)


def _barycentric(a, b):
    """From a mesh of one cell and 9x9 pixels; so a and b are eighths."""
    weight = _triangles(np, (2, 2), (9, 9), True, "float64").weight
    return weight[:, np.round(b * 8).astype(int) * 9 + np.round(a * 8).astype(int)]


def _one_triangle_for_all(a, b):
    return np.stack([1 - a, a - b, b])


def _third_turned_round_only(a, b):
    return np.stack([1 - a, np.abs(a - b), b])


def _ends_exchanged(a, b):
    return _barycentric(a, b)[::-1]


def _bilinear(a, b):
    return np.stack([(1 - a) * (1 - b), a + b - 2 * a * b, a * b])


def _triangle(x, width, pixels):
    """The package's taps, put at their pixels."""
    Phi = np.array([Triangle(radius=4).Phi_of(width)])
    kernel = Triangle(radius=4).at(Phi)
    cell = kernel.cell(np.array([x]), +1)[0]
    weights = np.zeros(pixels)
    weights[int(cell) + np.array(kernel.offsets)] = np.ravel(kernel.weights(x - cell))
    return weights


def _heights(x, width, pixels):
    return np.maximum(0, 1 - np.abs(x - np.arange(pixels)) / width)


def _by_the_integral(x, width, pixels):
    return _heights(x, width, pixels) / width


def _half_as_wide(x, width, pixels):
    heights = np.maximum(0, 1 - 2 * np.abs(x - np.arange(pixels)) / width)
    return heights / heights.sum()


def _no_foot(x, width, pixels):
    heights = 1 - np.abs(x - np.arange(pixels)) / width
    return heights / heights.sum()


EXERCISES = {
    "11.1": Exercise(_quotient, lambda: [(*_FROM_BEHIND, *_FORWARD)], ("dX", "dY", "dw"), (
        Mistake(_other_sign, "the sign of dw. If w grows, does X / w move towards 0 or away from it?"),
        Mistake(_one_coordinate_only, "dw hears of x_s alone. Which of the two coordinates are divided by w?"),
        Mistake(_w_not_squared, "dw lacks a factor: the derivative of 1/w is -1/w squared."),
        Mistake(_numerators_not_divided, "dX and dY are what came from behind, unchanged. What stands under X and "
                                         "Y?"))),
    "11.2": Exercise(_U, lambda: [(np.array([0.0, 0.25, 1.0, 2.5]),), (np.array([[4.0, 0.0], [1e-3, 0.0]]),)],
                     ("U",), (
        Mistake(_not_a_number_at_0, "at r = 0 you have 0 times minus infinity, not a number. What should the log see "
                                    "there instead, so that the product is 0?"),
        Mistake(_log_r, "half of it: the logarithm is of r squared. What you were given is r squared already."),
        Mistake(_r_log, "right at 0 and at 1. In front of the logarithm stands r squared, not r."),
        Mistake(_squared_twice, "what you are given is r squared; you squared it once more."),
        Mistake(_a_little_added, "nearly: what you add inside the logarithm moves every value a little. Can the one "
                                 "bad place be masked before the log?")), silent=True),
    "11.3": Exercise(_barycentric, lambda: [(np.array([0.5, 0.125, 0.75, 1.0, 0.0, 0.25, 0.375]),
                                             np.array([0.25, 0.875, 0.75, 0.5, 0.0, 1.0, 0.0]))], ("weights",), (
        Mistake(_one_triangle_for_all, "right in the upper triangle. In the lower one, where b > a, a weight is "
                                       "negative: which vertex is between the two there?"),
        Mistake(_third_turned_round_only, "where b > a your weights do not add up to 1. Below the diagonal the vertex "
                                          "between is (0, 1): solve for all three weights again."),
        Mistake(_ends_exchanged, "the first and the last weight are exchanged: at a = b = 0, which vertex are you on?"),
        Mistake(_bilinear, "these are bilinear weights; a product of a and b is not affine. How many of the four "
                           "corners may take part?"))),
    "11.4": Exercise(_triangle, lambda: [(5.3, 2.6, 12), (4.0, 1.5, 9), (6.75, 3.9, 13)], ("weights",), (
        Mistake(_heights, "the shape is right; but what do your weights add up to, and what becomes of a constant "
                          "image?"),
        Mistake(_by_the_integral, "you divided by the area under the triangle. On a lattice of pixels that is not the "
                                  "sum of the weights: which of the two must be 1?"),
        Mistake(_half_as_wide, "half as wide as asked for: at which distance from x is the weight to be 0?"),
        Mistake(_no_foot, "pixels beyond the foot have a negative weight: where is the maximum with 0?"))),
}
