"""Mutants of the 3-D grid, sampler and flattening: each must fail the checks that name it (see test_mutants.py)."""

import itertools

import checks_of_volume as checks
import numpy
from checks_of_pairs import PADDINGS
from mutants import checked_by, mutants_of

from stn_scratch.grids import volume as grids
from stn_scratch.sampling import sampler
from stn_scratch.sampling import volume as sampling

CHECKS = {
    "identity": lambda xp: [checks.identity(xp, align_corners) for align_corners in (True, False)],
    "sum": lambda xp: [checks.against_the_sum(xp, where, align_corners=align_corners)
                       for where in ("generic", "border", "lattice") for align_corners in (True, False)],
    "gradients": lambda xp: [checks.gradients(xp, where) for where in ("generic", "border")],
    "gradients on the lattice": lambda xp: checks.gradients(xp, "lattice", side="right"),
    "adjoint": checks.adjoint,
    "constant volume": checks.constant_volume,
    "identity start": checks.identity_start,
    "2-D sampler": checks.like_the_2d_sampler,
    "grid": checks.grid,
    "grid gradients": checks.grid_gradients,
    "flatten": checks.flatten,
    "flatten gradients": checks.flatten_gradients,
    "whole gradients": lambda xp: [checks.whole_gradients(xp, padding=padding) for padding in PADDINGS],
}
MUTANTS, mutant = mutants_of()


def change_dgrid(patch, change):
    """change(dgrid), a copy, in place of what sample3d_backward gives."""
    backward = sampling.sample3d_backward

    def wrong(dV, cache, **options):
        dU, dgrid = backward(dV, cache, **options)
        return dU, change(dgrid.copy())

    patch.setattr(sampling, "sample3d_backward", wrong)


# Coordinates.

@mutant("identity; sum; 2-D sampler", deceived="gradients; adjoint; whole gradients")
def x_and_z_swapped(patch):
    forward = sampling.sample3d_forward
    patch.setattr(sampling, "sample3d_forward", lambda U, grid, **options: forward(U, grid[:, ::-1], **options))
    change_dgrid(patch, lambda dgrid: dgrid[:, ::-1])


def exchange(a, b):
    return lambda n: {a: b, b: a}.get(n, n)


@mutant("sum; gradients; whole gradients", deceived="identity; adjoint; constant volume; identity start")
def chain_factor_forgotten(patch):
    patch.setattr(sampling, "pixels_per_unit", lambda size, align_corners: 1)


@mutant("sum; gradients", deceived="identity; adjoint; constant volume; identity start")
def chain_factors_of_D_and_H_exchanged(patch):
    real, swap = sampling.pixels_per_unit, exchange(5, 3)
    patch.setattr(sampling, "pixels_per_unit", lambda size, align_corners: real(swap(size), align_corners))


@mutant("identity; sum", deceived="gradients; adjoint")
def D_and_H_exchanged_in_both(patch):
    chain_factors_of_D_and_H_exchanged(patch)
    real, swap = sampling.to_pixels, exchange(5, 3)
    patch.setattr(sampling, "to_pixels", lambda x, size, align_corners: real(x, swap(size), align_corners))


@mutant("sum; gradients; gradients on the lattice; identity start; whole gradients",
        deceived="identity; adjoint; constant volume; 2-D sampler")
def no_slope_along_z(patch):
    change_dgrid(patch, lambda dgrid: dgrid * numpy.reshape([1.0, 1.0, 0.0], (1, 3, 1, 1, 1)))


@mutant("sum; gradients; whole gradients", deceived="identity; adjoint; constant volume; identity start; 2-D sampler")
def wrong_sign_of_dz(patch):
    change_dgrid(patch, lambda dgrid: dgrid * numpy.reshape([1.0, 1.0, -1.0], (1, 3, 1, 1, 1)))


# Taps.

@mutant("sum; 2-D sampler", deceived="identity; gradients; adjoint; constant volume; whole gradients")
def eighth_tap_lost(patch):
    real = sampling._eight_taps
    patch.setattr(sampling, "_eight_taps", lambda cache, side: itertools.islice(real(cache, side), 7))


@mutant("identity; sum", deceived="gradients; adjoint; whole gradients")
def weights_from_clipped_indices(patch):
    def taps(x_p, finite, size, options, side):
        m0 = numpy.floor(x_p)
        m0, m1 = (numpy.clip(m, 0, size - 1) for m in (m0, m0 + 1))
        return [sampler.Tap(m0.astype(int), m1 - x_p, -1), sampler.Tap(m1.astype(int), x_p - m0, 1)]

    patch.setattr(sampling, "_taps", taps)


@mutant("sum; gradients; 2-D sampler", deceived="identity; adjoint; constant volume; identity start")
def slopes_along_x_and_y_lack_the_weight_of_z(patch):
    real = sampling._eight_taps

    def taps(cache, side):
        for plane, *others in real(cache, side):
            yield plane._replace(weight=1.0 if side else plane.weight), *others

    patch.setattr(sampling, "_eight_taps", taps)


# Gathering and scattering.

def wrong_index(place):
    """_eight_taps with another flat index, of B, D, H, W, image b, plane l, row n, column m."""
    def taps(cache, side):
        B, D, H, W, _ = cache.U.shape
        b = numpy.arange(B)[:, None, None, None]
        axes = [sampler._taps(x, cache.finite, size, cache.options, side)
                for x, size in ((cache.z_p, D), (cache.y_p, H), (cache.x_p, W))]
        for plane, n, m in itertools.product(*axes):
            yield plane, n, m, place(B, D, H, W, b, plane.index, n.index, m.index) % (B * D * H * W)
    return taps


@mutant("identity; sum", deceived="gradients; adjoint; whole gradients")
def planes_of_D_rows(patch):
    patch.setattr(sampling, "_eight_taps", wrong_index(lambda B, D, H, W, b, l_, n, m: ((b * D + l_) * D + n) * W + m))


@mutant("identity; sum; 2-D sampler", deceived="gradients; adjoint; whole gradients")
def every_volume_is_the_first(patch):
    patch.setattr(sampling, "_eight_taps", wrong_index(lambda B, D, H, W, b, l_, n, m: (l_ * H + n) * W + m + 0 * b))


@mutant("adjoint; sum; gradients; 2-D sampler", deceived="identity; constant volume; identity start")
def plus_equals_in_place_of_scatter_add(patch):
    def overwrite(target, index, values):
        target[index] = target[index] + values

    patch.setattr(sampling, "scatter_add", overwrite)


# The grid.

@mutant("grid; identity", deceived="grid gradients; sum; whole gradients")
def D_and_H_swapped_in_size(patch):
    real = grids._target_volume
    patch.setattr(grids, "_target_volume", lambda xp, size, *rest: real(xp, (size[1], size[0], size[2]), *rest))


@mutant("grid; identity", deceived="grid gradients; sum; whole gradients")
def x_t_and_z_t_swapped(patch):
    real = grids._target_volume
    patch.setattr(grids, "_target_volume", lambda *args: real(*args)[[2, 1, 0, 3]])


@mutant("grid gradients; whole gradients", deceived="grid; identity; sum")
def rows_of_dtheta_swapped(patch):
    backward = grids.affine_grid3d_backward
    patch.setattr(grids, "affine_grid3d_backward", lambda dgrid, cache: backward(dgrid[:, ::-1], cache))


# The flattening.

@mutant("flatten", deceived="flatten gradients; whole gradients")
def mean_in_place_of_sum(patch):
    forward, backward = sampling.flatten_depth_forward, sampling.flatten_depth_backward

    def mean(V):
        W, cache = forward(V)
        return W / V.shape[1], cache

    patch.setattr(sampling, "flatten_depth_forward", mean)
    patch.setattr(sampling, "flatten_depth_backward", lambda dW, cache: backward(dW, cache) / cache.V_shape[1])


@mutant("flatten gradients; whole gradients", deceived="flatten; identity")
def gradient_shared_among_the_planes(patch):
    backward = sampling.flatten_depth_backward
    patch.setattr(sampling, "flatten_depth_backward", lambda dW, cache: backward(dW, cache) / cache.V_shape[1])


# The tests.

test_the_package_passes, test_caught, test_deceived = checked_by(CHECKS, MUTANTS)
