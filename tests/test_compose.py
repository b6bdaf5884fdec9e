"""Affine transformations composed, undone, and in pixels: against points and pictures, derivatives, no inverse."""

import re

import checks_of_pairs as checks
import numpy
import pytest

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids import compose
from stn_scratch.grids.affine import affine_grid_forward
from stn_scratch.sampling import sample_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
IDENTITY = numpy.eye(2, 3)
SIZES = {"in_size": (5, 9), "out_size": (4, 7)}
PIXELS = ["theta_from_pixels", "theta_to_pixels"]
U = (numpy.arange(1.0, 46).reshape(5, 9) / 45) ** 2


def thetas(seed=0, B=3):
    return numpy.random.default_rng(seed).normal(size=(B, 2, 3))


def pair(name):
    return [getattr(compose, f"{name}_{way}") for way in ("forward", "backward")]


def result(xp, name, *args, **options):
    return to_host(pair(name)[0](*[xp.asarray(a) for a in args], **options)[0])


def moved(theta, points):
    """points (2, n), as (x, y), moved by one theta (2, 3), written out."""
    x, y = points
    (a, b, t_x), (c, d, t_y) = theta
    return numpy.array([a * x + b * y + t_x, c * x + d * y + t_y])


def picture(xp, theta, image, size, **options):
    """What a transformer of one theta sees in an image (H, W)."""
    grid, _ = affine_grid_forward(xp.asarray(theta[None]), size=size, **options)
    return to_host(sample_forward(xp.asarray(image[None, :, :, None]), grid, **options)[0])[0, :, :, 0]


# The checks. Each raises AssertionError if it fails.

def points_of_the_composed(xp):
    """theta_2 moves a point first, then theta_1."""
    points = numpy.random.default_rng(2).normal(size=(2, 6))
    for one, two, both in zip(thetas(0), thetas(1), result(xp, "compose_theta", thetas(0), thetas(1)), strict=True):
        checks.close(moved(both, points), moved(one, moved(two, points)), 1e-14)


def pictures_in_series(xp):
    """theta_1 turns the picture by a right angle, theta_2 then zooms in on a corner: not the same the other way round.

    The zoom reads pixels of the turned picture and points between them: there is nothing that sampling twice blurs.
    """
    turn, zoom = numpy.array([[0.0, -1, 0], [1, 0, 0]]), numpy.array([[0.5, 0, 0.5], [0, 0.5, -0.5]])
    image = U[:, :5]
    twice = picture(xp, zoom, picture(xp, turn, image, (5, 5)), (4, 7))
    both = result(xp, "compose_theta", turn[None], zoom[None])[0]
    checks.close(picture(xp, both, image, (4, 7)), twice, 1e-14)
    assert abs(picture(xp, result(xp, "compose_theta", zoom[None], turn[None])[0], image, (4, 7)) - twice).max() > 0.1


def inverses(xp):
    """Of any size: A A^-1 = A^-1 A = 1, and the points come back."""
    theta = thetas(B=20) * numpy.logspace(-6, 6, 20)[:, None, None]
    inverse = result(xp, "inverse_theta", theta)
    for a, b in ((theta, inverse), (inverse, theta)):
        error = result(xp, "compose_theta", a, b) - IDENTITY
        assert abs(error[:, :, :2]).max() <= 1e-13
        assert (abs(error[:, :, 2]).max(axis=1) <= 1e-13 * abs(a).max(axis=(1, 2)) * abs(b).max(axis=(1, 2))).all()


def pixels_of_a_matrix(xp):
    """Every pixel of the output is read where M says."""
    for align_corners in (True, False):
        options = {**SIZES, "align_corners": align_corners}
        M = thetas(3)
        grid, _ = affine_grid_forward(xp.asarray(result(xp, "theta_from_pixels", M, **options)), size=(4, 7),
                                      align_corners=align_corners)
        scale = (4, 2) if align_corners else (4.5, 2.5)
        read = to_host(grid).reshape(3, 2, 28) * numpy.array(scale)[:, None] + numpy.array([[4], [2]])
        y, x = (a.ravel() for a in numpy.mgrid[:4, :7])
        checks.close(read, [moved(rows, (x, y)) for rows in M], 1e-13)
        checks.close(result(xp, "theta_to_pixels", result(xp, "theta_from_pixels", M, **options), **options), M, 1e-13)


def gradients(xp):
    """Finite differences of every pair; adjoints of those that are linear."""
    check_gradients(*pair("compose_theta"), (xp.asarray(thetas(0)), xp.asarray(thetas(1))))
    assert adjoint_error(*pair("compose_theta"), (xp.asarray(thetas(0)), xp.asarray(thetas(1)))) <= 1e-12
    check_gradients(*pair("inverse_theta"), (xp.asarray(thetas(0) + 2 * IDENTITY),))
    for name in PIXELS:
        for options in (SIZES, {**SIZES, "align_corners": False}, {"in_size": (1, 9), "out_size": (4, 1)}):
            check_gradients(*pair(name), (xp.asarray(thetas()),), **options)
            assert adjoint_error(linear_part(name), pair(name)[1], (xp.asarray(thetas()),), **options) <= 1e-12


def linear_part(name):
    def forward(theta, **options):
        y, cache = pair(name)[0](theta, **options)
        return y - pair(name)[0](0 * theta, **options)[0], cache
    return forward


CHECKS = {f.__name__: f for f in (points_of_the_composed, pictures_in_series, inverses, pixels_of_a_matrix, gradients)}


# The tests.

@pytest.mark.parametrize("name", CHECKS)
def test_the_package_passes(xp, name):
    CHECKS[name](xp)


def test_the_way_back_puts_the_window_where_it_was(xp):
    """theta sees the middle of U in every other pixel of V; its inverse puts that back in a black image."""
    theta = numpy.array([[0.5, 0, 0], [0, 0.5, 0]])
    V = picture(xp, theta, U, (5, 9))
    expected = numpy.zeros((5, 9))
    expected[1:4, 2:7] = U[1:4, 2:7]
    checks.close(picture(xp, result(xp, "inverse_theta", theta[None])[0], V, (5, 9)), expected, 1e-14)


@both_conventions
@pytest.mark.parametrize("M, size, expected", [
    ([[1, 0, 2], [0, 1, 1]], (3, 4), U[1:4, 2:6]),  # a window of 3 x 4 pixels: its corner is column 2, row 1
    ([[0, 1, 0], [1, 0, 0]], (9, 5), U.T),  # x and y change places
    ([[-1, 0, 8], [0, 1, 0]], (5, 9), U[:, ::-1]),
    ([[0, 0, 3], [0, 0, 2]], (1, 1), U[2:3, 3:4]),  # one pixel
    ([[1, 0, 3], [0, 0, 2]], (1, 4), U[2:3, 3:7]),
])
def test_pictures_of_a_matrix_in_pixels(xp, M, size, expected, align_corners):
    theta = result(xp, "theta_from_pixels", numpy.array([M], dtype="float64"), in_size=(5, 9), out_size=size,
                   align_corners=align_corners)[0]
    checks.close(picture(xp, theta, U, size, align_corners=align_corners), expected, 1e-14)


@both_conventions
@pytest.mark.parametrize("size", [(5, 9), (4, 7), (7, 2)])
def test_the_identity_is_the_identity(xp, size, align_corners):
    for name in PIXELS:
        same = result(xp, name, IDENTITY[None], in_size=size, out_size=size, align_corners=align_corners)
        checks.close(same, [IDENTITY], 1e-15)
    numpy.testing.assert_array_equal(result(xp, "inverse_theta", IDENTITY[None]), [IDENTITY])
    for one, two in ((thetas(), [IDENTITY] * 3), ([IDENTITY] * 3, thetas())):
        numpy.testing.assert_array_equal(result(xp, "compose_theta", numpy.array(one), numpy.array(two)), thetas())


@pytest.mark.parametrize("in_size, out_size, row, column", [
    ((5, 1), (4, 7), 0, None), ((1, 9), (4, 7), 1, None), ((5, 9), (4, 1), None, 0), ((5, 9), (1, 7), None, 1)])
def test_an_axis_of_one_pixel(xp, in_size, out_size, row, column):
    """Without width: zeros in its row, of such an input, or in its column, of such an output. The rest stays."""
    for name in PIXELS:
        got = result(xp, name, thetas(), in_size=in_size, out_size=out_size)
        if row is not None:
            assert (got[:, row] == 0).all() and (got[:, 1 - row] != 0).all()
        else:
            assert (got[:, :, column] == 0).all() and (got[:, :, [1 - column, 2]] != 0).all()
        # with align_corners=False a pixel has a width
        wide = result(xp, name, thetas(), in_size=in_size, out_size=out_size, align_corners=False)
        assert (wide != 0).all()


# What has no result.

@both_dtypes
@pytest.mark.parametrize("M", [
    [[0, 0, 1], [0, 0, 1]], [[1, 0, 1], [0, 0, 1]], [[1, 2, 1], [2, 4, 1]],
    [[0.1, 0.3, 1], [0.7, 2.1, 1]], [[1.1 * 1e5, 3.3 * 1e5, 1], [0.7 * 1e5, 2.1 * 1e5, 1]],  # so but for rounding
    [[1e-16, 0, 0], [0, 1e-16, 0]], [[1e-25, 0, 0], [0, 1e-25, 0]], [[1e-5, 0, 1e11], [0, 1, 0]],  # beyond 1e15
    [[numpy.nan, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, -numpy.inf, 0]], [[1, 0, 0], [0, 1, 1e16]],
], ids=str)
def test_no_inverse(xp, M, dtype):
    """Infinite, no gradient, and a grid of it sees nothing; the other image does not notice. No warning."""
    theta = numpy.array([[[2, 0, 1], [0, 4, 1]], M], dtype=dtype)
    inverse, cache = compose.inverse_theta_forward(xp.asarray(theta))
    numpy.testing.assert_array_equal(to_host(inverse), [[[0.5, 0, -0.5], [0, 0.25, -0.25]], [[numpy.inf] * 3] * 2])
    dtheta = to_host(compose.inverse_theta_backward(xp.ones_like(inverse), cache))
    assert (dtheta[1] == 0).all() and dtheta[0].any() and inverse.dtype == dtheta.dtype == dtype
    grid, _ = affine_grid_forward(inverse, size=(4, 7))
    V, _ = sample_forward(xp.ones((2, 5, 9, 1), dtype=dtype), grid, padding="border")
    checks.close(V[:, :, :, 0], [numpy.ones((4, 7)), numpy.zeros((4, 7))], 1e-6)


@both_dtypes
@pytest.mark.parametrize("number", [numpy.nan, numpy.inf, 1.1e15])
@pytest.mark.parametrize("name", ["compose_theta", *PIXELS])
def test_no_result(xp, name, number, dtype):
    args = [numpy.array([IDENTITY] * 3, dtype=dtype) for _ in range(2 if name == "compose_theta" else 1)]
    args[0][1, 0, 1] = args[-1][2, 1, 2] = number
    options = {} if name == "compose_theta" else {"in_size": (4, 7), "out_size": (4, 7)}
    y, cache = pair(name)[0](*map(xp.asarray, args), **options)
    numpy.testing.assert_allclose(to_host(y), [IDENTITY, *[[[numpy.inf] * 3] * 2] * 2], rtol=0, atol=1e-6)
    d = pair(name)[1](xp.ones_like(y), cache)
    for a in map(to_host, d if isinstance(d, tuple) else (d,)):
        assert (a[1:] == 0).all() and a[0].any() and a.dtype == y.dtype == dtype


def test_empty_batch(xp):
    nothing = xp.zeros((0, 2, 3))
    for name in ("compose_theta", "inverse_theta", *PIXELS):
        args, options = [nothing] * (2 if name == "compose_theta" else 1), SIZES if name in PIXELS else {}
        y, cache = pair(name)[0](*args, **options)
        d = pair(name)[1](y, cache)
        assert y.shape == (0, 2, 3) and all(a.shape == (0, 2, 3) for a in (d if isinstance(d, tuple) else (d,)))


# Errors.

@pytest.mark.parametrize("name", ["compose_theta", "inverse_theta", *PIXELS])
def test_errors(xp, name):
    forward, backward = pair(name)
    good, options = xp.zeros((2, 2, 3)), SIZES if name in PIXELS else {}
    count = 2 if name == "compose_theta" else 1
    for bad, kind in ((xp.zeros((2, 6)), ValueError), (good.astype("int64"), TypeError), (None, TypeError)):
        for k in range(count):
            with pytest.raises(kind, match="^(theta|theta_1|theta_2|M) must"):
                forward(*[bad if j == k else good for j in range(count)], **options)
    _, cache = forward(*[good] * count, **options)
    for bad, kind in ((xp.zeros((2, 6)), ValueError), (good[:1], ValueError), (good.astype("float32"), TypeError)):
        with pytest.raises(kind, match="must have (shape|the dtype)"):
            backward(bad, cache)


@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("which", ["in_size", "out_size"])
def test_errors_of_sizes(xp, name, which):
    with pytest.raises(ValueError, match=re.escape(f"{which} must be 2 positive whole numbers, not (0, 7)")):
        pair(name)[0](xp.zeros((2, 2, 3)), **{**SIZES, which: (0, 7)})


# Mutants.

def swapped(patch):
    """theta_2 first and then theta_1: consistent in itself, but then it is theta_2 in which it is linear."""
    forward, backward = pair("compose_theta")
    patch.setattr(compose, "compose_theta_forward", lambda theta_1, theta_2: forward(theta_2, theta_1))
    patch.setattr(compose, "compose_theta_backward", lambda d, cache: backward(d, cache)[::-1])


def square_without_its_one(patch):
    """The shift of theta_1, or that of the inverse, is lost."""
    def square(theta):
        return real(theta) * numpy.array([[1], [1], [0]])

    real = compose._square
    patch.setattr(compose, "_square", square)


def inverse_not_transposed(patch):
    real = compose.inverse_theta_backward
    patch.setattr(compose, "inverse_theta_backward", lambda d, cache: real(d, cache._replace(
        inverse=numpy.concatenate([cache.inverse[:, :, :2].swapaxes(1, 2), cache.inverse[:, :, 2:]], axis=2))))


def sizes_swapped(patch):
    """(W, H) for (H, W): consistent in itself."""
    real = compose._to_pixels
    patch.setattr(compose, "_to_pixels", lambda xp, size, *rest: real(xp, size[::-1], *rest))


@pytest.mark.parametrize("plant, caught, deceived", [
    (swapped, "points_of_the_composed pictures_in_series gradients", "inverses pixels_of_a_matrix"),
    (square_without_its_one, "points_of_the_composed inverses pixels_of_a_matrix gradients", ""),
    (inverse_not_transposed, "gradients", "inverses points_of_the_composed"),
    (sizes_swapped, "pixels_of_a_matrix", "gradients"),
])
def test_mutants(monkeypatch, plant, caught, deceived):
    plant(monkeypatch)
    for name in caught.split():
        with pytest.raises(AssertionError):
            CHECKS[name](numpy)
    for name in deceived.split():
        CHECKS[name](numpy)
