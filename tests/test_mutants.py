"""Mutants: mistakes that others have made, put into the package one at a time. Each must fail the check that names it.

`deceived` are checks that the mutant passes: they show why the tests need more than finite differences, which pass
every pair that is wrong consistently.
"""

import checks_of_pairs as checks
import numpy
import pytest
from mutants import checked_by, mutants_of
from strict import strict

from stn_scratch import transformer
from stn_scratch.coordinates import axis_points, pixels_per_unit, to_pixels
from stn_scratch.grids import TRANSFORMATIONS, affine
from stn_scratch.sampling import kernels, padding, sampler

CHECKS = {
    "identity": lambda xp: [checks.identity(xp, align_corners) for align_corners in (True, False)],
    "paper": lambda xp: [checks.against_paper(xp, where, align_corners=align_corners)
                         for where in ("generic", "border", "outside") for align_corners in (True, False)],
    "paper, other paddings": lambda xp: [checks.against_paper(xp, where, padding=padding)
                                         for where in ("generic", "outside") for padding in ("border", "reflect")],
    "paper on the lattice": lambda xp: [checks.against_paper(xp, "lattice", lattice=lattice)
                                        for lattice in ("right", "central")],
    "gradients": lambda xp: [checks.gradients(xp, where) for where in ("generic", "border")],
    "gradients, other paddings": lambda xp: [checks.gradients(xp, "outside", padding=padding)
                                             for padding in ("border", "reflect")],
    "gradients on the lattice": lambda xp: checks.gradients(xp, "lattice", side="right"),
    "central gradients": checks.central_gradients,
    "adjoint": checks.adjoint,
    "constant image": checks.constant_image,
    "identity start": checks.identity_start,
    "affine grid": checks.affine_grid,
    "two paths": checks.two_paths,
}
MUTANTS, mutant = mutants_of()


@pytest.fixture(autouse=True)
def over_the_taps(monkeypatch):
    """The mistakes are planted in the sampler over taps; the one written out is tested in test_bilinear.py."""
    monkeypatch.setattr(sampler, "_is_written_out", lambda *_: False)


# Coordinates.

@mutant("identity; paper", deceived="gradients; adjoint; two paths")
def x_and_y_swapped(patch):
    forward, backward = sampler.sample_forward, sampler.sample_backward

    def swapped_backward(dV, cache, **options):
        dU, dgrid = backward(dV, cache, **options)
        return dU, dgrid[:, ::-1]

    for module in (sampler, transformer):
        patch.setattr(module, "sample_forward",
                      lambda U, grid, *Phi, **options: forward(U, grid[:, ::-1], *Phi, **options))
        patch.setattr(module, "sample_backward", swapped_backward)


@mutant("identity; paper", deceived="adjoint; gradients on the lattice")
def shift_dropped(patch):
    patch.setattr(sampler, "to_pixels", lambda x, size, align_corners: x * pixels_per_unit(size, align_corners))


@mutant("identity; paper; gradients", deceived="adjoint")
def scaled_by_W(patch):
    patch.setattr(sampler, "to_pixels", lambda x, size, align_corners: to_pixels(x, size, False))


@mutant("identity; paper", deceived="gradients; adjoint")
def scaled_by_W_in_the_derivative_too(patch):
    scaled_by_W(patch)
    patch.setattr(sampler, "pixels_per_unit", lambda size, align_corners: size / 2)


@mutant("identity; paper", deceived="gradients; adjoint")
def scaled_by_W_minus_2(patch):
    patch.setattr(sampler, "to_pixels", lambda x, size, align_corners: (x + 1) * (size - 2) / 2)
    patch.setattr(sampler, "pixels_per_unit", lambda size, align_corners: (size - 2) / 2)


@mutant("paper; gradients", deceived="identity; adjoint; constant image; identity start")
def chain_factor_forgotten(patch):
    patch.setattr(sampler, "pixels_per_unit", lambda size, align_corners: 1)


@mutant("identity; affine grid", deceived="paper; gradients; two paths")
def H_and_W_swapped_in_size(patch):
    real = affine.target_grid
    patch.setattr(affine, "target_grid", lambda xp, size, *rest: real(xp, size[::-1], *rest))


@mutant("identity; affine grid", deceived="paper; gradients; two paths")
def plus_one_left_out_of_the_target_grid(patch):
    """arange(-1, 1, 2 / W)"""
    patch.setattr("stn_scratch.coordinates.axis_points", lambda xp, size, align_corners, dtype:
                  axis_points(xp, size, align_corners, dtype) * (1 - 1 / size) - 1 / size)


# Taps.

@mutant("identity; paper; paper on the lattice", deceived="gradients; adjoint; two paths")
def weights_from_clipped_indices(patch):
    def taps(x_p, finite, size, options, side):
        m0 = numpy.floor(x_p)
        m0, m1 = (numpy.clip(m, 0, size - 1) for m in (m0, m0 + 1))
        return [sampler.Tap(m0.astype(int), m1 - x_p, -1), sampler.Tap(m1.astype(int), x_p - m0, 1)]

    patch.setattr(sampler, "_taps", taps)


def change_bilinear(patch, **parts):
    patch.setitem(kernels.KERNELS, "bilinear", kernels.KERNELS["bilinear"]._replace(**parts))


@mutant("identity start; gradients on the lattice; paper on the lattice",
        deceived="identity; paper; gradients; adjoint; constant image; two paths")
def floor_and_ceil_taps(patch):
    """On a pixel, both taps are that pixel: no slope, so an identity start cannot learn."""
    change_bilinear(patch, slopes=lambda a: (-numpy.sign(a), numpy.sign(a)))


@mutant("constant image; gradients on the lattice; paper on the lattice",
        deceived="identity; paper; gradients; adjoint; identity start; two paths")
def printed_slope(patch):
    """Eq. (7) to the letter: +1 for the pixel itself, 0 for its neighbour at distance 1."""
    change_bilinear(patch, slopes=lambda a: (numpy.where(a == 0, 1.0, -1.0), numpy.where(a == 0, 0.0, 1.0)))


@mutant("paper", deceived="identity; gradients; adjoint; constant image")
def int_cast_in_place_of_floor(patch):
    change_bilinear(patch, cell=lambda x_p, side: x_p.astype("int64").astype(x_p.dtype))


@mutant("gradients; paper", deceived="identity; adjoint; constant image; identity start")
def wrong_sign_of_dx(patch):
    backward = sampler.sample_backward

    def wrong(dV, cache, **options):
        dU, dgrid = backward(dV, cache, **options)
        return dU, dgrid * numpy.reshape([-1.0, 1.0], (1, 2, 1, 1))

    patch.setattr(sampler, "sample_backward", wrong)


@mutant("gradients, other paddings; paper, other paddings", deceived="identity; gradients; adjoint")
def padding_slope_forgotten(patch):
    real = padding.pad_coordinate
    patch.setattr(sampler, "pad_coordinate", lambda x_p, **options: real(x_p, **options)._replace(slope=1))


@mutant("central gradients; paper on the lattice", deceived="identity; gradients; gradients on the lattice")
def central_takes_one_side(patch):
    patch.setitem(sampler.LATTICE_RULES, "central", (+1,))


# Gathering and scattering.

@mutant("adjoint; paper; gradients", deceived="identity; constant image; identity start")
def plus_equals_in_place_of_scatter_add(patch):
    def overwrite(target, index, values):
        target[index] = target[index] + values

    patch.setattr(sampler, "scatter_add", overwrite)


def wrong_pairs(stride, offset):
    def pairs(cache, side):
        B, H, W, _ = cache.U.shape
        image = numpy.arange(B)[:, None, None] * (H * W * offset)
        for n in sampler._taps(cache.y_p, cache.finite, H, cache.options, side):
            for m in sampler._taps(cache.x_p, cache.finite, W, cache.options, side):
                yield n, m, (image + n.index * (H if stride == "H" else W) + m.index) % (B * H * W)
    return pairs


@mutant("identity; paper", deceived="gradients; adjoint")
def rows_of_H_pixels(patch):
    patch.setattr(sampler, "_pairs", wrong_pairs("H", 1))


@mutant("identity; paper", deceived="gradients; adjoint")
def every_image_is_the_first(patch):
    patch.setattr(sampler, "_pairs", wrong_pairs("W", 0))


@mutant("affine grid; two paths", deceived="identity; paper; gradients")
def rows_of_dtheta_swapped(patch):
    backward = affine.affine_grid_backward
    wrong = lambda dgrid, cache: backward(dgrid[:, ::-1], cache)  # noqa: E731
    patch.setattr(affine, "affine_grid_backward", wrong)
    patch.setitem(TRANSFORMATIONS, "affine", TRANSFORMATIONS["affine"]._replace(
        backward=lambda dgrid, cache: wrong(dgrid, cache).reshape(-1, 6)))


# The spatial transformer: dU has two paths.

@mutant("two paths", deceived="identity; paper; gradients; adjoint")
def path_through_theta_lost(patch):
    backward = transformer.SpatialTransformer.backward

    def lost(self, dV, cache, **options):
        return sampler.sample_backward(dV, cache[3])[0], backward(self, dV, cache, **options)[1]

    patch.setattr(transformer.SpatialTransformer, "backward", lost)


@mutant("two paths", deceived="identity; paper; gradients; adjoint")
def path_through_the_pixels_lost(patch):
    backward = transformer.SpatialTransformer.backward

    def lost(self, dV, cache, **options):
        dU, grads = backward(self, dV, cache, **options)
        return dU - sampler.sample_backward(dV, cache[3])[0], grads

    patch.setattr(transformer.SpatialTransformer, "backward", lost)


# The tests.

test_the_package_passes, test_caught, test_deceived = checked_by(CHECKS, MUTANTS)


@pytest.mark.parametrize("plant, check, sentence", [
    (plus_equals_in_place_of_scatter_add, "adjoint", "an index occurs twice in an assignment"),
    (int_cast_in_place_of_floor, "paper", "cast of NaN, infinite, too large or negative fractional values"),
])
def test_the_stand_in_refuses(monkeypatch, plant, check, sentence):
    plant(monkeypatch)
    with pytest.raises(ValueError, match=f"^{sentence}"):
        CHECKS[check](strict)
