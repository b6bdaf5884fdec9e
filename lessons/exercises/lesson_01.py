"""Lesson 1, why transform?"""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import Flatten, avg_pool_forward, max_pool_forward, predict
from stn_scratch.data.distort import place


def _error_percent(logits, labels):
    return 100 * (predict(Flatten(), {}, logits) != labels).mean()


def _right_percent(logits, labels):
    return 100 - _error_percent(logits, labels)


def _fraction(logits, labels):
    return _error_percent(logits, labels) / 100


def _count(logits, labels):
    return (logits.argmax(axis=1) != labels).sum()


def _largest_for_its_place(logits, labels):
    return 100 * (logits.max(axis=1) != labels).mean()


def _largest_of_all(logits, labels):
    return 100 * (logits.argmax() != labels).mean()


def _error_curve(read, turn, images, labels, degrees):
    return np.array([_error_percent(read(turn(images, np.deg2rad(angle))), labels) for angle in degrees])


def _degrees_as_radians(read, turn, images, labels, degrees):
    return _error_curve(read, turn, images, labels, np.rad2deg(degrees))


def _turned_again_and_again(read, turn, images, labels, degrees):
    errors = []
    for angle in degrees:
        images = turn(images, np.deg2rad(angle))
        errors.append(_error_percent(read(images), labels))
    return np.array(errors)


def _never_turned(read, turn, images, labels, degrees):
    return _error_curve(read, turn, images, labels, 0 * degrees)


def _turned_the_other_way(read, turn, images, labels, degrees):
    return _error_curve(read, turn, images, labels, -degrees)


def _right_curve(read, turn, images, labels, degrees):
    return 100 - _error_curve(read, turn, images, labels, degrees)


def _mean_of_the_curve(read, turn, images, labels, degrees):
    return _error_curve(read, turn, images, labels, degrees).mean()


def _max_pool(x):
    return max_pool_forward(x[None, ..., None])[0][0, ..., 0]


def _mean(x):
    return avg_pool_forward(x[None, ..., None])[0][0, ..., 0]


def _far_apart(x):
    """The reshape with its axes exchanged: windows of pixels that lie half an image apart."""
    H, W = x.shape
    return x.reshape(2, H // 2, 2, W // 2).max(axis=(0, 2))


def _four_in_memory(x):
    H, W = x.shape
    return x.reshape(H // 2, W // 2, 4).max(axis=2)


def _sliding(x):
    return np.lib.stride_tricks.sliding_window_view(x, (2, 2)).max(axis=(2, 3))


def _moved_by_one(x):
    return _sliding(x)[:x.shape[0] // 2, :x.shape[1] // 2]


def _against_zero(x):
    return np.maximum(_max_pool(x), 0)


def _axes_side_by_side(x):
    """The right reshape, and the largest over the wrong two of its four axes."""
    return x.reshape(len(x) // 2, 2, -1, 2).max(axis=(1, 2))


def _every_other_pixel(x):
    return x[::2, ::2].copy()


def _rows_only(x):
    return np.maximum(x[::2], x[1::2])


def _readings():
    rng = np.random.default_rng(1)
    images, labels, weights = rng.normal(size=(40, 9, 9, 1)), rng.integers(0, 4, 40), rng.normal(size=(81, 4))

    def read(images):
        return images.reshape(len(images), 81) @ weights

    def turn(images, angle):
        one = np.ones(len(images))
        return place(images, canvas=9, angle=angle * one, scale=one, x=4 * one, y=4 * one)

    return [(read, turn, images, labels, np.array([-50.0, 0, 20, 75]))]


LOGITS, LABELS = np.random.default_rng(2).normal(size=(7, 3)), np.array([0, 2, 1, 1, 0, 2, 1])
WHOLE, OF_WHOLE = np.array([[0, 2, 1], [1, 0, 0], [3, 1, 2], [0, 1, 0]]), np.array([2, 1, 0, 1])
BELOW = np.random.default_rng(3).normal(size=(4, 6)) - [0, 0, 0, 0, 3, 3]  # in some windows all are negative

EXERCISES = {
    "01.1": Exercise(_error_percent, lambda: [(LOGITS, LABELS), (WHOLE, OF_WHOLE)], ("error",), (
        Mistake(_right_percent, "that is how many are right, in per cent. How many are wrong?"),
        Mistake(_fraction, "a hundred times too small: that is a fraction. What does per cent mean?"),
        Mistake(_count, "that is how many images are wrong. How many of a hundred would it be?"),
        Mistake(lambda logits, labels: 100 * _count(logits, labels),
                "that is a hundred times how many are wrong. By what do you divide to have a share of all images?"),
        Mistake(lambda logits, labels: 100 * _count(logits, labels) / logits.shape[1],
                "you divided by the number of classes: `logits` has N rows and a column for each class."),
        Mistake(_largest_of_all, "argmax without an axis gives one number for the whole batch. Over which axis are the "
                                 "logits of one image?"),
        Mistake(_largest_for_its_place, "you compare the largest logit itself with the label. Which class has it?"))),
    "01.2": Exercise(_error_curve, _readings, ("errors",), (
        Mistake(_degrees_as_radians, "your images turn far too much. Which unit does `turn` take, and which has "
                                     "`degrees`?"),
        Mistake(_turned_again_and_again, "the first error is right, then the turns add up: which images does the "
                                         "second turn begin with?"),
        Mistake(_turned_the_other_way, "your images turn the other way: is there a minus sign too many?"),
        Mistake(_right_curve, "that is how many are right, in per cent."),
        Mistake(_mean_of_the_curve, "that is the mean over all angles; the curve has an error for each."),
        Mistake(_never_turned, "your errors are all those of upright images. Which images does `read` get?"))),
    "01.3": Exercise(_max_pool, lambda: [(BELOW,)], ("y",), (
        Mistake(_mean, "that is the mean of the four. Which of them does the formula take?"),
        Mistake(_far_apart, "your four pixels lie half an image apart: reshape fills the last axis first. In which "
                            "order must H/2, 2, W/2, 2 stand?"),
        Mistake(_four_in_memory, "your four pixels follow each other in memory: they stand in one row. In which order "
                                 "must H/2, 2, W/2, 2 stand?"),
        Mistake(_sliding, "your windows overlap. How far is it from the window of y[h, w] to that of y[h, w + 1]?"),
        Mistake(_moved_by_one, "your windows begin at (h, w), one pixel apart. Where does the formula begin them?"),
        Mistake(_against_zero, "right, but where all four are negative you give 0. With what does your maximum begin?"),
        Mistake(_axes_side_by_side, "right reshape, wrong axes: of H/2, 2, W/2, 2, which two count pixels inside a "
                                    "window?"),
        Mistake(lambda x: 4 * _mean(x), "that is the sum of the four. Which of them does the formula take?"),
        Mistake(_every_other_pixel, "you take the upper left pixel of each window. Where are the other three?"),
        Mistake(_rows_only, "you have the larger of two rows. What about two columns?"),
        Mistake(lambda x: _rows_only(x.T).T, "you have the larger of two columns. What about two rows?"))),
}
