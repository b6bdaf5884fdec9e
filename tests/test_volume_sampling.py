"""The trilinear sampler: values and gradients, against the dense sum, finite differences and the adjoint identity."""

import checks_of_pairs
import checks_of_volume as checks
import numpy
import pytest

from stn_scratch.backend import to_host
from stn_scratch.sampling.volume import sample3d_backward, sample3d_forward

paddings = pytest.mark.parametrize("padding", checks_of_pairs.PADDINGS)
both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
both_rules = pytest.mark.parametrize("lattice", ["right", "central"])
PLACES = ["generic", "border", "outside", "generic border outside", "halves", "lattice", "lattice generic border",
          "generic lattice generic", "border generic lattice"]


@paddings
@both_conventions
@both_rules
@pytest.mark.parametrize("where", PLACES)
def test_values_and_gradients_against_the_dense_sum(xp, padding, align_corners, lattice, where):
    checks.against_the_sum(xp, where, padding=padding, align_corners=align_corners, lattice=lattice)


@both_conventions
def test_the_lattice_is_met_exactly(align_corners):
    s = checks.SIZES[align_corners]
    _, grid, _ = checks.inputs(numpy, "lattice", align_corners)
    scale = checks.scales((s.D, s.H, s.W), align_corners)
    for k, n in enumerate((s.W, s.H, s.D)):
        assert set((grid[:, k] * scale[k] + (n - 1) / 2).ravel()) == set(range(-3, n + 3))


@paddings
@both_conventions
@both_rules
@pytest.mark.parametrize("where", ["generic", "border", "outside"])
def test_finite_differences_off_the_lattice(xp, padding, align_corners, lattice, where):
    checks.gradients(xp, where, padding=padding, align_corners=align_corners, lattice=lattice)


@paddings
@both_conventions
@pytest.mark.parametrize("where", ["lattice", "lattice generic border", "generic generic lattice"])
def test_one_sided_differences_on_the_lattice(xp, padding, align_corners, where):
    checks.gradients(xp, where, side="right", padding=padding, align_corners=align_corners)
    checks.central_gradients(xp, where, padding=padding, align_corners=align_corners)


@paddings
@both_conventions
@pytest.mark.parametrize("where", ["generic", "border", "lattice"])
def test_adjoint(xp, padding, align_corners, where):
    checks.adjoint(xp, where, padding=padding, align_corners=align_corners)


@both_conventions
def test_outside_is_black_and_flat(xp, align_corners):
    U, grid, dV = checks.inputs(xp, "outside", align_corners)
    V, cache = sample3d_forward(U, grid, align_corners=align_corners)
    assert not any(to_host(a).any() for a in (V, *sample3d_backward(dV, cache)))


@both_conventions
@both_dtypes
@pytest.mark.parametrize("size", [(5, 3, 9), (6, 20, 13), (1, 6, 4), (3, 1, 5), (4, 6, 1), (1, 1, 1)])
def test_identity(xp, align_corners, dtype, size):
    checks.identity(xp, align_corners, dtype, size)


@both_rules
def test_slopes_at_the_identity(xp, lattice):
    checks.constant_volume(xp, lattice)
    checks.identity_start(xp, lattice)


@both_conventions
@both_rules
@pytest.mark.parametrize("padding, where", [
    ("zeros", "border generic generic"), ("zeros", "lattice lattice generic"), ("border", "outside border lattice"),
    ("reflect", "outside lattice outside")])
def test_like_the_2d_sampler_where_z_does_not_matter(xp, padding, where, align_corners, lattice):
    checks.like_the_2d_sampler(xp, where, padding=padding, align_corners=align_corners, lattice=lattice)


def test_samples_that_share_a_pixel_add(xp):
    _, _, dV = checks.inputs(xp)
    U = xp.zeros((2, 3, 5, 9, 4))
    grid = numpy.empty((2, 3, *dV.shape[1:4]))
    grid[:] = numpy.reshape([0.75, -0.5, 1.0], (3, 1, 1, 1))  # column 7, row 1, plane 2
    _, cache = sample3d_forward(U, xp.asarray(grid))
    dU = to_host(sample3d_backward(dV, cache)[0])
    numpy.testing.assert_allclose(dU[:, 2, 1, 7], to_host(dV).sum(axis=(1, 2, 3)), rtol=0, atol=1e-11)
    dU[:, 2, 1, 7] = 0
    assert not dU.any()
