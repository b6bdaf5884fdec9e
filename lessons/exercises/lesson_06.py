"""Lesson 6, the gradient of the image."""

import numpy as np
from checks import Exercise, Mistake
from one_image import sample_at, sample_at_backward

from stn_scratch.backend import scatter_add

INDEX, VALUES = np.array([4, 1, 4, 0, 4, 1]), np.array([1.0, 2.0, 3.0, -1.0, 0.5, 4.0])


def _scatter(index, values, size):
    out = np.zeros(size)
    scatter_add(out, index, values)
    return out


def _overwritten(index, values, size):
    out = np.zeros(size)
    out[index] += values
    return out


def _averaged(index, values, size):
    return _scatter(index, values, size) / np.maximum(np.bincount(index, minlength=size), 1)


def _counted(index, values, size):
    return np.bincount(index, minlength=size).astype(float)


def _one_too_short(index, values, size):
    return np.bincount(index, values)


def _place_for_value(index, values, size):
    return _scatter(index, values[index], size)


def _dU(dV, x_p, y_p, size):
    _, cache = sample_at(np.zeros(size), x_p, y_p)
    return sample_at_backward(dV, cache)[0]


def _taps(x_p, y_p):
    x_0, y_0 = np.floor(x_p).astype(int), np.floor(y_p).astype(int)
    for n in (y_0, y_0 + 1):
        for m in (x_0, x_0 + 1):
            yield n, m, (1 - np.abs(y_p - n)) * (1 - np.abs(x_p - m))


def _last_one_wins(dV, x_p, y_p, size):
    padded = np.zeros((size[0] + 4, size[1] + 4))
    for n, m, weight in _taps(x_p, y_p):
        padded[n + 2, m + 2] += weight * dV
    return padded[2:-2, 2:-2]


def _without_weights(dV, x_p, y_p, size):
    padded = np.zeros((size[0] + 4, size[1] + 4))
    for n, m, weight in _taps(x_p, y_p):
        np.add.at(padded, (n + 2, m + 2), dV * (weight != 0))
    return padded[2:-2, 2:-2]


def _whole_share(dV, x_p, y_p, size):
    """As above, a tap of weight 0 included."""
    padded = np.zeros((size[0] + 4, size[1] + 4))
    for n, m, _ in _taps(x_p, y_p):
        np.add.at(padded, (n + 2, m + 2), dV)
    return padded[2:-2, 2:-2]


def _weights_exchanged(dV, x_p, y_p, size):
    x_0, y_0 = np.floor(x_p), np.floor(y_p)
    return _dU(dV, 2 * x_0 + 1 - x_p, 2 * y_0 + 1 - y_p, size)


def _inside_only(dV, x_p, y_p, size):
    H, W = size
    return _dU(dV * ((x_p >= 0) & (x_p <= W - 1) & (y_p >= 0) & (y_p <= H - 1)), x_p, y_p, size)


def _rows_of_the_wrong_length(dV, x_p, y_p, size):
    """Index n H + m into the flattened image."""
    H, W = size
    dU = np.zeros(H * W)
    for n, m, weight in _taps(x_p, y_p):
        inside = (n >= 0) & (n < H) & (m >= 0) & (m < W)
        np.add.at(dU, (n * H + m)[inside], (weight * dV)[inside])
    return dU.reshape(size)


def _clipped_weights(dV, x_p, y_p, size):
    H, W = size
    x_0, y_0 = np.floor(x_p).astype(int), np.floor(y_p).astype(int)
    x_1, y_1 = np.clip(x_0 + 1, 0, W - 1), np.clip(y_0 + 1, 0, H - 1)
    x_0, y_0 = np.clip(x_0, 0, W - 1), np.clip(y_0, 0, H - 1)
    dU = np.zeros(size)
    for n, weight_y in ((y_0, y_1 - y_p), (y_1, y_p - y_0)):
        for m, weight_x in ((x_0, x_1 - x_p), (x_1, x_p - x_0)):
            np.add.at(dU, (n, m), weight_y * weight_x * dV)
    return dU


def _moved_to_the_edge(dV, x_p, y_p, size):
    dU = np.zeros(size)
    for n, m, weight in _taps(x_p, y_p):
        np.add.at(dU, (np.clip(n, 0, size[0] - 1), np.clip(m, 0, size[1] - 1)), weight * dV)
    return dU


def _around_the_edge(dV, x_p, y_p, size):
    dU = np.zeros(size)
    for n, m, weight in _taps(x_p, y_p):
        np.add.at(dU, (n % size[0], m % size[1]), weight * dV)
    return dU


X_P = np.array([0.25, 3.5, -0.5, 0.75, 4.25, 2.0, 0.25, 4.0])
Y_P = np.array([1.5, 0.25, 0.5, 1.25, 2.5, 1.0, -0.75, 0.5])
DV = np.array([1.0, -2.0, 0.5, 3.0, 1.5, -1.0, 2.0, 0.8])


def _gap(A, A_T, U, dV):
    return np.abs((A(U) * dV).sum() - (U * A_T(dV)).sum())


def _without_the_adjoint(A, A_T, U, dV):
    return np.abs((A(U) * dV).sum() - (U * A(U).sum()).sum())


def _not_summed(A, A_T, U, dV):
    return np.abs(A(U).sum() * dV.sum() - U.sum() * A_T(dV).sum())


def _pairs():
    rng = np.random.default_rng(6)
    S, wrong = rng.normal(size=(2, 4, 6))
    U, dV = rng.normal(size=6), rng.normal(size=4)
    return [(S.__matmul__, S.T.__matmul__, U, dV), (S.__matmul__, wrong.T.__matmul__, U, dV),
            (S.__matmul__, wrong.T.__matmul__, -U, dV)]


EXERCISES = {
    "06.1": Exercise(_scatter, lambda: [(INDEX, VALUES, 7)], ("out",), (
        Mistake(_overwritten, "where an index comes twice only its last value is there. What does NumPy do with "
                              "`out[index] += values` if an index repeats?"),
        Mistake(_averaged, "you took the mean of the values that meet. The derivative of a sum is a sum."),
        Mistake(_one_too_short, "nearly: np.bincount ends with the largest index that comes. What is minlength for?"),
        Mistake(lambda index, values, size: values[index],
                "values[index] reads at the index: that is the way forward, a gather. This is the way back."),
        Mistake(_place_for_value, "you add values[i] for each i of index: value and index stand at the same place of "
                                  "their arrays."),
        Mistake(_counted, "you counted how often each index comes. Where are the values?"))),
    "06.2": Exercise(_dU, lambda: [(DV, X_P, Y_P, (3, 5))], ("dU",), (
        Mistake(_last_one_wins, "right, but for the pixels that two samples share: there one of them is lost."),
        Mistake(_without_weights, "each tap gets the whole dV_i. How much of V_i came from that tap?"),
        Mistake(_whole_share, "each tap gets the whole dV_i. How much of V_i came from that tap?"),
        Mistake(_weights_exchanged, "each tap has its neighbour's weight: the nearer pixel gave more, and receives "
                                    "more."),
        Mistake(_inside_only, "a *point* outside may still have taps inside, and they receive their share. Mask each "
                              "tap, not the point."),
        Mistake(_rows_of_the_wrong_length, "in the flattened image a row is W long: where does row n begin?"),
        Mistake(_clipped_weights, "right inside; at the edge you formed the weights from clipped indices. Form them "
                                  "from x_p and y_p first."),
        Mistake(_moved_to_the_edge, "what belongs to taps outside the image went to its edge pixels. Did those pixels "
                                    "add to V_i, on the way forward?"),
        Mistake(_around_the_edge, "what left the image on one side came back on the other: a negative index counts "
                                  "from the end."))),
    "06.3": Exercise(_gap, _pairs, ("gap",), (
        Mistake(_without_the_adjoint, "the gap does not depend on A_T at all."),
        Mistake(lambda A, A_T, U, dV: (A(U) * dV).sum() - (U * A_T(dV)).sum(),
                "right but for the sign, where yours is negative: take the absolute value."),
        Mistake(lambda A, A_T, U, dV: (U * A_T(dV)).sum() - (A(U) * dV).sum(),
                "right but for the sign, where yours is negative: take the absolute value."),
        Mistake(lambda A, A_T, U, dV: (A(U) * dV).sum() + (U * A_T(dV)).sum(),
                "you added the two sides. They must be equal: what is their difference?"),
        Mistake(lambda A, A_T, U, dV: (A(U) * dV).mean() - (U * A_T(dV)).mean(),
                "U and dV have different sizes, so the means differ where the sums agree."),
        Mistake(lambda A, A_T, U, dV: _gap(A, A_T, U, dV) ** 2, "that is the square of the difference."),
        Mistake(_not_summed, "multiply entry by entry first, then sum: <a, b> is not (sum of a) times (sum of b)."))),
}
