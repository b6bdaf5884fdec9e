"""max_pool and avg_pool against explicit loops; what they share with the other pairs is in test_layers.py."""

import math
import re

import numpy
import pytest

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.layers import avg_pool_backward, avg_pool_forward, max_pool_backward, max_pool_forward

POOLS = {"max": (max_pool_forward, max_pool_backward), "avg": (avg_pool_forward, avg_pool_backward)}
both = pytest.mark.parametrize("name", POOLS)
# (B, H, W, C), size: sides that divide, that leave one row, one column, more than one; one window and less (ceil only)
FITTING = [((2, 3, 5, 2), 1), ((2, 4, 6, 3), 2), ((2, 5, 6, 3), 2), ((1, 4, 7, 2), 2), ((2, 5, 7, 1), 2),
           ((2, 6, 9, 2), 3), ((2, 7, 8, 2), 3), ((1, 3, 4, 5), 3), ((1, 16, 34, 1), 16), ((2, 17, 36, 1), 17)]
SMALL = [((2, 1, 3, 2), 2), ((2, 3, 1, 2), 2), ((1, 2, 4, 3), 3), ((2, 1, 1, 2), 4)]
CASES = [(*case, ceil) for case in FITTING for ceil in (False, True)] + [(*case, True) for case in SMALL]
cases = pytest.mark.parametrize("shape, size, ceil", CASES)


def windows(x_shape, size, ceil):
    """Each output place h, w with its pixels, row by row."""
    _, H, W, _ = x_shape
    up = math.ceil if ceil else math.floor
    H_y, W_y = up(H / size), up(W / size)
    return (H_y, W_y), {(h, w): [(n, m) for n in range(h * size, min(h * size + size, H))
                                 for m in range(w * size, min(w * size + size, W))]
                        for h in range(H_y) for w in range(W_y)}


def by_loops(name, x, dy_of, size, ceil):
    """y and dx; dy = dy_of(y)."""
    (H_y, W_y), pixels = windows(x.shape, size, ceil)
    y, dx = numpy.zeros((x.shape[0], H_y, W_y, x.shape[3])), numpy.zeros(x.shape)
    places = [(b, c) for b in range(x.shape[0]) for c in range(x.shape[3])]
    for b, c in places:
        for (h, w), window in pixels.items():
            values = [x[b, n, m, c] for n, m in window]
            y[b, h, w, c] = max(values) if name == "max" else sum(values) / len(values)
    dy = dy_of(y)
    for b, c in places:
        for (h, w), window in pixels.items():
            values = [x[b, n, m, c] for n, m in window]
            first = values.index(max(values))
            for k, (n, m) in enumerate(window):
                dx[b, n, m, c] = dy[b, h, w, c] * ((k == first) if name == "max" else 1 / len(window))
    return y, dx


@both
@cases
@pytest.mark.parametrize("ties", [False, True], ids=["generic", "ties"])
def test_by_loops(xp, rng, name, shape, size, ceil, ties):
    forward, backward = POOLS[name]
    x = rng.integers(0, 3, size=shape).astype("float64") if ties else rng.normal(size=shape)
    y, cache = forward(xp.asarray(x), size=size, ceil=ceil)
    dx = backward(xp.asarray(numpy.cos(to_host(y))), cache)
    for a, loops in zip((y, dx), by_loops(name, x, numpy.cos, size, ceil), strict=True):
        numpy.testing.assert_allclose(to_host(a), loops, rtol=1e-13, atol=1e-13)


@both
@cases
def test_gradients(xp, rng, name, shape, size, ceil):
    x = xp.asarray(rng.normal(size=shape))
    assert check_gradients(*POOLS[name], (x,), size=size, ceil=ceil, entries=20) <= 1e-7


@cases
def test_avg_pool_adjoint(xp, rng, shape, size, ceil):
    x = xp.asarray(rng.normal(size=shape))
    assert adjoint_error(avg_pool_forward, avg_pool_backward, (x,), size=size, ceil=ceil) <= 1e-12


@both
def test_floor_and_2_by_default(xp, rng, name):
    forward, _ = POOLS[name]
    x = xp.asarray(rng.normal(size=(2, 5, 7, 3)))
    assert forward(x)[0].shape == (2, 2, 3, 3)
    numpy.testing.assert_array_equal(to_host(forward(x)[0]), to_host(forward(x, size=2, ceil=False)[0]))


@both
def test_dropped_pixels_get_no_gradient(xp, name):
    forward, backward = POOLS[name]
    y, cache = forward(xp.ones((2, 5, 7, 3)), size=3)
    dx = to_host(backward(xp.ones(y.shape), cache))
    assert not dx[:, 3:].any() and not dx[:, :, 6:].any()
    assert dx.sum() == pytest.approx(y.size, rel=1e-13)


@pytest.mark.parametrize("window, first", [
    ([[7, 7], [7, 7]], (0, 0)), ([[1, 7], [7, 7]], (0, 1)), ([[1, 2], [7, 7]], (1, 0)), ([[1, 7], [7, 0]], (0, 1)),
    ([[-math.inf] * 2] * 2, (0, 0)), ([[0.0, -0.0], [0.0, -0.0]], (0, 0)),
])
def test_a_tie_goes_to_the_first(xp, window, first):
    x = xp.asarray(numpy.array(window, dtype="float64").reshape(1, 2, 2, 1))
    _, cache = max_pool_forward(x)
    dx = to_host(max_pool_backward(xp.full((1, 1, 1, 1), 3.0), cache))[0, :, :, 0]
    expected = numpy.zeros((2, 2))
    expected[first] = 3
    numpy.testing.assert_array_equal(dx, expected)


@both
@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 4), (4, 5), (4, 6)])
def test_nan_stays_in_its_window(xp, rng, name, place):
    forward, backward = POOLS[name]
    x = rng.normal(size=(2, 5, 7, 3))
    x[(1, *place, 2)] = math.nan
    y, cache = forward(xp.asarray(x), ceil=True)
    lost = numpy.zeros(y.shape, dtype=bool)
    lost[1, place[0] // 2, place[1] // 2, 2] = True
    numpy.testing.assert_array_equal(numpy.isnan(to_host(y)), lost)
    # the gradient of that window is finite: max-pooling gives it to the largest pixel before the NaN, or to the first
    assert numpy.isfinite(to_host(backward(xp.ones(y.shape), cache))).all()


@both
@pytest.mark.parametrize("shape, options, sentence", [
    ((2, 5, 6), {}, "x must have shape (B, H, W, C), not (2, 5, 6)"),
    ((2, 2, 6, 3), {"size": 3}, "x must be at least one window of 3x3, not 2x6"),
    ((2, 6, 2, 3), {"size": 3}, "x must be at least one window of 3x3, not 6x2"),
    ((2, 0, 6, 3), {"ceil": True}, "x must be at least one window of 2x2, not 0x6"),
    ((2, 6, 0, 3), {"ceil": True}, "x must be at least one window of 2x2, not 6x0"),
    *[((2, 5, 6, 3), {"size": size}, f"size must be a positive whole number, not {size!r}")
      for size in (0, -2, 2.0, "2", None, True, (2, 2))],
])
def test_sentences(xp, name, shape, options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        POOLS[name][0](xp.zeros(shape), **options)


# y is (2, 3, 4, 3)
@both
@pytest.mark.parametrize("shape", [(3, 4, 3), (1, 3, 4, 3), (2, 2, 4, 3), (2, 1, 4, 3), (2, 3, 1, 3), (2, 3, 4, 1),
                                   (2, 4, 3, 3)])
def test_backward_refuses_another_shape(xp, name, shape):
    forward, backward = POOLS[name]
    y, cache = forward(xp.ones((2, 5, 7, 3)), ceil=True)
    assert y.shape == (2, 3, 4, 3)
    with pytest.raises(ValueError, match="must have shape"):
        backward(xp.zeros(shape), cache)


@pytest.mark.parametrize("name", POOLS)
def test_a_narrow_integer_is_a_whole_number(xp, rng, name):
    """The side does not fit into it."""
    forward, backward = POOLS[name]
    x = xp.asarray(rng.normal(size=(1, 300, 3, 2)))
    (y, cache), (narrow_y, narrow_cache) = forward(x, size=2), forward(x, size=numpy.uint8(2))
    for a, b in ((y, narrow_y), (backward(y, cache), backward(y, narrow_cache))):
        numpy.testing.assert_array_equal(to_host(a), to_host(b))
