"""The table of transformations: in each the identity, gradients, dtypes, empty batches; nothing is written to."""

import checks_of_pairs as checks
import numpy
import pytest

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.sampling import sample_backward, sample_forward

both_conventions = pytest.mark.parametrize("align_corners", [True, False])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
transformations = pytest.mark.parametrize("name", TRANSFORMATIONS)
sizes = pytest.mark.parametrize("size", [(4, 7), (7, 4), (1, 5), (3, 1), (1, 1)])


def parameters(name, B=3):
    return numpy.random.default_rng(0).normal(size=(B, len(TRANSFORMATIONS[name].identity)))


@both_conventions
@both_dtypes
@sizes
@transformations
def test_identity_is_the_target_grid_exactly(xp, name, align_corners, dtype, size):
    transformation = TRANSFORMATIONS[name]
    p = xp.asarray([transformation.identity] * 2, dtype=dtype)
    grid, _ = transformation.forward(p, size=size, align_corners=align_corners)
    x, y = ((2 * numpy.arange(n) - (n - 1)).astype(dtype) / max(n - 1 if align_corners else n, 1) for n in size[::-1])
    numpy.testing.assert_array_equal(to_host(grid), [numpy.stack(numpy.meshgrid(x, y))] * 2)
    assert grid.dtype == dtype


@both_conventions
@pytest.mark.parametrize("name", [name for name in TRANSFORMATIONS if name != "projective"])  # it has its own tests
def test_gradients(xp, name, align_corners):
    """Of p, all the way to the grid."""
    forward, backward = TRANSFORMATIONS[name].forward, TRANSFORMATIONS[name].backward
    check_gradients(forward, backward, (xp.asarray(parameters(name)),), size=(4, 7), align_corners=align_corners)


@pytest.mark.parametrize("name, p, other, q", [
    ("translation", [0.3, -0.2], "attention", [1, 0.3, -0.2]),
    ("attention", [0.7, 0.3, -0.2], "similarity", [0.7, 0, 0.3, -0.2]),
    ("rotation", [0.4], "similarity", [1, 0.4, 0, 0]),
    ("attention", [0.7, 0.3, -0.2], "affine", [0.7, 0, 0.3, 0, 0.7, -0.2]),
    ("rotation", [0.4], "bounded-similarity", [0, 0.4, 0, 0]),
    ("scale", [0.3], "bounded-attention", [0.3, 0, 0]),
    ("bounded-attention", [0.3, 0.2, -0.4], "bounded-similarity", [0.3, 0, 0.2, -0.4]),
    ("affine", [0.7, 0.1, 0.3, -0.2, 1.1, -0.2], "projective", [0.7, 0.1, 0.3, -0.2, 1.1, -0.2, 0, 0]),
])
def test_transformations_that_meet(xp, name, p, other, q):
    grids = [TRANSFORMATIONS[k].forward(xp.asarray([v]), size=(4, 7), align_corners=True)[0]
             for k, v in ((name, p), (other, q))]
    checks.close(grids[0], to_host(grids[1]), 1e-15)


@both_dtypes
@transformations
def test_dtype_in_dtype_out(xp, name, dtype):
    """Through the sampler and back, to the parameters."""
    p = xp.asarray(parameters(name, B=2), dtype=dtype)
    grid, cache_grid = TRANSFORMATIONS[name].forward(p, size=(4, 7), align_corners=True)
    V, cache = sample_forward(xp.ones((2, 3, 5, 6), dtype=dtype), grid)
    dp = TRANSFORMATIONS[name].backward(sample_backward(V, cache)[1], cache_grid)
    assert grid.dtype == V.dtype == dp.dtype == dtype


@transformations
def test_empty_batch(xp, name):
    transformation = TRANSFORMATIONS[name]
    n = len(transformation.identity)
    grid, cache = transformation.forward(xp.zeros((0, n)), size=(4, 7), align_corners=True)
    assert grid.shape == (0, 2, 4, 7)
    assert transformation.backward(grid, cache).shape == (0, n)


@transformations
def test_nothing_given_is_written_to(xp, name):
    p = xp.asarray(parameters(name))
    if xp is numpy:
        p.flags.writeable = False
    grid, cache = TRANSFORMATIONS[name].forward(p, size=(4, 7), align_corners=True)
    before = to_host(grid).copy()
    TRANSFORMATIONS[name].backward(grid, cache)
    numpy.testing.assert_array_equal(to_host(p), parameters(name))
    numpy.testing.assert_array_equal(to_host(grid), before)
