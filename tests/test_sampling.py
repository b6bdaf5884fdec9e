"""The sampler: values and gradients, against paper.py, finite differences and the adjoint identity."""

import checks_of_pairs as checks
import numpy
import pytest
from checks_of_pairs import PADDINGS

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.sampling import sample_backward, sample_forward

kernels = pytest.mark.parametrize("kernel", ["bilinear", "integer"])
paddings = pytest.mark.parametrize("padding", PADDINGS)
both_conventions = pytest.mark.parametrize("align_corners", [True, False])
OFF_LATTICE = ["generic", "border", "outside"]
ON_LATTICE = ["lattice", "lattice generic", "border lattice", "halves"]


@kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", OFF_LATTICE + ON_LATTICE)
def test_values_and_gradients_against_the_paper(xp, kernel, padding, align_corners, where):
    checks.against_paper(xp, where, kernel=kernel, padding=padding, align_corners=align_corners)


@paddings
@both_conventions
@pytest.mark.parametrize("where", ["lattice", "generic lattice"])
def test_central_slopes_against_the_paper(xp, padding, align_corners, where):
    checks.against_paper(xp, where, padding=padding, align_corners=align_corners, lattice="central")


def test_the_lattice_is_met_exactly():
    """What makes the tests above and below tests of the lattice."""
    for align_corners, s in checks.SIZES.items():
        _, grid, _ = checks.inputs(numpy, "lattice", align_corners)
        scale = [(n - 1 if align_corners else n) / 2 for n in (s.W, s.H)]
        pixels = [grid[:, k] * scale[k] + (n - 1) / 2 for k, n in enumerate((s.W, s.H))]
        for x_p, n in zip(pixels, (s.W, s.H), strict=True):
            assert set(x_p.ravel()) == set(range(-3, n + 3))


@kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", OFF_LATTICE)
def test_finite_differences_off_the_lattice(xp, kernel, padding, align_corners, where):
    for lattice in ("right", "central"):
        checks.gradients(xp, where, kernel=kernel, padding=padding, align_corners=align_corners, lattice=lattice)


@kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["lattice", "lattice generic", "border lattice"])
def test_right_hand_differences_on_the_lattice(xp, kernel, padding, align_corners, where):
    """Every pixel from three left of the image to three right of it: edges, mirrors and the outside are met."""
    checks.gradients(xp, where, side="right", kernel=kernel, padding=padding, align_corners=align_corners)


@kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["lattice", "lattice generic"])
def test_central_is_the_mean_of_both_sides(xp, kernel, padding, align_corners, where):
    checks.central_gradients(xp, where, kernel=kernel, padding=padding, align_corners=align_corners)


# U is the row 1 4 9 16 25, its differences 3 5 7 9; x_p, the slope on the right and the slope on the left
SLOPES = {
    ("zeros", True): [(-1, 1, 0), (0, 3, 1), (2, 7, 5), (4, -25, 9), (5, 0, -25)],
    ("border", True): [(-1, 0, 0), (0, 3, 0), (2, 7, 5), (4, 0, 9), (5, 0, 0)],
    ("reflect", True): [(-1, -3, -5), (0, 3, -3), (2, 7, 5), (4, -9, 9), (5, -7, -9), (8, 3, -3), (9, 5, 3)],
    ("reflect", False): [(-1, 0, -3), (0, 3, 0), (2, 7, 5), (4, 0, 9), (5, -9, 0), (6, -7, -9), (10, 3, 0)],
}


@pytest.mark.parametrize("padding, align_corners", SLOPES)
def test_slopes_by_hand(xp, padding, align_corners):
    """Beyond a mirror the coordinate runs backwards: the slope on the right comes from the cell on the left."""
    x_p, right, left = numpy.array(SLOPES[padding, align_corners], dtype="float64").T
    U = xp.asarray(numpy.arange(1.0, 6).reshape(1, 1, 5, 1) ** 2)
    x = checks.normalised(x_p, 5, align_corners).reshape(1, 1, 1, -1)
    grid = xp.asarray(numpy.concatenate([x, 0 * x], axis=1))
    for lattice, expected in [("right", right), ("central", (right + left) / 2)]:
        V, cache = sample_forward(U, grid, padding=padding, align_corners=align_corners, lattice=lattice)
        _, dgrid = sample_backward(xp.ones_like(V), cache)
        per_pixel = to_host(dgrid)[0, 0, 0] / (2 if align_corners else 2.5)
        numpy.testing.assert_allclose(per_pixel, expected, rtol=0, atol=1e-12)


@kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["generic", "border", "outside", "lattice"])
def test_adjoint(xp, kernel, padding, align_corners, where):
    if where == "outside" and padding == "zeros":  # A = 0: both sides of the identity are 0, and must be so exactly
        U, grid, dV = checks.inputs(xp, where, align_corners)
        V, cache = sample_forward(U, grid, kernel=kernel, align_corners=align_corners)
        dU, dgrid = sample_backward(dV, cache)
        assert not any(to_host(a).any() for a in (V, dU, dgrid))
    else:
        checks.adjoint(xp, where, kernel=kernel, padding=padding, align_corners=align_corners)


@paddings
@both_conventions
def test_through_the_affine_grid(xp, padding, align_corners):
    """theta -> grid -> V: dU and dtheta of the whole chain."""
    rng = numpy.random.default_rng(1)
    U = xp.asarray(rng.normal(size=(2, 5, 7, 3)))
    theta = xp.asarray([[[1, 0, 0], [0, 1, 0]]] * 2 + 0.4 * rng.normal(size=(2, 2, 3)))

    def forward(U, theta):
        grid, cache_grid = affine_grid_forward(theta, size=(4, 6), align_corners=align_corners)
        V, cache_V = sample_forward(U, grid, padding=padding, align_corners=align_corners)
        return V, (cache_grid, cache_V)

    def backward(dV, cache):
        dU, dgrid = sample_backward(dV, cache[1])
        return dU, affine_grid_backward(dgrid, cache[0])

    check_gradients(forward, backward, (U, theta))
    assert adjoint_error(forward, backward, (U, theta)) <= 1e-12


@both_conventions
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [(7, 12), (28, 40), (1, 6), (5, 1), (1, 1)])
def test_identity(xp, align_corners, dtype, size):
    checks.identity(xp, align_corners, dtype, size)


@paddings
@both_conventions
def test_identity_of_the_integer_kernel_copies_exactly(xp, padding, align_corners):
    U = numpy.random.default_rng(0).normal(size=(2, 7, 12, 3)).astype("float32")
    grid = checks.identity_grid(xp, 2, (7, 12), align_corners, "float32")
    V, _ = sample_forward(xp.asarray(U), grid, kernel="integer", padding=padding, align_corners=align_corners)
    numpy.testing.assert_array_equal(to_host(V), U)


@pytest.mark.parametrize("lattice", ["right", "central"])
def test_constant_image_has_no_slope(xp, lattice):
    checks.constant_image(xp, lattice)


@pytest.mark.parametrize("lattice", ["right", "central"])
def test_identity_start_can_learn(xp, lattice):
    checks.identity_start(xp, lattice)


def test_samples_that_share_a_pixel_add(xp):
    """Every sample at one pixel: dU is the sum of all dV there."""
    _, _, dV = checks.inputs(xp)
    B, H_out, W_out, C = dV.shape
    U = xp.zeros((B, 3, 5, C))
    grid = xp.asarray(numpy.broadcast_to([[[0.5]], [[-1.0]]], (B, 2, H_out, W_out)))  # column 3, row 0
    _, cache = sample_forward(U, grid)
    dU = to_host(sample_backward(dV, cache)[0])
    numpy.testing.assert_allclose(dU[:, 0, 3], to_host(dV).sum(axis=(1, 2)), rtol=0, atol=1e-12)
    dU[:, 0, 3] = 0
    assert not dU.any()
