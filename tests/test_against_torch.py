"""Against PyTorch's grid_sample and affine_grid, off the lattice: values and both gradients.

What is compared and how it is measured stands in benchmarks/agreement.py, whose table is made with the same functions.
Projective and thin-plate grids have no peer in PyTorch; whatever made the grid, the sampler is the one tested here.
"""

import numpy
import pytest

from stn_scratch import (
    affine_grid3d_backward,
    affine_grid3d_forward,
    affine_grid_backward,
    affine_grid_forward,
    to_host,
)
from stn_scratch.coordinates import pixels_per_unit, to_pixels

torch = pytest.importorskip("torch")
from benchmarks import agreement  # noqa: E402 (it needs PyTorch)

BILINEAR = [case for case in agreement.CASES if case["kernel"] == "bilinear"]
# largest difference of V, dU, dgrid: float64 shows that the two mean the same, float32 adds its own rounding only
TOLERANCES = {"float32": (1e-5, 2e-5, 2e-5), "float64": (1e-13, 1e-13, 1e-13)}
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCES)
both_conventions = pytest.mark.parametrize("align_corners", [True, False])


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: "-".join(map(str, case.values())))


def check(actual, expected):
    """V, dU, dgrid (or dtheta) of both; the expected ones carry the dtype."""
    found = agreement.differences(actual, expected)
    # `not <=`: NaN fails, too
    wrong = [f"{name}: {error:.3g} > {tolerance:.3g}" for name, error, tolerance
             in zip(("V", "dU", "dgrid"), found, TOLERANCES[expected[0].dtype.name], strict=True)
             if not error <= tolerance]
    assert wrong == []


@both_conventions
@pytest.mark.parametrize("size", [5, 18])
def test_the_points_are_off_the_lattice(align_corners, size, rng):
    """0.05 pixel from every kink, in [-2, 2], and of every kind: inside, in the last half pixel, beyond."""
    x = agreement.off_lattice(rng, 5000, size, align_corners)
    x_p = to_pixels(x, size, align_corners)
    assert abs(2 * x_p - numpy.rint(2 * x_p)).min() >= 0.1 - 1e-9
    assert abs(x).max() < 2
    for low, high in ((-size, -0.5), (-0.5, 0), (0, size - 1), (size - 1, size - 0.5), (size - 0.5, 2 * size)):
        assert ((low < x_p) & (x_p < high)).sum() > 25


@each(agreement.CASES)
@both_dtypes
@pytest.mark.parametrize("C", [1, 3, 32])
def test_random_grids(xp, case, dtype, C, rng):
    args = agreement.inputs(rng, align_corners=case["align_corners"], C=C, dtype=dtype)
    expected = agreement.theirs(*args, **case)
    assert abs(expected[2]).max() > 1 or case["kernel"] == "integer"
    check(agreement.ours(*map(xp.asarray, args), **case), expected)


@each(agreement.CASES)
def test_views(xp, case, rng):
    """Arrays that lie in memory as PyTorch has them, every second entry of one, or back to front."""
    args = agreement.inputs(rng, align_corners=case["align_corners"])
    expected = agreement.theirs(*args, **case)
    U, grid, dV = map(xp.asarray, args)
    in_their_memory = [xp.ascontiguousarray(a.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1) for a in (U, dV)]
    in_their_memory.insert(1, xp.ascontiguousarray(grid.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    for views in (in_their_memory,
                  [xp.repeat(a, 2, axis=2)[:, :, ::2] for a in (U, grid, dV)],
                  [xp.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1] for a in (U, grid, dV)]):
        assert not any(a.flags.c_contiguous for a in views)
        check(agreement.ours(*views, **case), expected)


@each(agreement.CASES)
@both_dtypes
@pytest.mark.parametrize("sizes", [((1, 5), (4, 7)), ((6, 1), (4, 7)), ((1, 1), (4, 7)), ((6, 5), (1, 7)),
                                   ((6, 5), (4, 1)), ((6, 5), (1, 1)), ((1, 1), (1, 1))], ids=str)
def test_one_pixel_axes(xp, case, dtype, sizes, rng):
    args = agreement.inputs(rng, align_corners=case["align_corners"], in_size=sizes[0], out_size=sizes[1], dtype=dtype)
    check(agreement.ours(*map(xp.asarray, args), **case), agreement.theirs(*args, **case))


@each(agreement.CASES)
@pytest.mark.parametrize("options", [{"B": 0}, {"C": 0}, {"out_size": (0, 15)}, {"B": 0, "C": 0}], ids=str)
def test_nothing_to_sample(xp, case, options, rng):
    """No image, no channel or no output row: the same empty arrays, and zero gradients."""
    args = agreement.inputs(rng, align_corners=case["align_corners"], **options)
    expected = agreement.theirs(*args, **case)
    actual = agreement.ours(*map(xp.asarray, args), **case)
    assert [a.shape for a in actual] == [a.shape for a in expected]
    check(actual, expected)
    assert not any(a.any() for a in actual)


@each(BILINEAR)
@both_dtypes
def test_volumes(xp, case, dtype, rng):
    """sample3d against grid_sample with a grid of five axes."""
    args = agreement.inputs(rng, align_corners=case["align_corners"], in_size=(5, 9, 7), out_size=(6, 4, 8),
                            dtype=dtype)
    check(agreement.ours(*map(xp.asarray, args), **case), agreement.theirs(*args, **case))


# From theta to V, and back to theta.

def theta_off_lattice(rng, B, in_size, out_size, align_corners):
    """Random theta whose samples all keep 0.1 pixel from every multiple of half a pixel.

    In pixels x_p = M (m, n, 1): M has multiples of 1/2 for every pixel of the output, and the shift is 0.1 to 0.4 more
    than one. `to_pixels` and its inverse make theta of it.
    """
    d = len(in_size)
    M = numpy.zeros((B, d + 1, d + 1))
    M[:, :d, :d] = rng.integers(-3, 4, (B, d, d)) / 2
    M[:, :d, d] = rng.integers(0, 2 * min(in_size), (B, d)) / 2 + rng.uniform(0.1, 0.4, (B, d))
    M[:, d, d] = 1
    of_in, of_out = (numpy.diag([*(pixels_per_unit(n, align_corners) for n in reversed(size)), 1.0])
                     for size in (in_size, out_size))
    for of, size in ((of_in, in_size), (of_out, out_size)):
        of[:d, d] = [(n - 1) / 2 for n in reversed(size)]
    return (numpy.linalg.inv(of_in) @ M @ of_out)[:, :d]


@both_dtypes
@pytest.mark.parametrize("in_size, out_size, case", [((13, 18), (11, 15), case) for case in agreement.CASES]
                         + [((5, 9, 7), (6, 4, 8), case) for case in BILINEAR], ids=str)
def test_through_theta(xp, in_size, out_size, case, dtype, rng):
    """theta -> grid -> V and dV -> dgrid -> dtheta, in one piece; of a volume, too."""
    align_corners = case["align_corners"]
    theta = theta_off_lattice(rng, 3, in_size, out_size, align_corners).astype(dtype)
    U, _, dV = agreement.inputs(rng, align_corners=align_corners, in_size=in_size, out_size=out_size, dtype=dtype)

    forward, backward = ((affine_grid_forward, affine_grid_backward) if len(in_size) == 2 else
                         (affine_grid3d_forward, affine_grid3d_backward))
    grid, cache = forward(xp.asarray(theta), size=out_size, align_corners=align_corners)
    V, dU, dgrid = agreement.ours(xp.asarray(U), grid, xp.asarray(dV), **case)
    dtheta = to_host(backward(xp.asarray(dgrid), cache))

    leaf = torch.from_numpy(theta).requires_grad_()
    their_grid = torch.nn.functional.affine_grid(leaf, (3, 4, *out_size), align_corners=align_corners)
    as_ours = numpy.moveaxis(their_grid.detach().numpy(), -1, 1)
    assert agreement.relative(to_host(grid), as_ours) <= TOLERANCES[dtype][0]
    their_V, their_dU, their_dgrid = agreement.theirs(U, as_ours, dV, **case)
    their_grid.backward(torch.from_numpy(numpy.moveaxis(their_dgrid, 1, -1)))
    check((V, dU, dtheta), (their_V, their_dU, leaf.grad.numpy()))
