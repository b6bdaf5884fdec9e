"""The kernels of Eq. (3): finite differences in U, grid and Phi, the adjoint identity, and mutants."""

import checks_of_kernels as of_kernels
import checks_of_pairs as checks
import numpy
import pytest
from checks_of_kernels import both_conventions, every_kernel, far_kernels, name_of, of_width, paddings

from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.sampling import kernels, sampler
from stn_scratch.sampling.kernels import Gaussian, KernelOfWidth, Triangle


@far_kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["generic", "border", "outside"])
def test_finite_differences(xp, kernel, padding, align_corners, where):
    of_kernels.gradients(xp, kernel, where, padding=padding, align_corners=align_corners)


@pytest.mark.parametrize("kernel", ["bicubic", of_kernels.SPLINE], ids=name_of)
@paddings
@both_conventions
def test_smooth_on_the_lattice(xp, kernel, padding, align_corners):
    """No kink: the slope on the right is the slope, and the mean of both sides is the same."""
    options = {"padding": padding, "align_corners": align_corners, "kernel": kernel}
    of_kernels.right_gradients(xp, kernel, "lattice", padding=padding, align_corners=align_corners)
    args, dV = of_kernels.inputs(xp, kernel, "lattice", options)
    right, central = (of_kernels.run(args, dV, lattice=lattice, **options)[2] for lattice in ("right", "central"))
    numpy.testing.assert_allclose(right, central, rtol=0, atol=1e-12)


@of_width
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["lattice", "lattice generic"])
def test_right_hand_differences_on_the_lattice(xp, kernel, padding, align_corners, where):
    """A triangle's peak stands on a pixel there, a Gaussian's cut too."""
    of_kernels.right_gradients(xp, kernel, where, padding=padding, align_corners=align_corners)


@paddings
@pytest.mark.parametrize("kernel, where", [(Triangle(3), "lattice"), (Triangle(2), "halves")], ids=str)
def test_right_hand_differences_where_a_foot_stands_on_a_pixel(xp, kernel, where, padding):
    """Phi = 0 is a width of 2, or of 3/2. A kink in the grid and in Phi."""
    of_kernels.right_gradients(xp, kernel, where, Phi=0.0, padding=padding)
    with pytest.raises(AssertionError, match=r"^(grid|Phi)\[.*a kink"):
        args, _ = of_kernels.inputs(xp, kernel, where)
        check_gradients(sampler.sample_forward, sampler.sample_backward, (*args[:2], xp.zeros((2, 2))), kernel=kernel)


@far_kernels
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["lattice", "lattice generic"])
def test_central_is_the_mean_of_both_sides(xp, kernel, padding, align_corners, where):
    of_kernels.central_gradients(xp, kernel, where, padding=padding, align_corners=align_corners)


@pytest.mark.parametrize("lattice", ["right", "central"])
def test_central_slopes_in_Phi(xp, lattice):
    """Phi has no kink on the lattice, so both rules give the one slope."""
    (U, grid, Phi), _ = of_kernels.inputs(xp, Gaussian(3), "lattice")
    check_gradients(lambda Phi: sampler.sample_forward(U, grid, Phi, kernel=Gaussian(3), lattice=lattice),
                    lambda dV, cache: sampler.sample_backward(dV, cache)[2], (Phi,))


@every_kernel
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["generic", "border", "lattice"])
def test_adjoint(xp, kernel, padding, align_corners, where):
    of_kernels.adjoint(xp, kernel, where, padding=padding, align_corners=align_corners)


def test_one_width_for_a_batch_and_through_the_grid(xp):
    """theta -> grid -> V with one Phi (2,) for all images: its gradient is the sum over the batch."""
    rng = numpy.random.default_rng(1)
    U, Phi = xp.asarray(rng.normal(size=(2, 5, 7, 3))), xp.asarray([-0.4, 0.9])
    theta = xp.asarray([[[1, 0, 0], [0, 1, 0]]] * 2 + 0.4 * rng.normal(size=(2, 2, 3)))

    def forward(U, theta, Phi):
        grid, cache_grid = affine_grid_forward(theta, size=(4, 6))
        V, cache_V = sampler.sample_forward(U, grid, xp.stack([Phi, Phi]), kernel=Gaussian(2))
        return V, (cache_grid, cache_V)

    def backward(dV, cache):
        dU, dgrid, dPhi = sampler.sample_backward(dV, cache[1])
        return dU, affine_grid_backward(dgrid, cache[0]), dPhi.sum(axis=0)

    check_gradients(forward, backward, (U, theta, Phi))


def test_without_dU(xp):
    args, dV = of_kernels.inputs(xp, Gaussian(2))
    _, cache = sampler.sample_forward(*args, kernel=Gaussian(2))
    dU, *others = sampler.sample_backward(dV, cache, need_dU=False)
    assert dU is None and [a.shape for a in others] == [a.shape for a in args[1:]]


# Mutants: each must fail the checks that name it, and shows with those that it passes why they are not enough.

CHECKS = {
    "values": lambda kernel: [of_kernels.values(numpy, kernel, where, padding=padding)
                              for where in ("generic", "lattice") for padding in checks.PADDINGS],
    "gradients": lambda kernel: [of_kernels.gradients(numpy, kernel, "border", padding=padding)
                                 for padding in checks.PADDINGS],
    "right": lambda kernel: of_kernels.right_gradients(numpy, kernel, padding="border"),
    "foot": lambda kernel: of_kernels.right_gradients(numpy, kernel, Phi=0.0),
    "central": lambda kernel: of_kernels.central_gradients(numpy, kernel),
    "adjoint": lambda kernel: of_kernels.adjoint(numpy, kernel),
    "constant": lambda kernel: of_kernels.constant_image(numpy, kernel),
}
BICUBIC, G, T = "bicubic", Gaussian(3), Triangle(3)


def no_bend(self, width, a, dh):
    """The sum under the fraction forgotten: dh / sum h."""
    total = sum(self._weights(width, a)) * sum(self._h(d, width) for d in self._distances(a))
    return [dh_j / total for dh_j in dh]


def swapped(axis_of):
    return lambda cache, axis: axis_of(cache, 1 - axis)


def swapped_back(backward):
    def wrong(dV, cache):
        dU, dgrid, dPhi = backward(dV, cache)
        return dU, dgrid, dPhi[:, ::-1]
    return wrong


def one_axis_only(backward):
    def wrong(dV, cache):
        dU, dgrid, dPhi = backward(dV, cache)
        return dU, dgrid, dPhi * numpy.array([1.0, 0.0])
    return wrong


# name: kernel, what is replaced, by what (given the original), the checks that fail, the checks that pass
MUTANTS = {
    "Keys' own a": (BICUBIC, kernels, "A", lambda A: -0.5, "values", "gradients adjoint constant"),
    "a of the wrong sign": (BICUBIC, kernels, "A", lambda A: -A, "values", "gradients adjoint constant"),
    "right slopes unsigned": (BICUBIC, kernels, "KERNELS", lambda table: {**table, "bicubic": table["bicubic"]._replace(
        slopes=lambda a: tuple(map(abs, kernels._bicubic_slopes(a))))}, "gradients constant", "values adjoint"),
    "coordinate padded, not taps": (T, kernels.Kernel, "looks_further", lambda old: False,
                                    "values constant", "gradients adjoint"),
    "not lowered at the cut": (G, Gaussian, "_h", lambda old: Gaussian._bell, "values", "adjoint"),
    "not normalised": (T, KernelOfWidth, "_weights", lambda old: lambda self, width, a: [
        self._h(d, width) for d in self._distances(a)], "values constant", "adjoint"),
    "bend forgotten": (T, KernelOfWidth, "_quotient_rule", lambda old: no_bend, "gradients constant", "values adjoint"),
    "sigmoid's slope forgotten": (G, KernelOfWidth, "_dPhi", lambda old: lambda self, width, a: self._quotient_rule(
        width, a, [self._dh_dwidth(d, width) for d in self._distances(a)]), "gradients right",
        "values adjoint constant central"),
    "cut forgotten in dPhi": (G, Gaussian, "_dh_dwidth", lambda old: lambda self, d, width: (
        d * d * self._bell(d, width) / width ** 3), "gradients", "values adjoint constant central"),
    "Phi_x, Phi_y swapped": (G, sampler, "_of_axis", swapped, "values gradients", "adjoint constant"),
    "dPhi_x, dPhi_y swapped": (G, sampler, "sample_backward", swapped_back, "gradients", "values adjoint central"),
    "dPhi_y lost": (T, sampler, "sample_backward", one_axis_only, "gradients", "values adjoint central"),
    "left feet at the lattice": (T, Triangle, "_dh_dx", lambda old: lambda self, d, width, right: old(
        self, d, width, ~right), "right foot", "values gradients adjoint"),
    "always right feet": (T, Triangle, "_dh_dx", lambda old: lambda self, d, width, right: old(
        self, d, width, right | True), "central", "values gradients adjoint right foot"),
    "a shrinking width": (T, Triangle, "_dh_dwidth", lambda old: lambda self, d, width: (
        (abs(d) < width) * abs(d) / width ** 2), "foot", "values gradients right central adjoint"),
}


def plant(monkeypatch, name):
    kernel, owner, attribute, replacement, caught, deceived = MUTANTS[name]
    monkeypatch.setattr(owner, attribute, replacement(getattr(owner, attribute)))
    if attribute == "KERNELS":
        monkeypatch.setattr(sampler, attribute, kernels.KERNELS)
    return kernel, caught.split(), deceived.split()


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant(monkeypatch, name):
    kernel, caught, deceived = plant(monkeypatch, name)
    for check in caught:
        with pytest.raises(AssertionError):
            CHECKS[check](kernel)
    for check in deceived:
        CHECKS[check](kernel)


@pytest.mark.parametrize("kernel", [BICUBIC, G, T], ids=name_of)
@pytest.mark.parametrize("check", CHECKS)
def test_the_package_passes(kernel, check):
    if check != "foot" or kernel == T:
        CHECKS[check](kernel)
