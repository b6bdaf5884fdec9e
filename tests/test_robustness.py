"""Any theta, however wild: no NaN, infinity, warning or wrong index reaches what is sampled, or a gradient.

Warnings are errors here, and the strict stand-in raises at an index that leaves its array. The environment variable
STN_THETAS says how many theta of each family, dtype and array module are tried.
"""

import os
from functools import partial
from typing import NamedTuple

import checks_of_pairs as checks
import numpy
import pytest

from stn_scratch.backend import get_array_module, to_host
from stn_scratch.grids import TRANSFORMATIONS, affine, compose, usable, volume
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.volume import sample3d_backward, sample3d_forward

THETAS = int(os.environ.get("STN_THETAS", 10_000))
BATCH = 5_000
BOUNDED = ("scale", "shear", "bounded-attention", "bounded-similarity")


class Family(NamedTuple):
    n: int  # parameters of one image
    forward: object  # p (B, n), align_corners -> grid, cache
    backward: object  # dgrid, cache -> dp (B, n)
    sample: tuple = (sample_forward, sample_backward)


def of_table(name):
    transformation = TRANSFORMATIONS[name]
    return Family(len(transformation.identity), partial(transformation.forward, size=(2, 3)), transformation.backward)


def of_volumes():
    def forward(p, *, align_corners):
        return volume.affine_grid3d_forward(p.reshape(-1, 3, 4), size=(1, 2, 3), align_corners=align_corners)

    return Family(12, forward, lambda dgrid, cache: volume.affine_grid3d_backward(dgrid, cache).reshape(-1, 12),
                  (sample3d_forward, sample3d_backward))


def of_compose(theta_forward, theta_backward, *, arguments=1, **options):
    """p -> one theta, or two -> theta -> grid."""
    def forward(p, *, align_corners):
        p = p.reshape(-1, arguments, 2, 3)
        theta, cache = theta_forward(*[p[:, k] for k in range(arguments)], **options)
        grid, cache_grid = affine.affine_grid_forward(theta, size=(2, 3), align_corners=align_corners)
        return grid, (cache, cache_grid)

    def backward(dgrid, cache):
        dp = theta_backward(affine.affine_grid_backward(dgrid, cache[1]), cache[0])
        dp = dp if isinstance(dp, tuple) else (dp,)
        return get_array_module(dgrid).stack(dp, axis=1).reshape(-1, 6 * arguments)

    return Family(6 * arguments, forward, backward)


SIZES = {"in_size": (5, 7), "out_size": (2, 3)}
FAMILIES = {
    **{name: of_table(name) for name in TRANSFORMATIONS},
    "affine of volumes": of_volumes(),
    "compose": of_compose(compose.compose_theta_forward, compose.compose_theta_backward, arguments=2),
    "inverse": of_compose(compose.inverse_theta_forward, compose.inverse_theta_backward),
    "from pixels": of_compose(compose.theta_from_pixels_forward, compose.theta_from_pixels_backward, **SIZES),
    "to pixels": of_compose(compose.theta_to_pixels_forward, compose.theta_to_pixels_backward, **SIZES),
}


def wild(rng, B, n, dtype):
    """Parameters of B images: in each image numbers of one kind, in all of its entries or among normal ones."""
    normal = rng.normal(size=(5, B, n))
    huge = rng.choice([1e10, 1e20, 1e30, 1e38, float(numpy.finfo(dtype).max)], (B, n))
    kinds = numpy.stack([
        normal[0],
        normal[1] * 10,
        numpy.clip(normal[2], -1, 1) * huge,
        rng.choice([-1, 1], (B, n)) * 10 ** rng.uniform(10, 38, (B, n)),
        normal[3] * 10 ** rng.uniform(-45, 0, (B, n)),
        rng.integers(-1, 2, (B, n)),  # many of these have no inverse, or points on the horizon
        numpy.full((B, n), numpy.nan),
        rng.choice([numpy.inf, -numpy.inf], (B, n)),
    ])
    p = kinds[rng.integers(0, len(kinds), B), numpy.arange(B)]
    among = rng.random((B, n)) < rng.choice([0, 0.5, 0.9], (B, 1))
    return numpy.where(among, normal[4], p).astype(dtype)


def try_one_batch(xp, name, p, rng):
    """From p through the sampler and back, for every padding, both conventions, and an axis of one pixel."""
    family, volumes = FAMILIES[name], name == "affine of volumes"
    forward, backward = family.sample
    # NaN, and what is as good as infinite; a bounded form takes all but NaN
    no_use = numpy.isnan(p).any(axis=1) if name in BOUNDED else ~(abs(p) <= 1e15).all(axis=1)
    plain = ~no_use & (abs(p) <= 1e6).all(axis=1)
    assert no_use.any() and plain.any()
    for align_corners, size in [(True, (3, 2)), (False, (3, 2)), (True, (1, 4))]:
        size = (2, *size) if volumes else size
        grid, cache = family.forward(xp.asarray(p), align_corners=align_corners)
        U = xp.asarray(rng.uniform(1, 2, (len(p), *size, 1)), dtype=p.dtype)
        dV = xp.asarray(rng.normal(size=(len(p), *grid.shape[2:], 1)), dtype=p.dtype)
        nowhere = (abs(to_host(grid)) > 1e30).any(axis=1)
        assert nowhere[no_use].all() and not numpy.isnan(to_host(grid)).any()
        assert name in ("projective", "inverse") or not nowhere[plain].any()
        for padding in checks.PADDINGS:
            V, cache_V = forward(U, grid, padding=padding, align_corners=align_corners)
            dU, dgrid = backward(dV, cache_V)
            V, dU, dp = map(to_host, (V, dU, family.backward(dgrid, cache)))
            assert all(numpy.isfinite(a).all() and a.dtype == p.dtype for a in (V, dU, dp))
            assert (V[nowhere] == 0).all() and (dp[no_use] == 0).all()
            assert padding == "zeros" or (V[~nowhere] > 0.99).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAMILIES)
def test_any_theta_is_harmless(xp, name, dtype):
    rng = numpy.random.default_rng(0)
    for done in range(0, THETAS, BATCH):
        try_one_batch(xp, name, wild(rng, min(BATCH, THETAS - done), FAMILIES[name].n, dtype), rng)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_other_images_do_not_notice(xp, name):
    """Beside an image whose theta is not finite, the others have the grid and the gradient that they have alone."""
    family, rng = FAMILIES[name], numpy.random.default_rng(1)
    p = 0.3 * rng.normal(size=(4, family.n))  # far from the horizon
    alone, cache = family.forward(xp.asarray(p), align_corners=True)
    dgrid = rng.normal(size=alone.shape)
    dp = to_host(family.backward(xp.asarray(dgrid), cache))
    p[1, -1], p[2, 0] = numpy.nan, numpy.nan
    grid, cache = family.forward(xp.asarray(p), align_corners=True)
    for images in ([0], [3]):
        checks.close(to_host(grid)[images], to_host(alone)[images], 1e-12)
        checks.close(to_host(family.backward(xp.asarray(dgrid), cache))[images], dp[images], 1e-12)
    assert (to_host(grid)[1:3] > 1e30).all()
    assert (to_host(family.backward(xp.asarray(dgrid), cache))[1:3] == 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_mutant_without_a_rule(monkeypatch, name):
    """Were every theta used as it is, there would be warnings in each family."""
    monkeypatch.setattr(usable, "LARGEST", numpy.inf)
    rng = numpy.random.default_rng(2)
    with pytest.raises(RuntimeWarning):
        try_one_batch(numpy, name, wild(rng, 500, FAMILIES[name].n, "float32"), rng)
