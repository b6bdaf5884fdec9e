"""The bilinear sampler that is written out, against the sampler over taps, which is the plain form of it."""

import numpy
import pytest
from checks_of_pairs import identity_grid, normalised, pixel_coordinates
from strict import strict

from stn_scratch import cuda
from stn_scratch.backend import scatter_add, to_host
from stn_scratch.sampling import bilinear, sample_backward, sample_forward, sampler

POINTS = ["generic", "border", "outside", "lattice", "lattice generic", "halves"]


@pytest.fixture(autouse=True)
def plain():
    """On a GPU a fused kernel would stand in for both."""
    with cuda.fused(False):
        yield


def inputs(xp, where, align_corners, C, dtype="float64", B=5, size=(3, 6), out=(4, 7)):
    rng = numpy.random.default_rng(4)
    kinds = (where.split() * 2)[:2]
    grid = numpy.stack([normalised(pixel_coordinates(kind, n, (B, *out), rng), n, align_corners)
                        for kind, n in zip(kinds, size[::-1], strict=True)], axis=1)
    arrays = rng.normal(size=(B, *size, C)), grid, rng.normal(size=(B, *out, C))
    return [xp.asarray(a, dtype=dtype) for a in arrays]


def run(U, grid, dV, **options):
    V, cache = sample_forward(U, grid, **options)
    return cache, [V, *sample_backward(dV, cache)]


def over_taps(U, grid, dV, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "_is_written_out", lambda *_: False)
        cache, results = run(U, grid, dV, **options)
    assert isinstance(cache, sampler.SampleCache)
    return results


def equal(arrays, expected, tolerance):
    for a, plain in zip(arrays, expected, strict=True):
        assert a.dtype == plain.dtype
        numpy.testing.assert_allclose(to_host(a), to_host(plain), rtol=0, atol=tolerance)


@pytest.mark.parametrize("where", POINTS)
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("C", [1, 3, 8, 9])
@pytest.mark.parametrize("block", [1, 60, 10 ** 6], ids="blocks of {}".format)
def test_like_the_taps(monkeypatch, xp, where, align_corners, C, block):
    """Few channels and many, an even number of them and an odd one; an image a block, a few, and all of them."""
    monkeypatch.setattr(bilinear, "BLOCK", block)
    args = inputs(xp, where, align_corners, C)
    cache, results = run(*args, align_corners=align_corners)
    assert isinstance(cache, bilinear.BilinearCache)
    equal(results, over_taps(*args, align_corners=align_corners), 1e-12)


@pytest.mark.parametrize("C", [1, 9])
def test_float32(xp, C):
    args = inputs(xp, "generic", True, C, "float32")
    _, results = run(*args)
    equal(results, over_taps(*args), 1e-5)
    _, precise = run(*(xp.asarray(to_host(a), dtype="float64") for a in args))
    equal(results, [xp.asarray(a, dtype="float32") for a in precise], 1e-5)


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf, 1e31, -3e38])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("C", [1, 9])
def test_a_coordinate_that_is_not_finite(xp, bad, axis, C):
    U, grid, dV = inputs(numpy, "generic", True, C, "float32")
    grid[2, axis, 1, 3] = bad
    args = [xp.asarray(a) for a in (U, grid, dV)]
    _, results = run(*args)
    equal(results, over_taps(*args), 1e-5)
    V, _, dgrid = map(to_host, results)
    assert not V[2, 1, 3].any() and not dgrid[2, :, 1, 3].any()


def test_identity_to_the_last_bit(xp):
    """a = b = 0 there: V is U00."""
    U = xp.asarray(numpy.random.default_rng(0).normal(size=(2, 5, 9, 3)))
    V, _ = sample_forward(U, identity_grid(xp, 2, (5, 9), True))
    numpy.testing.assert_array_equal(to_host(V), to_host(U))


@pytest.mark.parametrize("options, size", [({"padding": "border"}, (3, 6)), ({"lattice": "central"}, (3, 6)),
                                           ({"kernel": "integer"}, (3, 6)), ({}, (1, 6)), ({}, (3, 1))])
def test_the_rest_goes_over_taps(xp, options, size):
    U, grid, dV = inputs(xp, "generic", False, 3, size=size)
    cache, _ = run(U, grid, dV, **options)
    assert isinstance(cache, sampler.SampleCache)


@pytest.mark.parametrize("C", [1, 9])
def test_without_dU(xp, C):
    U, grid, dV = inputs(xp, "border", True, C)
    _, cache = sample_forward(U, grid)
    dU, dgrid = sample_backward(dV, cache, need_dU=False)
    assert dU is None
    numpy.testing.assert_array_equal(to_host(dgrid), to_host(sample_backward(dV, cache)[1]))


def test_nothing_is_written_to(xp):
    args = inputs(xp, "border", True, 3)
    before = [to_host(a).copy() for a in args]
    run(*args)
    for a, b in zip(args, before, strict=True):
        numpy.testing.assert_array_equal(to_host(a), b)


def test_blocks(monkeypatch):
    """On a host as many images as fit, at least one; on a GPU, for which the stand-in stands, all."""
    monkeypatch.setattr(bilinear, "BLOCK", 32)

    def blocks_for(module, B, H, W, C, side=4):
        """The images, first and behind the last, of each block for an output of this shape and square images."""
        _, cache = bilinear.bilinear_forward(module.ones((B, side, side, C)), module.zeros((B, 2, H, W)))
        return list(dict.fromkeys((piece.images.start, piece.images.stop) for piece in cache.pieces))

    for module, blocks in ((numpy, [(0, 2), (2, 4), (4, 6)]), (strict, [(0, 5)])):
        assert blocks_for(module, 5, 2, 3, 2) == blocks
    # 25 values of V and 16 of U an image; 4 and 81; 4 and 144
    for shape, blocks in (((2, 5, 5, 1), [(0, 1), (1, 2)]), ((2, 2, 2, 1, 9), [(0, 2)]),
                          ((2, 2, 2, 1, 12), [(0, 1), (1, 2)])):
        assert blocks_for(numpy, *shape) == blocks


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("C", [1, 2, 3, 6])
def test_scatter_add_of_rows(xp, dtype, C):
    """An index that occurs three times adds three rows; sums of small whole numbers are exact."""
    rng = numpy.random.default_rng(0)
    index, values = numpy.array([4, 1, 4, 0, 4]), rng.integers(-9, 9, (5, C)).astype(dtype)
    target, expected = xp.ones((6, C), dtype=dtype), numpy.ones((6, C), dtype)
    for i, row in zip(index, values, strict=True):
        expected[i] += row
    scatter_add(target, xp.asarray(index), xp.asarray(values))
    assert target.dtype == dtype
    numpy.testing.assert_array_equal(to_host(target), expected)
