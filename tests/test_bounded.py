"""The bounded forms of theta: what they print, derivatives, bounds, that every p can be undone, errors, mutants."""

import math

import checks_of_pairs as checks
import numpy
import pytest
from sentences import raises

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import TRANSFORMATIONS, bounded, constrained
from stn_scratch.grids.constrained import attention_theta_forward, similarity_theta_forward

FORMS = ["scale", "shear", "bounded-attention", "bounded-similarity"]
forms = pytest.mark.parametrize("name", FORMS)
OPTIONS = {"scale": {"largest": 2.5}, "shear": {"largest": 0.3},
           "bounded-attention": {"largest": 2.5, "farthest": 0.7},
           "bounded-similarity": {"largest": 2.5, "farthest": 0.7, "aspect": 1.6}}


def matrix(name, p, *, largest=None, farthest=1.0, aspect=1.0):
    """The printed matrices, for one image."""
    if name == "shear":
        limit = largest or 1.0
        a, b = (limit * math.tanh(q / limit) for q in p)
        return [[1 + a * b, a, 0], [b, 1, 0]]
    L = largest or 4.0
    s = L ** math.tanh(p[0] / math.log(L))
    angle = p[1] if name == "bounded-similarity" else 0
    t_x, t_y = (0, 0) if name == "scale" else (farthest * math.tanh(q / farthest) for q in p[-2:])
    return [[s * math.cos(angle), -s * math.sin(angle) / aspect, t_x],
            [s * math.sin(angle) * aspect, s * math.cos(angle), t_y]]


def parameters(name, B=3, size=1.0):
    return numpy.random.default_rng(0).normal(size=(B, len(TRANSFORMATIONS[name].identity))) * size


def form(name):
    return [getattr(bounded, f"{name.replace('-', '_')}_theta_{way}") for way in ("forward", "backward")]


def printed(xp, name, **options):
    p = parameters(name)
    theta, _ = form(name)[0](xp.asarray(p), **options)
    checks.close(theta, [matrix(name, row, **options) for row in p], 1e-14)


def gradients(xp, name, **options):
    check_gradients(*form(name), (xp.asarray(parameters(name)),), **options)


@forms
def test_theta_is_the_printed_matrix(xp, name):
    printed(xp, name)
    printed(xp, name, **OPTIONS[name])


@forms
def test_gradients(xp, name):
    gradients(xp, name)
    gradients(xp, name, **OPTIONS[name])


@pytest.mark.parametrize("name, plain, q", [
    ("scale", attention_theta_forward, lambda p: [1 + p[0], 0, 0]),
    ("bounded-attention", attention_theta_forward, lambda p: [1 + p[0], *p[1:]]),
    ("bounded-similarity", similarity_theta_forward, lambda p: [1 + p[0], *p[1:]])])
def test_near_the_identity_it_is_the_plain_form(xp, name, plain, q):
    p = parameters(name, size=1e-5)
    theta, _ = plain(xp.asarray([q(row) for row in p]))
    checks.close(form(name)[0](xp.asarray(p))[0], to_host(theta), 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@forms
def test_every_p_can_be_undone_and_stays_near(xp, name, dtype):
    """Whatever the numbers: the bounds hold, and the determinant is that of the scale alone, or 1."""
    size = numpy.random.default_rng(1).choice([0.1, 1, 10, 1e5, 1e30, 1e38], (3000, 1))
    p = numpy.clip(parameters(name, B=3000), -3, 3) * size
    p[:3] = [[numpy.inf], [-numpy.inf], [float(numpy.finfo(dtype).max)]]
    theta = to_host(form(name)[0](xp.asarray(p, dtype=dtype))[0]).astype("float64")
    det = theta[:, 0, 0] * theta[:, 1, 1] - theta[:, 0, 1] * theta[:, 1, 0]
    rounding = 8 * numpy.finfo(dtype).eps
    assert (abs(theta[:, :, 2]) <= 1).all()
    if name == "shear":
        assert (abs(theta[:, [0, 1], [1, 0]]) <= 1).all() and (abs(det - 1) <= rounding).all()
    else:
        assert (det >= (1 - rounding) / 16).all() and (det <= 16 * (1 + rounding)).all()
        assert det.min() < 0.0626 and det.max() > 15.99  # the bounds are reached
        assert name == "scale" or (abs(theta[:, :, 2]).max(axis=0) == 1).all()


def test_p_and_minus_p_of_a_scale_undo_each_other(xp):
    p = parameters("scale", B=20, size=3)
    s, back = (to_host(form("scale")[0](xp.asarray(sign * p))[0])[:, 0, 0] for sign in (1, -1))
    checks.close(s * back, numpy.ones(20), 1e-14)


def test_directions_of_a_shear(xp):
    """a moves the lower rows of the window to the right, b its right columns down."""
    p = xp.asarray([[0.5, 0], [0, 0.5]])
    grid, _ = TRANSFORMATIONS["shear"].forward(p, size=(3, 3), align_corners=True)
    slope = math.tanh(0.5)
    x, y = numpy.meshgrid([-1.0, 0, 1], [-1.0, 0, 1])
    checks.close(grid, [[x + slope * y, y], [x, y + slope * x]], 1e-15)


@forms
def test_nan_is_no_use(xp, name):
    """An infinite theta, and no gradient; an infinite p is at the bound, with slope 0. The others do not notice."""
    forward, backward = form(name)
    p = parameters(name, B=4)
    expected, cache = forward(xp.asarray(p))
    dtheta = xp.asarray(numpy.random.default_rng(1).normal(size=(4, 2, 3)))
    d_expected = to_host(backward(dtheta, cache)).copy()
    p[1], p[2, 0] = numpy.nan, -numpy.inf
    theta, cache = forward(xp.asarray(p))
    dp = to_host(backward(dtheta, cache))
    assert (to_host(theta)[1] == numpy.inf).all() and (dp[1] == 0).all()
    assert numpy.isfinite(to_host(theta)[2]).all() and numpy.isfinite(dp[2]).all() and dp[2, 0] == 0
    checks.close(theta[::3], to_host(expected)[::3], 0)
    checks.close(dp[::3], d_expected[::3], 0)


# Errors.

@forms
def test_errors(xp, name):
    (forward, backward), n = form(name), len(TRANSFORMATIONS[name].identity)
    for p in (xp.zeros((2, n + 1)), xp.zeros(n)):
        with raises(ValueError, f"p must have shape (B, {n}), not {p.shape}"):
            forward(p)
    with raises(TypeError, "p must be a NumPy or CuPy array, not list"):
        forward([[0.0] * n])
    _, cache = forward(xp.zeros((2, n)))
    with raises(ValueError, "dtheta must have shape (B, 2, 3), not (2, 6)"):
        backward(xp.zeros((2, 6)), cache)
    with raises(ValueError, f"p must have shape (B, {n}) with B = 5, not (2, {n})"):
        backward(xp.zeros((5, 2, 3)), cache)


@pytest.mark.parametrize("name, option, least", [
    ("scale", "largest", 1), ("shear", "largest", 1e-15), ("bounded-attention", "largest", 1),
    ("bounded-attention", "farthest", 1e-15), ("bounded-similarity", "largest", 1),
    ("bounded-similarity", "farthest", 1e-15)])
def test_errors_of_the_bounds(xp, name, option, least):
    p = xp.zeros((2, len(TRANSFORMATIONS[name].identity)))
    for value in (1e16, least):
        with raises(ValueError, f"{option} must be more than {least} and at most 1e+15, not {value!r}"):
            form(name)[0](p, **{option: value})
    for value in (0, -2.0, math.nan, math.inf, None, True):
        with raises(ValueError, f"{option} must be a finite number, more than 0, not {value!r}"):
            form(name)[0](p, **{option: value})


@forms
def test_options_of_numpy_do_not_change_the_dtype(xp, name):
    p = xp.asarray(parameters(name), dtype="float32")
    theta, cache = form(name)[0](p, **{option: numpy.float64(value) for option, value in OPTIONS[name].items()})
    assert theta.dtype == form(name)[1](theta, cache).dtype == "float32"
    checks.close(theta, to_host(form(name)[0](p, **OPTIONS[name])[0]), 0)


# Mutants.

def unbounded(patch):
    """q = p. Consistent in itself."""
    patch.setattr(bounded, "_bounded", lambda p, limit: (p, 1 + 0 * p))


def slope_of_tanh_lost(patch):
    real = bounded._bounded
    patch.setattr(bounded, "_bounded", lambda p, limit: (real(p, limit)[0], 1 + 0 * p))


def slope_of_the_exponential_lost(patch):
    real = bounded._bounded_scale
    patch.setattr(bounded, "_bounded_scale", lambda p, largest: (real(p, largest)[0],
                                                                 bounded._bounded(p, math.log(largest))[1]))


def a_clip_in_place_of_tanh(patch):
    """Its slope is 0 beyond the bound, and it cannot come back from there."""
    patch.setattr(bounded, "_bounded", lambda p, limit: (p.clip(-limit, limit), 1.0 * (abs(p) < limit)))


def rows_swapped_in_the_plain_form(patch):
    real = constrained.stack_theta
    patch.setattr(constrained, "stack_theta", lambda cache, rows: real(cache, rows[::-1]))


@pytest.mark.parametrize("plant, caught, deceived", [
    (unbounded, [printed], [gradients]),
    (slope_of_tanh_lost, [gradients], [printed]),
    (slope_of_the_exponential_lost, [gradients], [printed]),
    (a_clip_in_place_of_tanh, [printed], [gradients]),
    (rows_swapped_in_the_plain_form, [printed, gradients], []),
])
def test_mutants(monkeypatch, plant, caught, deceived):
    plant(monkeypatch)
    for check in caught:
        with pytest.raises(AssertionError):
            check(numpy, "bounded-attention")
    for check in deceived:
        check(numpy, "bounded-attention")
