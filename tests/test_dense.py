"""dense and ReLU by hand; what they share with the other pairs is in test_layers.py."""

import math

import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.layers import dense_backward, dense_forward, relu_backward, relu_forward


@pytest.fixture
def args(xp, rng):
    """x, W, b."""
    return [xp.asarray(rng.normal(size=shape)) for shape in [(5, 4), (4, 3), (3,)]]


# Dense.

def test_dense_by_hand(args):
    y, cache = dense_forward(*args)
    dy = y[:, ::-1].copy()
    dx, dW, db = dense_backward(dy, cache)
    x, W, b, g = map(to_host, (*args, dy))
    B, D, F = *x.shape, W.shape[1]
    expected = [
        (y, [[b[f] + sum(x[n, d] * W[d, f] for d in range(D)) for f in range(F)] for n in range(B)]),
        (dx, [[sum(g[n, f] * W[d, f] for f in range(F)) for d in range(D)] for n in range(B)]),
        (dW, [[sum(x[n, d] * g[n, f] for n in range(B)) for f in range(F)] for d in range(D)]),
        (db, [sum(g[n, f] for n in range(B)) for f in range(F)]),
    ]
    for a, loops in expected:
        numpy.testing.assert_allclose(to_host(a), loops, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("argument", [0, 1], ids=["x", "W"])
def test_dense_adjoint(args, argument):
    x, W, b = args
    assert adjoint_error(dense_forward, dense_backward, (x, W, 0 * b), argument=argument) <= 1e-12


def test_dense_without_dx(args):
    y, cache = dense_forward(*args)
    _, *expected = dense_backward(y, cache)
    dx, *grads = dense_backward(y, cache, need_dx=False)
    assert dx is None
    for a, b in zip(grads, expected, strict=True):
        numpy.testing.assert_array_equal(to_host(a), to_host(b))


@pytest.mark.parametrize("shapes, sentence", [
    ([(5, 2, 2), (4, 3), (3,)], "x must have shape (B, D), not (5, 2, 2)"),
    ([(5, 3), (4, 3), (3,)], "W must have shape (D, F) with D = 3, not (4, 3)"),
    ([(5, 4), (4, 3), (4,)], "b must have shape (F) with F = 3, not (4,)"),
])
def test_dense_shapes(xp, shapes, sentence):
    with raises(ValueError, sentence):
        dense_forward(*map(xp.zeros, shapes))


def test_dense_wants_one_dtype_and_one_device():
    x, W, b = numpy.zeros((5, 4)), numpy.zeros((4, 3)), numpy.zeros(3)
    with raises(TypeError, "W must have the dtype of x, float64, not float32"):
        dense_forward(x, W.astype("float32"), b)
    with raises(TypeError, "b and x must be on the same device, not one on the host and one on the GPU"):
        dense_forward(x, W, strict.asarray(b))


@pytest.mark.parametrize("shape, sentence", [
    ((5, 4), "W must have shape (D, F) with F = 4, not (4, 3)"),
    ((6, 3), "x must have shape (B, D) with B = 6, not (5, 4)"),
])
def test_dense_backward_checks_dy(xp, shape, sentence):
    _, cache = dense_forward(xp.zeros((5, 4)), xp.zeros((4, 3)), xp.zeros(3))
    with raises(ValueError, sentence):
        dense_backward(xp.zeros(shape), cache)


# ReLU.

@pytest.mark.parametrize("x, y, dx", [(2.0, 2.0, 3.0), (-2.0, 0.0, 0.0), (0.0, 0.0, 0.0), (-0.0, 0.0, 0.0),
                                      (math.inf, math.inf, 3.0), (-math.inf, 0.0, 0.0)])
def test_relu_by_hand(xp, x, y, dx):
    out, cache = relu_forward(xp.asarray([x]))
    assert to_host(out).tolist() == [y]
    assert to_host(relu_backward(xp.asarray([3.0]), cache)).tolist() == [dx]


def test_relu_keeps_nan_and_stops_its_gradient(xp):
    y, cache = relu_forward(xp.asarray([[math.nan, 1.0], [-1.0, math.nan]]))
    numpy.testing.assert_array_equal(to_host(y), [[math.nan, 1], [0, math.nan]])
    numpy.testing.assert_array_equal(to_host(relu_backward(xp.ones((2, 2)), cache)), [[0, 1], [0, 0]])


@pytest.mark.parametrize("side, slope", [("left", 0), ("right", 1)])
def test_relu_at_zero_has_the_left_slope(xp, side, slope):
    x = xp.zeros((2, 3))
    assert check_gradients(relu_forward, lambda dy, cache: dy * slope, (x,), side=side) <= 1e-7
    _, cache = relu_forward(x)
    assert not to_host(relu_backward(xp.ones((2, 3)), cache)).any()


def test_relu_backward_refuses_another_dtype(xp):
    _, cache = relu_forward(xp.ones((4, 3), dtype="float32"))
    with pytest.raises(TypeError, match="^y must have the dtype of dy, float64, not float32$"):
        relu_backward(xp.ones((4, 3)), cache)


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 5), (4, 3, 1)])
def test_relu_backward_refuses_another_shape(xp, shape):
    _, cache = relu_forward(xp.ones((4, 3, 5)))
    with pytest.raises(ValueError, match="must have shape"):
        relu_backward(xp.ones(shape), cache)
