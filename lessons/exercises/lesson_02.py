"""Lesson 2, backpropagation by hand."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import (
    dense_backward,
    dense_forward,
    relu_backward,
    relu_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from stn_scratch.gradcheck import _slope


def _relu_backward(dy, x):
    return relu_backward(dy, relu_forward(x)[1])


def _slope_only(dy, x):
    return (x > 0).astype(float)


def _relu_of_the_gradient(dy, x):
    return np.maximum(dy, 0)


def _one_at_the_kink(dy, x):
    return dy * (x >= 0)


def _half_at_the_kink(dy, x):
    return dy * (np.sign(x) + 1) / 2


def _times_relu(dy, x):
    return dy * np.maximum(x, 0)


def _dense_backward(dy, x, W):
    return dense_backward(dy, dense_forward(x, W, 0 * W[0])[1])


def _mean_over_the_batch(dy, x, W):
    dx, dW, db = _dense_backward(dy, x, W)
    return dx, dW / len(x), db / len(x)


def _mean_db(dy, x, W):
    dx, dW, db = _dense_backward(dy, x, W)
    return dx, dW, db / len(x)


def _db_of_each_image(dy, x, W):
    dx, dW, _ = _dense_backward(dy, x, W)
    return dx, dW, dy


def _db_of_each_row(dy, x, W):
    dx, dW, _ = _dense_backward(dy, x, W)
    return dx, dW, dy.sum(axis=1)


def _dW_transposed(dy, x, W):
    dx, dW, db = _dense_backward(dy, x, W)
    return dx, dW.T, db


def _finite_difference(f, x, step):
    slopes = np.empty_like(x)
    for index in np.ndindex(x.shape):
        def moved(shift, index=index):
            one = np.zeros_like(x)
            one[index] = shift
            return f(x + one)

        # the mean of two one-sided slopes: without the package's refusal to cross a kink
        slopes[index] = sum(_slope(moved, f(x), 1.0, step, side, "x") for side in ("right", "left")) / 2
    return slopes


def _one_sided(f, x, step):
    slopes = np.empty_like(x)
    for index in np.ndindex(x.shape):
        more = x.copy()
        more[index] += step
        slopes[index] = (f(more) - f(x)) / step
    return slopes


def _without_the_two(f, x, step):
    return 2 * _finite_difference(f, x, step)


def _never_put_back(f, x, step):
    x, slopes = x.copy(), np.empty_like(x)
    for index in np.ndindex(x.shape):
        x[index] += step
        above = f(x)
        x[index] -= 2 * step
        slopes[index] = (above - f(x)) / (2 * step)
    return slopes


def _moved_both_ways(f, x, step):
    """After `more = less = x` both names mean one array, which goes up and down again."""
    return np.zeros_like(x)


def _times_the_step(f, x, step):
    return _finite_difference(f, x, step) * step ** 2


def _up_and_back(f, x, step):
    """`x[k] += step`, then `x[k] -= step`: only back at the start."""
    return _one_sided(f, x, step) / 2


def _moves_add_up(f, x, step):
    e, slopes = np.zeros_like(x), np.empty_like(x)
    for index in np.ndindex(x.shape):
        e[index] = step
        slopes[index] = (f(x + e) - f(x - e)) / (2 * step)
    return slopes


def _whole_rows(f, x, step):
    slopes = np.empty_like(x)
    for k in range(len(x)):
        e = np.zeros_like(x)
        e[k] = step
        slopes[k] = (f(x + e) - f(x - e)) / (2 * step)
    return slopes


def _all_at_once(f, x, step):
    return np.full_like(x, (f(x + step) - f(x - step)) / (2 * step))


def _cubes(x):
    return (x ** 3 * np.arange(1, x.size + 1).reshape(x.shape)).sum() + x.prod()


def _pair_backward(z, labels):
    return softmax_cross_entropy_backward(1.0, softmax_cross_entropy_forward(z, labels=labels)[1])


def _not_divided(z, labels):
    return _pair_backward(z, labels) * len(z)


def _wrong_way(z, labels):
    return -_pair_backward(z, labels)


def _softmax_only(z, labels):
    return _pair_backward(z, labels) + np.eye(z.shape[1])[labels] / len(z)


def _label_taken_as_a_number(z, labels):
    return (_softmax_only(z, labels) * len(z) - labels[:, None]) / len(z)


def _at_the_label_only(z, labels):
    return _pair_backward(z, labels) * np.eye(z.shape[1])[labels]


def _logarithm_alone(z, labels):
    p = _softmax_only(z, labels) * len(z)
    return -np.eye(z.shape[1])[labels] / p / len(z)


def _over_the_batch(z, labels):
    p = _softmax_only(z.T, np.zeros(z.shape[1], int)).T * z.shape[1]
    return (p - np.eye(z.shape[1])[labels]) / len(z)


def _over_everything(z, labels):
    """The softmax of all B K logits as if they were of one image."""
    B, K = z.shape
    p = _softmax_only(z.reshape(1, B * K), labels[:1]).reshape(B, K)
    p[np.arange(B), labels] -= 1
    return p / B


def _whole_columns(z, labels):
    p = _softmax_only(z, labels) * len(z)
    p[:, labels] -= 1
    return p / len(z)


def _normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape) for shape in shapes)


X, DY = np.array([[-1.5, 0.0, 0.3], [2.0, -0.2, 0.9]]), np.array([[1.0, -2.0, -3.0], [0.5, 4.0, 2.5]])
Z, LABELS = np.array([[1.0, -0.5, 2.0], [0.2, 0.1, -1.0], [0.0, 3.0, 1.0], [0.4, 0.4, 0.4]]), np.array([2, 0, 0, 2])

EXERCISES = {
    "02.1": Exercise(_relu_backward, lambda: [(DY, X)], ("dx",), (
        Mistake(_slope_only, "that is the slope of ReLU itself. Where is dy, by which the chain rule multiplies it?"),
        Mistake(_relu_of_the_gradient, "you cut off negative entries of dy. Which number was ReLU given on the way "
                                       "forward, and is asked about here?"),
        Mistake(_one_at_the_kink, "right but at x = 0 exactly. There, the lesson takes the slope on the left. What "
                                  "is it?"),
        Mistake(_half_at_the_kink, "right but at x = 0 exactly: the lesson takes the slope on the left, not the mean."),
        Mistake(lambda dy, x: dy * (x < 0), "you keep what ReLU shut off, and shut off what it let through."),
        Mistake(lambda dy, x: dy, "dy went through unchanged. Which entries of x did not reach the loss?"),
        Mistake(_times_relu, "you multiply by the value of ReLU. What is its slope where x > 0?"))),
    "02.2": Exercise(_dense_backward, lambda: [_normal(2, (3, 2), (3, 4), (4, 2))], ("dx", "dW", "db"), (
        Mistake(_mean_over_the_batch, "dW and db are too small by the number of images. The mean is in the loss, so in "
                                      "dy already: what remains to be done over b in the formulas?"),
        Mistake(_mean_db, "db is too small by the number of images. Every image adds the same b: is its gradient the "
                          "mean of theirs?"),
        Mistake(_db_of_each_image, "this is what each image asks of b. But there is one b for all of them: what "
                                   "becomes of their gradients?"),
        Mistake(_db_of_each_row, "you summed dy over f. b has an entry for each f: over what is its sum?"),
        Mistake(_dW_transposed, "dW is transposed. A gradient has the shape of what it belongs to: which of D and F "
                                "comes first in W?"))),
    "02.3": Exercise(_finite_difference, lambda: [(_cubes, np.array([0.4, -0.7, 0.9]), 1e-4),
                                                  (_cubes, np.array([[0.5, 0.2], [-0.3, 0.8]]), 1e-4)], ("slopes",), (
        Mistake(_one_sided, "nearly: you went to one side only, and the error is half the curvature times the step. "
                            "What does a step to the other side cancel?"),
        Mistake(lambda f, x, step: _one_sided(f, x, -step),
                "nearly: you went to one side only, to the left. What does a step to the other side cancel?"),
        Mistake(_up_and_back, "half of it: after x[k] += step, one x[k] -= step only leads back to the start."),
        Mistake(_moves_add_up, "the first slope is right; then the moves add up. Which entries of e are still not 0 "
                               "when it is the second one's turn?"),
        Mistake(_whole_rows, "right for one axis; with two, x[k] is a whole row, and you moved it as a whole."),
        Mistake(lambda f, x, step: _finite_difference(f, x, 1.0) / step,
                "far too large: x was moved by 1, and the difference divided by the step."),
        Mistake(lambda f, x, step: _all_at_once(f, x, step).flat[0],
                "you moved all entries together: that is the sum of all slopes. How do you move one?"),
        Mistake(_without_the_two, "twice too much. How far apart are x + step and x - step?"),
        Mistake(_never_put_back, "the first slope is right, the others are off by a little. What does x look like when "
                                 "it is the second entry's turn?"),
        Mistake(_moved_both_ways, "all slopes are 0: f was given the same values twice. Does `y = x` make a copy of "
                                  "x?"),
        Mistake(_times_the_step, "far too small: `/ 2 * step` divides by 2, then multiplies. Where are "
                                 "brackets missing?"),
        Mistake(_all_at_once, "you moved all entries together: that is the sum of all slopes. How do you move one?"))),
    "02.4": Exercise(_pair_backward, lambda: [(Z, LABELS)], ("dz",), (
        Mistake(_not_divided, "too large by the number of images. L is their mean: where is its 1/B?"),
        Mistake(_wrong_way, "the sign is wrong. If the label's logit grows, does the loss grow or fall?"),
        Mistake(_softmax_only, "this is p / B. What becomes of the second term, - z at the label?"),
        Mistake(lambda z, labels: _softmax_only(z, labels) + np.eye(z.shape[1])[labels] / len(z),
                "you added the 1 at the label. Look at the sign of the second term."),
        Mistake(_label_taken_as_a_number, "you subtracted the label's number itself. [k = label] is 1 or 0."),
        Mistake(_at_the_label_only, "right at the label; elsewhere you give 0. What does the first term do there?"),
        Mistake(_logarithm_alone, "this is the gradient of the logarithm alone, by p. L depends on z."),
        Mistake(_over_the_batch, "your probabilities are 1 in sum over the batch. Over which axis should they be?"),
        Mistake(lambda z, labels: _whole_columns(z, labels) * len(z),
                "p[:, labels] takes these columns of every row; and the 1/B of the mean is missing."),
        Mistake(_over_everything, "your probabilities are 1 in sum over the whole batch. Over which axis "
                                  "should they be?"),
        Mistake(_whole_columns, "p[:, labels] takes these columns of every row. How do you take one entry of each "
                                "row?"))),
}
