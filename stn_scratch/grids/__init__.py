"""Sampling grids: theta -> grid, one file a family, and the table of all transformations by name."""

from math import prod
from typing import NamedTuple

from stn_scratch.grids import bounded, constrained
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.grids.constrained import pixel_aspect
from stn_scratch.grids.piecewise import piecewise_affine_grid_backward, piecewise_affine_grid_forward
from stn_scratch.grids.projective import projective_grid_backward, projective_grid_forward
from stn_scratch.grids.thin_plate import tps_grid_backward, tps_grid_forward
from stn_scratch.validate import check_arrays


class Transformation(NamedTuple):
    identity: tuple  # the parameters that leave the image as it is
    forward: object  # (p (B, n), *, size, align_corners) -> grid (B, 2, H', W'), cache
    backward: object  # (dgrid, cache) -> dp (B, n)


def _affine_forward(p, *, size, align_corners):
    check_arrays(p=(p, "B 6"))
    return affine_grid_forward(p.reshape(-1, 2, 3), size=size, align_corners=align_corners)


def _affine_backward(dgrid, cache):
    return affine_grid_backward(dgrid, cache).reshape(-1, 6)


def _constrained(identity, theta_forward, theta_backward, *, turns=False):
    """A constrained affine transformation: p -> theta -> grid, and back by the chain rule.

    turns: it is told the aspect of the output, so that it turns rigidly in the output's pixels, square image or not.
    """

    def forward(p, *, size, align_corners):
        options = {"aspect": pixel_aspect(size, align_corners=align_corners)} if turns else {}
        theta, cache_theta = theta_forward(p, **options)
        grid, cache_grid = affine_grid_forward(theta, size=size, align_corners=align_corners)
        return grid, (cache_theta, cache_grid)

    def backward(dgrid, cache):
        cache_theta, cache_grid = cache
        return theta_backward(affine_grid_backward(dgrid, cache_grid), cache_theta)

    return Transformation(identity, forward, backward)


def _displacements(forward, backward, *lattice):
    """Displacements (x, y) of a lattice of points, flattened to p (B, n). Zeros are the identity."""
    n = 2 * prod(lattice)

    def from_p(p, *, size, align_corners):
        check_arrays(p=(p, f"B {n}"))
        return forward(p.reshape(-1, *lattice, 2), size=size, align_corners=align_corners)

    def to_dp(dgrid, cache):
        return backward(dgrid, cache).reshape(-1, n)

    return Transformation((0,) * n, from_p, to_dp)


TRANSFORMATIONS = {
    "affine": Transformation((1, 0, 0, 0, 1, 0), _affine_forward, _affine_backward),
    "attention": _constrained((1, 0, 0), constrained.attention_theta_forward, constrained.attention_theta_backward),
    "translation": _constrained((0, 0), constrained.translation_theta_forward, constrained.translation_theta_backward),
    "rotation": _constrained((0,), constrained.rotation_theta_forward, constrained.rotation_theta_backward, turns=True),
    "similarity": _constrained((1, 0, 0, 0), constrained.similarity_theta_forward,
                               constrained.similarity_theta_backward, turns=True),
    "scale": _constrained((0,), bounded.scale_theta_forward, bounded.scale_theta_backward),
    "shear": _constrained((0, 0), bounded.shear_theta_forward, bounded.shear_theta_backward),
    "bounded-attention": _constrained((0, 0, 0), bounded.bounded_attention_theta_forward,
                                      bounded.bounded_attention_theta_backward),
    "bounded-similarity": _constrained((0, 0, 0, 0), bounded.bounded_similarity_theta_forward,
                                       bounded.bounded_similarity_theta_backward, turns=True),
    "projective": Transformation((1, 0, 0, 0, 1, 0, 0, 0), projective_grid_forward, projective_grid_backward),
    "tps": _displacements(tps_grid_forward, tps_grid_backward, 16),  # the paper's 16 points
    "piecewise": _displacements(piecewise_affine_grid_forward, piecewise_affine_grid_backward, 4, 4),
}
