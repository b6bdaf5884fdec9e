"""Convolutions to test, and what they are given."""

import numpy
import pytest

from stn_scratch.backend import to_host

# x, kh kw, F, stride, padding
CASES = {
    "plain": ((2, 6, 7, 3), (3, 2), 4, 1, 0),
    "stride 2, a row and a column left over": ((2, 6, 7, 3), (3, 2), 4, 2, 0),
    "stride 3, two rows left over": ((1, 7, 9, 2), (2, 3), 3, 3, 0),
    "padding 1": ((2, 4, 5, 3), (3, 2), 2, 1, 1),
    "padding 2, stride 2": ((2, 4, 7, 2), (2, 5), 3, 2, 2),
    "padding 2, stride 3, left over": ((1, 5, 6, 3), (3, 2), 2, 3, 2),
    "stride above the filter": ((2, 7, 8, 2), (1, 2), 3, 3, 0),
    "1x1": ((2, 3, 4, 3), (1, 1), 5, 1, 0),
    "1x1, stride 2": ((2, 3, 4, 3), (1, 1), 5, 2, 0),
    "one channel": ((3, 5, 4, 1), (2, 3), 2, 1, 0),
    "one filter": ((2, 5, 4, 3), (2, 3), 1, 1, 1),
    "one channel, wide": ((3, 5, 12, 1), (2, 5), 2, 1, 0),
    "three channels, padding": ((2, 5, 6, 3), (3, 3), 4, 1, 1),
    "many channels": ((3, 5, 6, 9), (3, 2), 4, 1, 0),
    "many channels, stride 2, padding 1, left over": ((3, 5, 8, 9), (2, 3), 4, 2, 1),
    "as large as the image": ((2, 3, 4, 2), (3, 4), 3, 1, 0),
    "larger than the image, not than the padded one": ((2, 2, 3, 2), (4, 5), 3, 1, 1),
}
cases = pytest.mark.parametrize("case", CASES)


def arguments(case, xp, dtype="float64"):
    rng = numpy.random.default_rng(2)
    x_shape, kernel, F, stride, padding = CASES[case]
    args = [rng.normal(size=shape) for shape in (x_shape, (*kernel, x_shape[3], F), (F,))]
    return [xp.asarray(a, dtype=dtype) for a in args], {"stride": stride, "padding": padding}


def without_dx(backward, y, cache):
    """Assert that the other gradients are the same, to the last bit, where dx is not asked for."""
    _, *expected = backward(y, cache)
    dx, *grads = backward(y, cache, need_dx=False)
    assert dx is None
    for a, b in zip(grads, expected, strict=True):
        assert a.dtype == "float32"
        numpy.testing.assert_array_equal(to_host(a), to_host(b))
