"""The kernels of Eq. (3) at their edges: dtypes, non-finite and huge values, one pixel, nothing at all, errors."""


import checks_of_kernels as of_kernels
import checks_of_pairs as checks
import numpy
import pytest
from checks_of_kernels import both_conventions, every_kernel, far_kernels, name_of, of_width, paddings
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.sampling import sample_forward
from stn_scratch.sampling.kernels import Gaussian, Kernel, Triangle

NAN, INF = numpy.nan, numpy.inf


@every_kernel
@paddings
@both_conventions
def test_float32(xp, kernel, padding, align_corners):
    options = {"kernel": kernel, "padding": padding, "align_corners": align_corners}
    args, dV = of_kernels.inputs(xp, kernel, "generic", options)
    small = [xp.asarray(to_host(a), dtype="float32") for a in (*args, dV)]
    results = of_kernels.run(small[:-1], small[-1], **options), of_kernels.run(args, dV, **options)
    for actual, expected in zip(*results, strict=True):
        assert actual.dtype == "float32"
        checks.close(actual, expected, 2e-6 * max(1, abs(expected).max()))


@far_kernels
@paddings
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_point_that_is_not_finite_samples_nothing(xp, kernel, padding, dtype):
    options = {"kernel": kernel, "padding": padding}
    (U, grid, *Phi), dV = of_kernels.inputs(xp, kernel, "generic", {}, dtype)
    dV_without = to_host(dV).copy()
    dV_without[-1, 2, 3] = 0
    V, *gradients = of_kernels.run((U, grid, *Phi), xp.asarray(dV_without), **options)
    V[-1, 2, 3] = 0
    for point in [(NAN, 0.1), (0.1, INF), (-INF, NAN)]:
        bad = to_host(grid).copy()
        bad[-1, :, 2, 3] = point
        found = of_kernels.run((U, xp.asarray(bad), *Phi), dV, **options)
        for actual, wanted in zip(found, (V, *gradients), strict=True):
            checks.same(xp, actual, wanted)


@far_kernels
@paddings
@both_conventions
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_huge_point(xp, kernel, padding, align_corners, dtype):
    """Zeros: black. Border: the corner pixel. Reflect: some pixel. No slope, no warning."""
    args, dV = of_kernels.inputs(xp, kernel, "generic", {"align_corners": align_corners}, dtype)
    grid = to_host(args[1]).copy()
    grid[-1, :, 2, 3] = 1e30, -1e30
    args = (args[0], xp.asarray(grid), *args[2:])
    V, *gradients = of_kernels.run(args, dV, kernel=kernel, padding=padding, align_corners=align_corners)
    assert all(numpy.isfinite(a).all() for a in (V, *gradients))
    image, point = to_host(args[0])[-1], V[-1, 2, 3]
    checks.close(gradients[1][-1, :, 2, 3], [0, 0], 1e-4 if dtype == "float32" else 1e-12)
    allowed = {"zeros": 0 * image[0, :1], "border": image[0, -1:], "reflect": image.reshape(-1, len(point))}
    assert abs(allowed[padding] - point).max(axis=1).min() < 1e-5


@of_width
def test_Phi_that_is_not_finite_stays_with_its_image(xp, kernel):
    (U, grid, Phi), dV = of_kernels.inputs(xp, kernel)
    expected = of_kernels.run((U, grid, Phi), dV, kernel=kernel)
    Phi = to_host(Phi).copy()
    Phi[0, 0] = NAN
    for actual, wanted in zip(of_kernels.run((U, grid, xp.asarray(Phi)), dV, kernel=kernel), expected, strict=True):
        assert numpy.isnan(actual[0]).any()
        checks.same(xp, actual[1], wanted[1])
    Phi[0, 0] = INF
    assert all(numpy.isfinite(a).all() for a in of_kernels.run((U, grid, xp.asarray(Phi)), dV, kernel=kernel))


@far_kernels
@paddings
@both_conventions
@pytest.mark.parametrize("size", [(1, 5), (4, 1), (1, 1)])
def test_one_pixel_axes(xp, kernel, padding, align_corners, size):
    rng = numpy.random.default_rng(0)
    U, dV = (xp.asarray(rng.normal(size=(2, *shape, 3))) for shape in (size, (6, 7)))
    grid, Phi = xp.asarray(rng.uniform(-0.9, 0.9, (2, 2, 6, 7))), of_kernels.parameters(xp, kernel)
    V, dU, *_ = of_kernels.run((U, grid, *Phi), dV, kernel=kernel, padding=padding, align_corners=align_corners)
    expected = of_kernels.oracle(U, grid, dV, *(Phi or [None]), kernel, padding, align_corners)
    checks.close(V, expected[0], 1e-12)
    checks.close(dU, expected[1], 1e-12)


@far_kernels
@paddings
@pytest.mark.parametrize("B, C, H_out", [(0, 4, 6), (2, 0, 6), (2, 4, 0), (0, 0, 0)])
def test_nothing_in_nothing_out(xp, kernel, padding, B, C, H_out):
    args = (xp.ones((B, 3, 5, C)), 0.3 * xp.ones((B, 2, H_out, 7)), *of_kernels.parameters(xp, kernel, B))
    V, *gradients = of_kernels.run(args, xp.ones((B, H_out, 7, C)), kernel=kernel, padding=padding)
    assert V.shape == (B, H_out, 7, C)
    for gradient, a in zip(gradients, args, strict=True):
        assert gradient.shape == a.shape and not gradient.any()


# Errors.

@pytest.mark.parametrize("kernel", ["lanczos", Gaussian, 3, None, ["bilinear"]], ids=str)
def test_unknown_kernel(kernel):
    (U, grid), _ = of_kernels.inputs(numpy, "bilinear")
    with raises(ValueError, "kernel must be one of 'integer', 'bilinear', 'bicubic' or a kernel such as "
                            f"Gaussian(radius=3), not {kernel!r}"):
        sample_forward(U, grid, kernel=kernel)


@pytest.mark.parametrize("kind", [Gaussian, Triangle])
@pytest.mark.parametrize("radius, sentence", [
    (0, "radius must be a positive whole number, not 0"), (2.5, "radius must be a positive whole number, not 2.5"),
    (-3, "radius must be a positive whole number, not -3"), (True, "radius must be a positive whole number, not True"),
    ("3", "radius must be a positive whole number, not '3'"), (1, "radius must be at least 2 pixels, not 1"),
])
def test_bad_radius(kind, radius, sentence):
    with raises(ValueError, sentence):
        kind(radius)


@pytest.mark.parametrize("Phi, kind, sentence", [
    (None, ValueError, "Phi must be given, an array (B, 2), for the kernel Gaussian(radius=3)"),
    (numpy.zeros(2), ValueError, "Phi must have shape (B, 2), not (2,)"),
    (numpy.zeros((2, 3)), ValueError, "Phi must have shape (B, 2), not (2, 3)"),
    (numpy.zeros((1, 2)), ValueError, "Phi must have shape (B, 2) with B = 2, not (1, 2)"),
    (numpy.zeros((2, 2), "float32"), TypeError, "Phi must have the dtype of U, float64, not float32"),
    (numpy.zeros((2, 2), "int64"), TypeError, "Phi must be float32 or float64, not int64"),
    (strict.zeros((2, 2)), TypeError, "Phi and U must be on the same device, not one on the host and one on the GPU"),
    (1.5, TypeError, "Phi must be a NumPy or CuPy array, not float"),
])
def test_wrong_Phi(Phi, kind, sentence):
    (U, grid), _ = of_kernels.inputs(numpy, "bilinear")
    with raises(kind, sentence):
        sample_forward(U, grid, Phi, kernel=Gaussian(radius=3))


@pytest.mark.parametrize("kernel", ["bicubic", "integer", of_kernels.SPLINE], ids=name_of)
def test_Phi_for_a_kernel_without_parameters(kernel):
    (U, grid), _ = of_kernels.inputs(numpy, kernel)
    assert isinstance(kernel, str | Kernel)
    with raises(ValueError, f"Phi must be left out: the kernel {kernel!r} has no parameters"):
        sample_forward(U, grid, numpy.zeros((2, 2)), kernel=kernel)
