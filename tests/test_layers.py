"""What all pairs of layers/ share. What each computes is in the tests of its module: dense, convolution, ..."""


import numpy
import pytest
from sentences import raises

from stn_scratch import layers
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients

# name -> the shapes of its differentiable arguments, options; the batch is always the first axis of the first
PAIRS = {
    "dense": ([(5, 4), (4, 3), (3,)], {}),
    "conv2d": ([(2, 6, 7, 3), (3, 2, 3, 4), (4,)], {"stride": 2, "padding": 1}),
    "conv2d_max_pool": ([(2, 6, 7, 3), (3, 2, 3, 4), (4,)], {"padding": 1, "ceil": True}),
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
