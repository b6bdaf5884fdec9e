"""Checks of the projective grid, shared: the ordinary tests run them, and the mutants must fail them.

The functions under test are looked up on their module at each call, so that a mutant may stand in for them.
"""

import checks_of_pairs as checks
import numpy

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import projective
from stn_scratch.sampling import sample_backward, sample_forward

IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0)
SIZE = (4, 7)


def generic(seed=0):
    """Three theta; w lies between 0.4 and 1.6 on the whole output."""
    rng = numpy.random.default_rng(seed)
    return numpy.concatenate([rng.normal(size=(3, 6)), rng.uniform(-0.3, 0.3, (3, 2))], axis=1)


def crossing():
    """The horizon runs across the output: vertical, horizontal, and slanting."""
    theta = generic(seed=1)
    theta[:, 6:] = [[1.7, 0], [0, -1.4], [0.9, 1.2]]
    return theta


def dense_grid(theta, size=SIZE, align_corners=True):
    """The formula, one number at a time; infinity where the point is not in front of the horizon."""
    grid = numpy.full((len(theta), 2, *size), numpy.inf)
    for b, h, w in numpy.ndindex(len(theta), *size):
        x, y = (checks.normalised(k, n, align_corners) if n > 1 else 0 for k, n in ((w, size[1]), (h, size[0])))
        h11, h12, h13, h21, h22, h23, h31, h32 = theta[b]
        depth = h31 * x + h32 * y + 1
        if depth > 1e-3:
            grid[b, :, h, w] = (h11 * x + h12 * y + h13) / depth, (h21 * x + h22 * y + h23) / depth
    return grid


def through_the_sampler(padding):
    """(U, theta) -> V, as one pair."""
    def forward(U, theta):
        grid, cache_grid = projective.projective_grid_forward(theta, size=SIZE)
        V, cache = sample_forward(U, grid, padding=padding)
        return V, (cache_grid, cache)

    def backward(dV, cache):
        dU, dgrid = sample_backward(dV, cache[1])
        return dU, projective.projective_grid_backward(dgrid, cache[0])

    return forward, backward


# The checks. Each raises AssertionError if it fails.

def loops(xp, theta, **options):
    """The grid equals the formula, and is infinite where that is."""
    expected = dense_grid(theta, **options)
    grid = to_host(projective.projective_grid_forward(xp.asarray(theta), **options)[0])
    seen = numpy.isfinite(expected)
    assert (grid[~seen] == numpy.inf).all()
    checks.close(grid[seen], expected[seen], 1e-12)


def gradients(xp, **options):
    return check_gradients(projective.projective_grid_forward, projective.projective_grid_backward,
                           (xp.asarray(generic()),), **options)


def sampled_gradients(xp, padding):
    U = xp.asarray(numpy.random.default_rng(3).normal(size=(3, 5, 6, 2)))
    return check_gradients(*through_the_sampler(padding), (U, xp.asarray(generic(seed=4))))


def visible_gradients(xp):
    """Finite differences of the part in front of the horizon, with NaN as the gradient of every other point."""
    def forward(theta):
        grid, cache = projective.projective_grid_forward(theta, size=SIZE)
        seen = xp.isfinite(grid)
        return xp.where(seen, grid, 0), (seen, cache)

    def backward(dgrid, cache):
        return projective.projective_grid_backward(xp.where(cache[0], dgrid, xp.nan), cache[1])

    return check_gradients(forward, backward, (xp.asarray(crossing()),))


def identity(xp, dtype="float64", size=SIZE, align_corners=True):
    """The identity is the target grid to the last bit."""
    theta = xp.asarray([IDENTITY] * 2, dtype=dtype)
    grid, _ = projective.projective_grid_forward(theta, size=size, align_corners=align_corners)
    numpy.testing.assert_array_equal(to_host(grid), to_host(checks.identity_grid(xp, 2, size, align_corners, dtype)))
    assert grid.dtype == dtype


def horizon(xp, padding):
    """Of a bright image, what is not in front of the horizon is black; the gradient is that of the rest."""
    U, theta = numpy.random.default_rng(2).uniform(1, 2, (3, 5, 6, 2)), crossing()
    forward, backward = through_the_sampler(padding)
    V = to_host(forward(xp.asarray(U), xp.asarray(theta))[0])
    seen = numpy.isfinite(dense_grid(theta))[:, 0]
    assert 0.2 < seen.mean() < 0.9
    assert (V[~seen] == 0).all()
    assert padding == "zeros" or (V[seen] >= 1).all()
    return check_gradients(forward, backward, (xp.asarray(U), xp.asarray(theta)))


CHECKS = {
    "loops": lambda xp: loops(xp, generic(), size=SIZE),
    "gradients": lambda xp: gradients(xp, size=SIZE),
    "gradients through the sampler": lambda xp: [sampled_gradients(xp, padding) for padding in checks.PADDINGS],
    "visible gradients": visible_gradients,
    "identity": identity,
    "horizon": lambda xp: [horizon(xp, padding) for padding in checks.PADDINGS],
}
