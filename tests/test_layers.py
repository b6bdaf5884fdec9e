"""Every pair of layers.py: what all share, then dense, ReLU, the loss. Convolution and pooling have their own files."""

import math
import re

import numpy
import pytest
from strict import strict

from stn_scratch import layers
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.layers import (
    dense_backward,
    dense_forward,
    relu_backward,
    relu_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

# name -> the shapes of its differentiable arguments, options; the batch is always the first axis of the first
PAIRS = {
    "dense": ([(5, 4), (4, 3), (3,)], {}),
    "conv2d": ([(2, 6, 7, 3), (3, 2, 3, 4), (4,)], {"stride": 2, "padding": 1}),
    "relu": ([(4, 3, 5)], {}),
    "max_pool": ([(2, 5, 6, 3)], {"size": 2, "ceil": True}),
    "avg_pool": ([(2, 5, 7, 3)], {"size": 3, "ceil": True}),
    "softmax_cross_entropy": ([(4, 6)], {"labels": [5, 0, 2, 2]}),
}
every_pair = pytest.mark.parametrize("name", PAIRS)
every_pair_but_the_loss = pytest.mark.parametrize("name", [name for name in PAIRS if "softmax" not in name])


def pair(name, xp, dtype="float64", batch=None):
    """forward, backward, args, options of a pair."""
    rng = numpy.random.default_rng(1)
    shapes, options = PAIRS[name]
    if batch is not None:
        shapes = [(batch, *shapes[0][1:]), *shapes[1:]]
    if "labels" in options:
        options = {"labels": xp.asarray(options["labels"])}
    args = [xp.asarray(rng.normal(size=shape), dtype=dtype) for shape in shapes]
    return getattr(layers, f"{name}_forward"), getattr(layers, f"{name}_backward"), args, options


def run(forward, backward, args, options):
    """y, dy and the gradients as a tuple."""
    y, cache = forward(*args, **options)
    dy = y * 0 + 2 if y.ndim == 0 else y[:, ::-1].copy()
    grads = backward(dy, cache)
    return y, dy, grads if isinstance(grads, tuple) else (grads,)


def raises(kind, sentence):
    return pytest.raises(kind, match=f"^{re.escape(sentence)}$")


@every_pair
def test_gradients(xp, name):
    forward, backward, args, options = pair(name, xp)
    assert check_gradients(forward, backward, args, entries=300, **options) <= 1e-7


@every_pair
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_shapes_come_back(xp, name, dtype):
    forward, backward, args, options = pair(name, xp, dtype)
    y, _, grads = run(forward, backward, args, options)
    assert [a.dtype for a in (y, *grads)] == [dtype] * (1 + len(args))
    assert [g.shape for g in grads] == [a.shape for a in args]


@every_pair
def test_nothing_given_is_written_to(xp, name):
    forward, backward, args, options = pair(name, xp)
    y, cache = forward(*args, **options)
    dy = xp.asarray(numpy.ones(y.shape))
    given = [a for a in (*args, dy, *options.values()) if hasattr(a, "dtype")]
    before = [to_host(a).copy() for a in given]
    for a in given:
        if isinstance(a, numpy.ndarray):
            a.flags.writeable = False
    _, cache = forward(*args, **options)
    backward(dy, cache)
    for a, b in zip(given, before, strict=True):
        numpy.testing.assert_array_equal(to_host(a), b)


def _apart(xp, a):
    """`a` with every second element of a wider array between its own."""
    wide = xp.full((*a.shape[:-1], 2 * a.shape[-1]), float("nan"), dtype=a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def _swapped(xp, a):
    """`a` with its axes in memory the other way round."""
    return a.T.copy().T


@every_pair
@pytest.mark.parametrize("layout", [_apart, _swapped])
def test_memory_layout_does_not_matter(xp, name, layout):
    forward, backward, args, options = pair(name, xp)
    y, dy, grads = run(forward, backward, args, options)
    y_strided, cache = forward(*[layout(xp, a) for a in args], **options)
    grads_strided = backward(layout(xp, dy) if dy.ndim else dy, cache)
    grads_strided = grads_strided if isinstance(grads_strided, tuple) else (grads_strided,)
    for a, b in zip((y, *grads), (y_strided, *grads_strided), strict=True):
        numpy.testing.assert_allclose(to_host(xp.asarray(b)), to_host(xp.asarray(a)), rtol=1e-13, atol=1e-13)


@every_pair_but_the_loss
def test_empty_batch(xp, name):
    forward, backward, args, options = pair(name, xp, batch=0)
    y, _, (dx, *others) = run(forward, backward, args, options)
    assert y.shape[0] == 0 and y.shape[1:] == forward(*pair(name, xp)[2], **options)[0].shape[1:]
    assert dx.shape == args[0].shape
    for d, a in zip(others, args[1:], strict=True):
        numpy.testing.assert_array_equal(to_host(d), numpy.zeros(a.shape))


@every_pair
def test_sentences_of_all(name):
    forward, backward, args, options = pair(name, numpy)
    y, cache = forward(*args, **options)
    first = "logits" if "labels" in options else "x"
    with raises(TypeError, f"{first} must be a NumPy or CuPy array, not list"):
        forward(args[0].tolist(), *args[1:], **options)
    with raises(TypeError, f"{first} must be float32 or float64, not int64"):
        forward(args[0].astype("int64"), *args[1:], **options)
    if y.ndim:
        with raises(TypeError, "dy must be a NumPy or CuPy array, not list"):
            backward(y.tolist(), cache)


# Dense.

def test_dense_by_hand(xp):
    _, _, (x, W, b), _ = pair("dense", xp)
    y, dy, (dx, dW, db) = run(dense_forward, dense_backward, (x, W, b), {})
    x, W, b, g = map(to_host, (x, W, b, dy))
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
def test_dense_adjoint(xp, argument):
    _, _, (x, W, b), _ = pair("dense", xp)
    assert adjoint_error(dense_forward, dense_backward, (x, W, 0 * b), argument=argument) <= 1e-12


def test_dense_without_dx(xp):
    _, _, args, _ = pair("dense", xp)
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


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 5), (4, 3, 1)])
def test_relu_backward_refuses_another_shape(xp, shape):
    _, cache = relu_forward(xp.ones((4, 3, 5)))
    with pytest.raises(ValueError, match="must have shape"):
        relu_backward(xp.ones(shape), cache)


# The loss.

def loss_by_loops(logits, labels):
    logits = to_host(logits).tolist()
    e = [[math.exp(z) for z in row] for row in logits]
    p = [[z / sum(row) for z in row] for row in e]
    loss = -sum(math.log(p[b][k]) for b, k in enumerate(labels)) / len(labels)
    return loss, [[(p[b][j] - (j == k)) / len(labels) for j in range(len(p[b]))] for b, k in enumerate(labels)]


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("dloss", [1.0, 0.25, -3])
def test_loss_by_hand(xp, dtype, dloss):
    _, _, (logits,), _ = pair("softmax_cross_entropy", xp)
    labels = [5, 0, 2, 2]
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
