"""Lesson 8, back to theta."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import affine_grid_backward, affine_grid_forward, sample_backward, sample_forward
from stn_scratch.coordinates import pixels_per_unit, target_grid


def _to_dgrid(dx_p, dy_p, image_size):
    H, W = image_size
    return np.stack([dx_p * pixels_per_unit(W, True), dy_p * pixels_per_unit(H, True)])


def _factor_forgotten(dx_p, dy_p, image_size):
    return np.stack([dx_p, dy_p])


def _rows_and_columns(dx_p, dy_p, image_size):
    return _to_dgrid(dx_p, dy_p, image_size[::-1])


def _size_of_the_output(dx_p, dy_p, image_size):
    return _to_dgrid(dx_p, dy_p, dx_p.shape)


def _divided(dx_p, dy_p, image_size):
    H, W = image_size
    return np.stack([dx_p / pixels_per_unit(W, True), dy_p / pixels_per_unit(H, True)])


def _with_the_shift(dx_p, dy_p, image_size):
    H, W = image_size
    return _to_dgrid(dx_p, dy_p, image_size) + np.array([W - 1, H - 1]).reshape(2, 1, 1) / 2


def _brackets_missing(dx_p, dy_p, image_size):
    H, W = image_size
    return np.stack([dx_p * W - 1 / 2, dy_p * H - 1 / 2])


def _half_a_size(dx_p, dy_p, image_size):
    H, W = image_size
    return np.stack([dx_p * pixels_per_unit(W, False), dy_p * pixels_per_unit(H, False)])


def _dtheta(dgrid, G):
    anything = np.zeros((len(dgrid), 2, 3))
    return affine_grid_backward(dgrid, affine_grid_forward(anything, size=dgrid.shape[2:])[1])


def _mean(dgrid, G):
    return _dtheta(dgrid, G) / G.shape[1]


def _columns_first(dgrid, G):
    return dgrid.swapaxes(2, 3).reshape(len(dgrid), 2, -1) @ G.T


def _x_and_y_in_turn(dgrid, G):
    """A reshape that takes dgrid for (B, H', W', 2)."""
    return dgrid.reshape(len(dgrid), -1, 2).swapaxes(1, 2) @ G.T


def _reshaped_for_transposed(dgrid, G):
    return dgrid.reshape(len(dgrid), 2, -1) @ G.reshape(-1, 3)


def _images_mixed(dgrid, G):
    return dgrid.reshape(2, len(dgrid), -1).swapaxes(0, 1) @ G.T


def _summed_over_the_batch(dgrid, G):
    return _dtheta(dgrid, G).sum(axis=0)


def _without_ones(dgrid, G):
    return _dtheta(dgrid, G)[:, :, :2]


def _gradient(theta, U, T, error=lambda V, T: V - T):
    grid, cache_grid = affine_grid_forward(theta, size=T.shape[1:3])
    V, cache_V = sample_forward(U, grid)
    _, dgrid = sample_backward(error(V, T), cache_V)
    return ((V - T) ** 2).sum(axis=(1, 2, 3)) / 2, affine_grid_backward(dgrid, cache_grid)


def _uphill(theta, U, T):
    return _gradient(theta, U, T, lambda V, T: T - V)


def _doubled(theta, U, T):
    return _gradient(theta, U, T, lambda V, T: 2 * (V - T))


def _without_the_half(theta, U, T):
    loss, dtheta = _gradient(theta, U, T)
    return 2 * loss, 2 * dtheta


def _half_in_dtheta_only(theta, U, T):
    loss, dtheta = _gradient(theta, U, T)
    return 2 * loss, dtheta


def _loss_sent_back(theta, U, T):
    return _gradient(theta, U, T, lambda V, T: (V - T) ** 2 / 2)


def _factor_once_more(theta, U, T):
    """dgrid times (W - 1)/2 again: sample_backward has the factor inside."""
    loss, dtheta = _gradient(theta, U, T)
    H, W = U.shape[1:3]
    return loss, dtheta * np.array([[W - 1], [H - 1]]) / 2


def _of_the_sample(theta, U, T):
    return _gradient(theta, U, T, lambda V, T: V)


def _one_loss_for_all(theta, U, T):
    loss, dtheta = _gradient(theta, U, T)
    return loss.sum(), dtheta


def _numbers(*shape):
    return np.random.default_rng(8).normal(size=shape)


def _images():
    theta = np.array([[[0.8, -0.3, 0.21], [0.5, 1.1, -0.4]], [[1.03, 0.2, -0.1], [-0.6, 0.7, 0.3]]])
    return theta, _numbers(2, 5, 7, 1), _numbers(2, 4, 6, 1)


EXERCISES = {
    "08.1": Exercise(_to_dgrid, lambda: [(_numbers(4, 3), 2 * _numbers(4, 3), (5, 11))], ("dgrid",), (
        Mistake(_factor_forgotten, "this is still the gradient per pixel. How many pixels does x_p move when x_s moves "
                                   "by 1?"),
        Mistake(_rows_and_columns, "dx has the factor of dy. Does x run over W or over H pixels?"),
        Mistake(_size_of_the_output, "you took the size of the grid. Of which image does x_p count the pixels: of the "
                                     "one that is read, or of the one that comes out?"),
        Mistake(_divided, "you divided. The chain rule multiplies by dx_p/dx_s: is that more or less than 1 here?"),
        Mistake(_with_the_shift, "the second (W-1)/2 of x_p only moves the origin. What is the derivative of a "
                                 "constant?"),
        Mistake(_brackets_missing, "W - 1 / 2 is W minus a half: brackets."),
        Mistake(lambda dx_p, dy_p, size: _to_dgrid(dx_p, dy_p, size)[::-1], "x comes first in the grid: dgrid[0] is "
                                                                            "for x_s."),
        Mistake(lambda dx_p, dy_p, size: 2 * _to_dgrid(dx_p, dy_p, size),
                "twice too large: from -1 to +1 x_s moves by 2, and x_p by W - 1."),
        Mistake(_half_a_size, "this is the factor of align_corners=False. Here -1 and +1 are pixel centres: how many "
                              "steps lie between them?"))),
    "08.2": Exercise(_dtheta, lambda: [(_numbers(2, 2, 4, 3), target_grid(np, (4, 3), True, "float64"))], ("dtheta",), (
        Mistake(_mean, "too small, by the number of points. Every point adds to L: is the derivative a sum or a mean?"),
        Mistake(_columns_first, "the points of dgrid and the columns of G are not in the same order. Pixel i stands in "
                                "row i // W': does a plain reshape keep that?"),
        Mistake(lambda dgrid, G: _dtheta(dgrid, G) / len(dgrid),
                "divided by the number of images: each has its own theta, and no mean is taken here."),
        Mistake(lambda dgrid, G: _dtheta(dgrid[:, ::-1], G), "the rows of dtheta are exchanged: x_s comes first."),
        Mistake(_x_and_y_in_turn, "your reshape takes x and y in turn. In dgrid all the x come first, then all the y."),
        Mistake(_reshaped_for_transposed, "G.reshape(-1, 3) is not G.T: reshape keeps the order in memory."),
        Mistake(_images_mixed, "the images are mixed up: the first axis of dgrid is B, the second x and y."),
        Mistake(lambda dgrid, G: _dtheta(dgrid, G)[0], "that is the theta of the first image: what about the others?"),
        Mistake(_summed_over_the_batch, "you added the images together. Each has its own theta."),
        Mistake(_without_ones, "the last column is missing. What did the ones in G multiply on the way forward?"))),
    "08.3": Exercise(_gradient, lambda: [_images()], ("loss", "dtheta"), (
        Mistake(_uphill, "the sign: this dtheta leads uphill. What is the derivative of (V - T)^2 / 2 by V?"),
        Mistake(_doubled, "dtheta is twice too large: what does the half in front of the square do?"),
        Mistake(_without_the_half, "both are twice too large: the loss here has a half in front of the sum."),
        Mistake(_half_in_dtheta_only, "dtheta is right; the loss is twice too large: where is its half?"),
        Mistake(_loss_sent_back, "you sent the loss itself back. The pass backward starts with dL/dV."),
        Mistake(_factor_once_more, "dtheta has (W-1)/2 once too often: sample_backward gives dgrid for the normalised "
                                   "grid, with the factor inside."),
        Mistake(_of_the_sample, "you sent V itself back. The pass backward starts with dL/dV."),
        Mistake(_one_loss_for_all, "the losses of all images are added. Each pair has its own."))),
}
