"""The constrained forms of theta: printed matrices, derivatives, directions, turns that are rigid in pixels, errors."""

import math

import checks_of_pairs as checks
import numpy
import pytest
from sentences import raises

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import TRANSFORMATIONS, constrained
from stn_scratch.grids.constrained import pixel_aspect
from stn_scratch.sampling import sample_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
turning = pytest.mark.parametrize("name", ["rotation", "similarity"])
FORMS = ["attention", "translation", "rotation", "similarity"]
forms = pytest.mark.parametrize("name", FORMS)
ASPECTS = [1.0, 2.5, 0.4]


def matrix(name, p, aspect=1.0):
    """The printed matrices, for one image."""
    s, a, t_x, t_y = {"attention": lambda s, t_x, t_y: (s, 0, t_x, t_y),
                      "translation": lambda t_x, t_y: (1, 0, t_x, t_y),
                      "rotation": lambda a: (1, a, 0, 0),
                      "similarity": lambda *p: p}[name](*p)
    return [[s * math.cos(a), -s * math.sin(a) / aspect, t_x], [s * math.sin(a) * aspect, s * math.cos(a), t_y]]


def parameters(name, B=3):
    return numpy.random.default_rng(0).normal(size=(B, len(TRANSFORMATIONS[name].identity)))


def form(name):
    return [getattr(constrained, f"{name}_theta_{way}") for way in ("forward", "backward")]


@forms
def test_theta_is_the_printed_matrix(xp, name):
    p = parameters(name)
    theta, _ = form(name)[0](xp.asarray(p))
    checks.close(theta, [matrix(name, row) for row in p], 1e-15)


@forms
def test_theta_gradients(xp, name):
    check_gradients(*form(name), (xp.asarray(parameters(name)),))


@turning
@pytest.mark.parametrize("aspect", ASPECTS)
def test_aspect(xp, name, aspect):
    p = parameters(name)
    theta, _ = form(name)[0](xp.asarray(p), aspect=aspect)
    checks.close(theta, [matrix(name, row, aspect) for row in p], 1e-15)
    check_gradients(*form(name), (xp.asarray(p),), aspect=aspect)


@pytest.mark.parametrize("name", ["attention", "translation"])
def test_linear_forms_and_their_adjoint(xp, name):
    forward, backward = form(name)

    def linear_part(p):
        theta, cache = forward(p)
        return theta - forward(0 * p)[0], cache

    assert adjoint_error(linear_part, backward, (xp.asarray(parameters(name)),)) <= 1e-12


@both_conventions
@forms
def test_the_grid_is_that_of_the_matrix(xp, name, align_corners):
    """With the aspect of the output, 4 x 7, for those that turn."""
    p, size = parameters(name), (4, 7)
    aspect = 2 if align_corners else 7 / 4
    grid, _ = TRANSFORMATIONS[name].forward(xp.asarray(p), size=size, align_corners=align_corners)
    checks.close(grid, checks.dense_grid(numpy.array([matrix(name, row, aspect) for row in p]), size, align_corners),
                 1e-12)


@forms
def test_p_that_is_no_use(xp, name):
    """NaN, or a number beyond 1e15: an infinite theta, and no gradient. The other images do not notice."""
    forward, backward = form(name)
    p = parameters(name, B=6)
    expected, cache = forward(xp.asarray(p))
    dtheta = xp.asarray(numpy.random.default_rng(1).normal(size=(6, 2, 3)))
    d_expected = to_host(backward(dtheta, cache)).copy()
    p[1:5, 0] = numpy.nan, numpy.inf, -numpy.inf, -1.1e15
    theta, cache = forward(xp.asarray(p))
    assert (to_host(theta)[1:5] == numpy.inf).all()
    d_expected[1:5] = 0
    checks.close(theta[::5], to_host(expected)[::5], 0)
    checks.close(backward(dtheta, cache), d_expected, 0)


# Turns are rigid in pixels.

def pixels(xp, name, p, size, align_corners):
    """Where the pixels of an output are read in an input of the same size: x_p, y_p (H' W',)."""
    H, W = size
    grid, _ = TRANSFORMATIONS[name].forward(xp.asarray([p], dtype="float64"), size=size, align_corners=align_corners)
    scale = [(n - 1 if align_corners else n) / 2 for n in (W, H)]
    return [to_host(grid)[0, k].ravel() * scale[k] + (n - 1) / 2 for k, n in enumerate((W, H))]


def distances(x, y):
    return numpy.hypot(x[:, None] - x, y[:, None] - y)


@both_conventions
@pytest.mark.parametrize("size", [(4, 7), (7, 4), (3, 11), (5, 5)])
@pytest.mark.parametrize("name, p, s", [("rotation", (0.7,), 1), ("similarity", (1.6, -2.0, 0.3, -0.2), 1.6),
                                        ("bounded-similarity", (0.0, 4.0, 0.3, -0.2), 1)])
def test_distances_between_pixels_stay(xp, name, p, s, size, align_corners):
    """Or all grow s times; and the angle between rows and columns is the one asked for."""
    y, x = (a.ravel() for a in numpy.mgrid[:size[0], :size[1]].astype("float64"))
    x_p, y_p = pixels(xp, name, p, size, align_corners)
    checks.close(distances(x_p, y_p), s * distances(x, y), 1e-12)
    angle = p[0] if name == "rotation" else p[1]
    checks.close(numpy.array([x_p[1] - x_p[0], y_p[1] - y_p[0]]), [s * math.cos(angle), s * math.sin(angle)], 1e-12)


def test_pixel_aspect():
    """Pixels a unit along x over those along y; 1 where there is an axis of one pixel without width."""
    assert pixel_aspect((4, 7)) == 6 / 3 and pixel_aspect((4, 7), align_corners=False) == 7 / 4
    assert [pixel_aspect(size) for size in ((1, 7), (4, 1), (1, 1))] == [1, 1, 1]
    assert pixel_aspect((1, 7), align_corners=False) == 7


# Directions, on a picture: what the sampler makes of p.

def picture(xp, name, p, U, align_corners=True):
    options = {"align_corners": align_corners}
    grid, _ = TRANSFORMATIONS[name].forward(xp.asarray([p], dtype="float64"), size=U.shape, **options)
    return to_host(sample_forward(xp.asarray(U[None, :, :, None]), grid, **options)[0])[0, :, :, 0]


U = (numpy.arange(1.0, 46).reshape(5, 9) / 45) ** 2


def test_a_scale_below_one_zooms_in(xp):
    """Half the window, rows 1-3 and columns 2-6, fills the output: every other output pixel is a pixel of it."""
    numpy.testing.assert_allclose(picture(xp, "attention", (0.5, 0, 0), U)[::2, ::2], U[1:4, 2:7], rtol=0, atol=1e-12)


def test_a_scale_above_one_zooms_out(xp):
    expected = numpy.zeros((5, 9))
    expected[1:4, 2:7] = U[::2, ::2]
    numpy.testing.assert_allclose(picture(xp, "attention", (2, 0, 0), U), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p, window, place", [
    ((0.25, 0), (slice(None), slice(1, None)), (slice(None), slice(None, -1))),  # t_x is one column
    ((-0.25, 0), (slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((0, 0.5), (slice(1, None), slice(None)), (slice(None, -1), slice(None))),  # t_y is one row
])
def test_a_shift_moves_the_window(xp, p, window, place):
    expected = numpy.zeros((5, 9))
    expected[place] = U[window]
    numpy.testing.assert_allclose(picture(xp, "translation", p, U), expected, rtol=0, atol=1e-12)


@both_conventions
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("name", ["rotation", "similarity", "bounded-similarity"])
def test_a_positive_angle_turns_the_picture_counter_clockwise(xp, name, wide, align_corners):
    """About its centre, by a right angle and by two, on a picture that is not square: what leaves it is lost."""
    image, middle = (U, numpy.s_[:, 2:7]) if wide else (U.T, numpy.s_[2:7])
    quarter = numpy.zeros_like(image)
    quarter[middle] = numpy.rot90(image[middle])
    for turn, expected in ((math.pi / 2, quarter), (math.pi, image[::-1, ::-1])):
        p = {"rotation": (turn,), "similarity": (1, turn, 0, 0), "bounded-similarity": (0, turn, 0, 0)}[name]
        checks.close(picture(xp, name, p, image, align_corners), expected, 1e-12)


# Errors.

@forms
def test_errors(xp, name):
    (forward, backward), n = form(name), len(TRANSFORMATIONS[name].identity)
    for p in (xp.zeros((2, n + 1)), xp.zeros(n)):
        with raises(ValueError, f"p must have shape (B, {n}), not {p.shape}"):
            forward(p)
    with raises(TypeError, "p must be float32 or float64, not int32"):
        forward(xp.zeros((2, n), dtype="int32"))
    _, cache = forward(xp.zeros((2, n)))
    with raises(ValueError, "dtheta must have shape (B, 2, 3), not (2, 6)"):
        backward(xp.zeros((2, 6)), cache)
    with raises(ValueError, f"p must have shape (B, {n}) with B = 5, not (2, {n})"):
        backward(xp.zeros((5, 2, 3)), cache)


@turning
@pytest.mark.parametrize("aspect, sentence", [
    (1e-15, "aspect must be more than 1e-15 and at most 1e+15, not 1e-15"),
    (1e16, "aspect must be more than 1e-15 and at most 1e+15, not 1e+16"),
    (-1.5, "aspect must be a finite number, more than 0, not -1.5"),
    (math.nan, "aspect must be a finite number, more than 0, not nan"),
    ("wide", "aspect must be a finite number, more than 0, not 'wide'"),
])
def test_errors_of_aspect(xp, name, aspect, sentence):
    with raises(ValueError, sentence):
        form(name)[0](xp.zeros((2, len(TRANSFORMATIONS[name].identity))), aspect=aspect)


def test_an_aspect_of_numpy_does_not_change_the_dtype(xp):
    theta, _ = constrained.rotation_theta_forward(xp.ones((2, 1), dtype="float32"), aspect=numpy.float64(2.5))
    assert theta.dtype == "float32"


# Mutants.

@pytest.mark.parametrize("wrong", [lambda r: 1 / r, lambda r: 1.0], ids=["upside down", "forgotten"])
def test_mutants_of_the_aspect(monkeypatch, wrong):
    """The wrong aspect, in theta and in the gradient alike, is seen in the pixels and the picture only."""
    real = constrained.columns
    monkeypatch.setattr(constrained, "columns", lambda p, shape, aspect=1.0: real(p, shape, wrong(aspect)))
    check_gradients(*form("rotation"), (numpy.asarray([[0.7]]),), aspect=2.5)
    for caught in (lambda: test_distances_between_pixels_stay(numpy, "rotation", (0.7,), 1, (4, 7), True),
                   lambda: test_a_positive_angle_turns_the_picture_counter_clockwise(numpy, "rotation", True, True),
                   lambda: test_aspect(numpy, "similarity", 2.5)):
        with pytest.raises(AssertionError):
            caught()
