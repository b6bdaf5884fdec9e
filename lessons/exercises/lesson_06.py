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


X_P, Y_P = np.array([0.25, 3.5, -0.5, 0.75, 4.25, 2.0, 0.25]), np.array([1.5, 0.25, 0.5, 1.25, 2.5, 1.0, -0.75])
DV = np.array([1.0, -2.0, 0.5, 3.0, 1.5, -1.0, 2.0])


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
    return [(S.__matmul__, S.T.__matmul__, U, dV), (S.__matmul__, wrong.T.__matmul__, U, dV)]


EXERCISES = {
    "06.1": Exercise(_scatter, lambda: [(INDEX, VALUES, 6)], ("out",), (
        Mistake(_overwritten, "where an index comes twice only its last value is there. What does NumPy do with "
                              "`out[index] += values` if an index repeats?"),
        Mistake(_averaged, "you took the mean of the values that meet. The derivative of a sum is a sum."),
        Mistake(_counted, "you counted how often each index comes. Where are the values?"))),
    "06.2": Exercise(_dU, lambda: [(DV, X_P, Y_P, (3, 5))], ("dU",), (
        Mistake(_last_one_wins, "right, but for the pixels that two samples share: there one of them is lost."),
        Mistake(_without_weights, "each tap gets the whole dV_i. How much of V_i came from that tap?"),
        Mistake(_moved_to_the_edge, "what belongs to taps outside the image went to its edge pixels. Did those pixels "
                                    "add to V_i, on the way forward?"),
        Mistake(_around_the_edge, "what left the image on one side came back on the other: a negative index counts "
                                  "from the end."))),
    "06.3": Exercise(_gap, _pairs, ("gap",), (
        Mistake(_without_the_adjoint, "the gap does not depend on A_T at all."),
        Mistake(_not_summed, "multiply entry by entry first, then sum: <a, b> is not (sum of a) times (sum of b)."))),
}
