"""paper.py, Eqs. (3)-(7), against the same sums as explicit loops; and what the printed slope does on the lattice."""

import itertools
import math
import re

import numpy
import pytest
from strict import strict

from stn_scratch import paper
from stn_scratch.backend import to_host

B, H, W, C, H_OUT, W_OUT = 2, 3, 5, 4, 6, 7

points = pytest.mark.parametrize("where", ["generic", "lattice", "halves"])


def tent(d):
    return max(0.0, 1 - abs(d))


def delta(a, b):
    return 1.0 if a == b else 0.0


def printed_slope(x, m):
    """The braces of Eq. (7)."""
    if abs(m - x) >= 1:
        return 0.0
    return 1.0 if m >= x else -1.0


def wavy(d):
    """A kernel that is not even, so that k(x - m) and k(m - x) differ; for numbers and arrays alike."""
    return 1 + d / 4 - d * d / 8


def inputs(xp, where):
    rng = numpy.random.default_rng(0)
    x_p, y_p = rng.uniform(-2, W + 1, (B, H_OUT, W_OUT)), rng.uniform(-2, H + 1, (B, H_OUT, W_OUT))
    if where != "generic":
        x_p, y_p = (numpy.floor(a) + {"lattice": 0, "halves": 0.5}[where] for a in (x_p, y_p))
    return tuple(map(xp.asarray, (rng.normal(size=(B, H, W, C)), x_p, y_p)))


def loops(U, x_p, y_p, k_x, k_y):
    """sum_n sum_m U_nm k_x(x, m) k_y(y, n), one number at a time."""
    U, x_p, y_p = map(to_host, (U, x_p, y_p))
    V = numpy.zeros((B, H_OUT, W_OUT, C))
    for b, h, w, c in numpy.ndindex(V.shape):
        for n, m in itertools.product(range(H), range(W)):
            V[b, h, w, c] += U[b, n, m, c] * k_x(x_p[b, h, w], m) * k_y(y_p[b, h, w], n)
    return V


def assert_same(actual, expected):
    assert actual.dtype == "float64"
    numpy.testing.assert_allclose(to_host(actual), expected, rtol=0, atol=1e-12)


@points
@pytest.mark.parametrize("function, k_x, k_y", [
    (lambda U, x, y: paper.sample_with_kernel(U, x, y, wavy),
     lambda x, m: wavy(x - m), lambda y, n: wavy(y - n)),
    (paper.sample_integer,
     lambda x, m: delta(math.floor(x + 0.5), m), lambda y, n: delta(math.floor(y + 0.5), n)),
    (paper.sample, lambda x, m: tent(x - m), lambda y, n: tent(y - n)),
    (paper.d_sample_dx, printed_slope, lambda y, n: tent(y - n)),
    (paper.d_sample_dy, lambda x, m: tent(x - m), printed_slope),
], ids=["Eq. 3", "Eq. 4", "Eq. 5", "Eq. 7 in x", "Eq. 7 in y"])
def test_sums(xp, function, k_x, k_y, where):
    args = inputs(xp, where)
    assert_same(function(*args), loops(*args, k_x, k_y))


@points
def test_eq_6(xp, where):
    U, x_p, y_p = inputs(xp, where)
    expected = numpy.zeros((B, H_OUT, W_OUT, H, W))
    x, y = to_host(x_p), to_host(y_p)
    for b, h, w, n, m in numpy.ndindex(expected.shape):
        expected[b, h, w, n, m] = tent(x[b, h, w] - m) * tent(y[b, h, w] - n)
    weights = paper.d_sample_dU(U, x_p, y_p)
    assert_same(weights, expected)
    # V is linear in U, and these are its coefficients
    assert_same(paper.sample(U, x_p, y_p), numpy.einsum("bhwnm,bnmc->bhwc", expected, to_host(U)))


@pytest.mark.parametrize("d, weight", [(0, 1), (0.25, 0.75), (-0.25, 0.75), (1, 0), (-1, 0), (1.5, 0), (-7, 0)])
def test_tent(xp, d, weight):
    assert float(paper.tent(xp.asarray([float(d)]))[0]) == weight


@pytest.mark.parametrize("function", [paper.d_sample_dx, paper.d_sample_dy])
def test_printed_slope_of_a_constant_image(xp, function):
    """At an integer, one of three taps is left: 5 where it should be 0. Between pixels, +5 and -5 cancel."""
    constant = xp.full((1, H, W, 2), 5.0)
    m, n = numpy.meshgrid(numpy.arange(1.0, W - 1), numpy.arange(1.0, H - 1))
    for shift, expected in [(0, 5), (0.25, 0), (0.75, 0)]:
        slope = function(constant, xp.asarray(m[None] + shift), xp.asarray(n[None] + shift))
        assert (to_host(slope) == expected).all()


def test_printed_slope_at_an_integer_is_the_pixel_itself(xp):
    U, _, _ = inputs(xp, "generic")
    m, n = (xp.asarray([a] * B) for a in numpy.meshgrid(numpy.arange(float(W)), numpy.arange(float(H))))
    numpy.testing.assert_array_equal(to_host(paper.d_sample_dx(U, m, n)), to_host(U))
    numpy.testing.assert_array_equal(to_host(paper.d_sample_dy(U, m, n)), to_host(U))


def test_printed_slope_between_pixels_is_the_difference(xp):
    U, _, _ = inputs(xp, "generic")
    x_p, y_p = xp.asarray([[[2.25]], [[0.5]]]), xp.asarray([[[1.0]], [[2.0]]])
    u = to_host(U)
    expected = [u[0, 1, 3] - u[0, 1, 2], u[1, 2, 1] - u[1, 2, 0]]
    numpy.testing.assert_allclose(to_host(paper.d_sample_dx(U, x_p, y_p))[:, 0, 0], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("x, m", [
    (-0.5, 0), (0.49, 0), (0.5, 1), (1.5, 2), (2.5, 3), (W - 0.51, W - 1), (-0.51, None), (W - 0.5, None)])
def test_integer_kernel_rounds_a_half_up(xp, x, m):
    row = xp.asarray(numpy.arange(1.0, W + 1).reshape(1, 1, W, 1))
    V = paper.sample_integer(row, xp.asarray([[[x]]]), xp.zeros((1, 1, 1)))
    assert float(V[0, 0, 0, 0]) == (0 if m is None else m + 1)


@pytest.mark.parametrize("function", [
    paper.sample, paper.sample_integer, paper.d_sample_dx, paper.d_sample_dy, paper.d_sample_dU])
@pytest.mark.parametrize("x, y", [(-1, 1), (W, 1), (2, -1), (2, H), (-9.3, 1.2), (2.2, 40)])
def test_outside_sums_to_nothing(xp, function, x, y):
    U, _, _ = inputs(xp, "generic")
    result = function(U, xp.full((B, 1, 1), float(x)), xp.full((B, 1, 1), float(y)))
    assert (to_host(result) == 0).all()


def test_dtype_in_dtype_out(xp):
    args = tuple(xp.asarray(to_host(a), dtype="float32") for a in inputs(xp, "generic"))
    for f in (paper.sample, paper.sample_integer, paper.d_sample_dU, paper.d_sample_dx, paper.d_sample_dy):
        assert f(*args).dtype == "float32"


@pytest.mark.parametrize("function", [
    paper.sample, paper.sample_integer, paper.d_sample_dx, paper.d_sample_dy, paper.d_sample_dU])
@pytest.mark.parametrize("change, kind, sentence", [
    ({"U": numpy.zeros((B, H, W))}, ValueError, "U must have shape (B, H, W, C), not (2, 3, 5)"),
    ({"x_p": numpy.zeros((3, H_OUT, W_OUT))}, ValueError,
     "x_p must have shape (B, H', W') with B = 2, not (3, 6, 7)"),
    ({"y_p": numpy.zeros((B, H_OUT, 1))}, ValueError, "y_p must have shape (B, H', W') with W' = 7, not (2, 6, 1)"),
    ({"U": numpy.zeros((B, H, W, C), dtype="int64")}, TypeError, "U must be float32 or float64, not int64"),
    ({"y_p": numpy.zeros((B, H_OUT, W_OUT), dtype="float32")}, TypeError,
     "y_p must have the dtype of U, float64, not float32"),
    ({"x_p": strict.zeros((B, H_OUT, W_OUT))}, TypeError,
     "x_p and U must be on the same device, not one on the host and one on the GPU"),
])
def test_errors(function, change, kind, sentence):
    U, x_p, y_p = inputs(numpy, "generic")
    args = {"U": U, "x_p": x_p, "y_p": y_p} | change
    with pytest.raises(kind, match=f"^{re.escape(sentence)}$"):
        function(*args.values())


@pytest.mark.parametrize("function", [paper.sample_integer, paper.sample])
@pytest.mark.parametrize("x_p", [[[[0.5]]], None], ids=repr)
def test_coordinates_that_are_no_array(function, x_p):
    with pytest.raises(TypeError, match=f"^x_p must be a NumPy or CuPy array, not {type(x_p).__name__}$"):
        function(numpy.zeros((1, H, W, C)), x_p, numpy.zeros((1, 1, 1)))
