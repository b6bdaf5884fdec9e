"""The loss by hand, at its limits, and what it refuses; what it shares with the other pairs is in test_layers.py."""

import math

import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.layers import softmax_cross_entropy_backward, softmax_cross_entropy_forward


def loss_by_loops(logits, labels):
    logits = to_host(logits).tolist()
    e = [[math.exp(z) for z in row] for row in logits]
    p = [[z / sum(row) for z in row] for row in e]
    loss = -sum(math.log(p[b][k]) for b, k in enumerate(labels)) / len(labels)
    return loss, [[(p[b][j] - (j == k)) / len(labels) for j in range(len(p[b]))] for b, k in enumerate(labels)]


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("dloss", [1.0, 0.25, -3])
def test_loss_by_hand(xp, rng, dtype, dloss):
    logits, labels = xp.asarray(rng.normal(size=(4, 6))), [5, 0, 2, 2]
    loss, cache = softmax_cross_entropy_forward(logits, labels=xp.asarray(labels, dtype=dtype))
    expected, dlogits = loss_by_loops(logits, labels)
    numpy.testing.assert_allclose(float(loss), expected, rtol=1e-13)
    for scale in (dloss, xp.asarray(dloss, dtype="float64")):
        actual = to_host(softmax_cross_entropy_backward(scale, cache))
        numpy.testing.assert_allclose(actual, dloss * numpy.array(dlogits), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits(xp, dtype):
    logits = xp.asarray([[1e4, 0, -1e4], [-1e4, 0, 1e4], [1e4, 1e4, -1e4]], dtype=dtype)
    loss, cache = softmax_cross_entropy_forward(logits, labels=xp.asarray([0, 1, 1]))
    numpy.testing.assert_allclose(float(loss), (0 + 1e4 + math.log(2)) / 3, rtol=1e-6)
    expected = numpy.array([[0, 0, 0], [0, -1, 1], [0.5, -0.5, 0]]) / 3
    numpy.testing.assert_allclose(to_host(softmax_cross_entropy_backward(1, cache)), expected, rtol=1e-6, atol=1e-30)


def test_loss_of_nan_is_nan(xp):
    loss, _ = softmax_cross_entropy_forward(xp.asarray([[0.0, math.nan], [1.0, 2.0]]), labels=xp.asarray([0, 1]))
    assert math.isnan(float(loss))


@pytest.mark.parametrize("labels, kind, sentence", [
    ([0, 1], TypeError, "labels must be a NumPy or CuPy array, not list"),
    (numpy.array([0.0, 1.0]), TypeError, "labels must be integers, not float64"),
    (numpy.array([0, 1, 2]), ValueError, "labels must have shape (2,), one a row of logits, not (3,)"),
    (numpy.array([[0, 1]]), ValueError, "labels must have shape (2,), one a row of logits, not (1, 2)"),
    (numpy.array([0, 3]), ValueError, "labels must lie in 0..2, not 0..3"),
    (numpy.array([-1, 2]), ValueError, "labels must lie in 0..2, not -1..2"),
    (strict.asarray([0, 1]), TypeError,
     "labels and logits must be on the same device, not one on the host and one on the GPU"),
])
def test_wrong_labels(labels, kind, sentence):
    with raises(kind, sentence):
        softmax_cross_entropy_forward(numpy.zeros((2, 3)), labels=labels)


def test_wrong_logits(xp):
    with raises(ValueError, "logits must have shape (B, classes), not (2, 3, 1)"):
        softmax_cross_entropy_forward(xp.zeros((2, 3, 1)), labels=xp.asarray([0, 1]))
    with raises(ValueError, "logits must have at least one row: the mean loss of an empty batch does not exist"):
        softmax_cross_entropy_forward(xp.zeros((0, 3)), labels=xp.zeros(0, dtype="int64"))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3)])
def test_the_gradient_of_a_mean_is_one_number(xp, shape):
    _, cache = softmax_cross_entropy_forward(xp.zeros((2, 3)), labels=xp.asarray([0, 1]))
    with raises(ValueError, f"dloss must be a number or a 0-d array, one for the whole batch, not of shape {shape}"):
        softmax_cross_entropy_backward(xp.ones(shape), cache)
