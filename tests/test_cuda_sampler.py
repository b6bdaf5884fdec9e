"""cuda/sampler.cu: the fused sampler against the NumPy pair, on the host behind a shim, or on a GPU."""

from contextlib import nullcontext

import checks_of_cuda
import numpy
import pytest
from checks_of_cuda import equal
from cuda_shim import DEVICES, as_on_a_cpu, launched, on

from stn_scratch import cuda
from stn_scratch.backend import to_host
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.sampler import Options

PADDINGS = ["zeros", "border", "reflect"]
OPTIONS = Options("bilinear", "zeros", True, "right")


@pytest.fixture(params=DEVICES, ids=lambda module: module.__name__)
def xp(request, monkeypatch):
    return on(request.param, monkeypatch)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("where", checks_of_cuda.WHERE)
def test_sampler(xp, where, padding, align_corners):
    checks_of_cuda.sampler(xp, where, padding, align_corners)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("where", checks_of_cuda.WHERE)
def test_sampler_as_on_a_cpu(xp, where, padding):
    with as_on_a_cpu():
        checks_of_cuda.sampler(xp, where, padding)
        checks_of_cuda.one_pixel_wide(xp)


@pytest.mark.parametrize("C", [2, 4, 5, 8, 12, 16, 19, 40])
def test_every_width(xp, C):
    """Channels that a CPU's kernels know beforehand (cuda/host.py), and such as fill no vector or leave a rest."""
    checks_of_cuda.sampler(xp, "border", channels=(C,))


def test_slopes_are_kept_on_a_cpu_for_one_channel(xp):
    for as_on, C, lattice in ((False, 1, "right"), (True, 1, "right"), (True, 2, "right"), (True, 1, "central")):
        U, grid, _ = map(xp.asarray, checks_of_cuda.sampler_case("generic", C, "float32", True))
        with as_on_a_cpu() if as_on else nullcontext():
            slopes = cuda.sample_forward(U, grid, OPTIONS._replace(lattice=lattice))[1].slopes
        wanted = (as_on or xp.__name__ == "host_numpy") and (C, lattice) == (1, "right")
        assert slopes.shape == grid.shape if wanted else slopes is None


def test_one_pixel_wide(xp):
    checks_of_cuda.one_pixel_wide(xp)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("where", checks_of_cuda.THETAS)
def test_affine_grid_and_sampler(xp, where, padding, align_corners):
    checks_of_cuda.affine_sampler(xp, where, padding, align_corners)


def test_dU_of_which_nobody_asked(xp):
    U, grid, dV = map(xp.asarray, checks_of_cuda.sampler_case("generic", 3, "float32", True))
    theta = xp.zeros((2, 2, 3), dtype="float32")
    for forward, backward, points in ((cuda.sample_forward(U, grid, OPTIONS), cuda.sample_backward, 0), (
            cuda.affine_sample_forward(U, theta, size=(6, 7), options=OPTIONS), cuda.affine_sample_backward, 1)):
        launched.clear()
        dU, with_dU = backward(dV, forward[1])
        names = [name.partition("<")[0] for name in launched]
        launched.clear()
        nothing, without = backward(dV, forward[1], need_dU=False)
        assert dU.shape == U.shape and nothing is None
        equal("the other gradient", without, to_host(with_dU))
        if xp.__name__ == "host_cuda":
            slopes = ["sample_dgrid", "affine_dtheta"][points]
            assert names == [slopes, "sample_dU"]
            assert launched == [f"{slopes}<float, int>"]


@pytest.mark.parametrize("B, H_out", [(0, 6), (2, 0)])
def test_empty(xp, B, H_out):
    """A batch of no images, or an output of no pixels: no kernel runs (CUDA refuses an empty grid)."""
    U, grid = xp.ones((B, 3, 5, 4), dtype="float32"), xp.ones((B, 2, H_out, 7), dtype="float32")
    for deterministic in (False, True):
        with cuda.deterministic(deterministic):
            V, cache = cuda.sample_forward(U, grid, OPTIONS)
            dU, dgrid = cuda.sample_backward(V, cache)
            equal("V", V, numpy.zeros((B, H_out, 7, 4), "float32"))
            equal("dU", dU, numpy.zeros((B, 3, 5, 4), "float32"))
            equal("dgrid", dgrid, numpy.zeros((B, 2, H_out, 7), "float32"))
            theta = xp.ones((B, 2, 3), dtype="float32")
            V, cache = cuda.affine_sample_forward(U, theta, size=(H_out, 7), options=OPTIONS)
            dU, dtheta = cuda.affine_sample_backward(V, cache)
            equal("V", V, numpy.zeros((B, H_out, 7, 4), "float32"))
            equal("dU", dU, numpy.zeros((B, 3, 5, 4), "float32"))
            equal("dtheta", dtheta, numpy.zeros((B, 2, 3), "float32"))
    assert launched == []


def test_arrays_whose_numbers_do_not_lie_in_order(xp):
    U, grid, dV = checks_of_cuda.sampler_case("generic", 4, "float64", True)
    V, cache = cuda.sample_forward(xp.asarray(U), xp.asarray(grid), OPTIONS)
    expected = [to_host(a) for a in (V, *cuda.sample_backward(xp.asarray(dV), cache))]
    turned = [xp.asarray(a.swapaxes(1, 2).copy()).swapaxes(1, 2) for a in (U, grid, dV)]
    assert not any(a.flags.c_contiguous for a in turned)
    V, cache = cuda.sample_forward(*turned[:2], OPTIONS)
    for name, actual, wanted in zip(("V", "dU", "dgrid"), (V, *cuda.sample_backward(turned[2], cache)), expected,
                                    strict=True):
        equal(name, actual, wanted, 2e-15)


@pytest.mark.parametrize("xp", DEVICES[2:], ids=lambda module: module.__name__)
def test_fused_and_plain_on_the_gpu(xp):
    """CuPy runs the pair itself with the kernels switched off; off the lattice, for its own rounding differs."""
    U, grid, dV = map(xp.asarray, checks_of_cuda.sampler_case("generic", 3, "float64", True))
    fused, cache = cuda.sample_forward(U, grid, OPTIONS)
    with cuda.fused(False):
        plain, cache_plain = sample_forward(U, grid)
        expected = [plain, *sample_backward(dV, cache_plain)]
    for name, a, b in zip(("V", "dU", "dgrid"), (fused, *cuda.sample_backward(dV, cache)), expected, strict=True):
        equal(name, a, to_host(b), 1e-13)


# The scatter in fixed point.

def on_one_pixel(xp, dV, dtype):
    """dU where every sample stands on pixel (0, 0) of the one channel."""
    U, grid = xp.zeros((1, 3, 5, 1), dtype=dtype), xp.full((1, 2, *dV.shape[1:3]), -1.0, dtype=dtype)
    _, cache = cuda.sample_forward(U, grid, OPTIONS)
    with cuda.deterministic():
        return to_host(cuda.sample_backward(xp.asarray(dV), cache)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [-1.9375, 1.0, 3e-30, 7e30, 0.0])
def test_fixed_point_holds_every_sum(xp, scale, dtype):
    """All of an output on one pixel, and all shares the largest: no more can meet. Nothing overflows or is lost."""
    for pixels in (1, 7, 8, 1023):
        dU = on_one_pixel(xp, numpy.full((1, 1, pixels, 1), scale, dtype), dtype)
        expected = numpy.zeros((1, 3, 5, 1), dtype)
        expected[0, 0, 0, 0] = pixels * float(numpy.dtype(dtype).type(scale))
        # a double has 53 bits; the sum's 62 hold a share's first 62 - 10
        equal(f"dU {pixels}", xp.asarray(dU), expected, {"float32": 0, "float64": 2.0**-52}[dtype])


@pytest.mark.parametrize("bad", [numpy.nan, numpy.inf, -numpy.inf])
def test_fixed_point_of_what_is_not_finite(xp, bad):
    """No sum in fixed point can say NaN: all of dU does, so that the training loop sees it."""
    dV = numpy.ones((1, 2, 3, 1))
    dV[0, 1, 1, 0] = bad
    assert numpy.isnan(on_one_pixel(xp, dV, "float64")).all()
