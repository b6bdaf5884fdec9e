"""Checks of the sampling kernels, shared: the ordinary tests run them, and the mutants must fail them.

The oracle is the dense sum of Eq. (3) in paper.py, over an image that is really extended on all sides.
"""

import checks_of_pairs as checks
import numpy
import pytest

from stn_scratch import paper
from stn_scratch.backend import to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients
from stn_scratch.sampling import sampler
from stn_scratch.sampling.kernels import KERNELS, Gaussian, Kernel, Triangle

# a kernel of one's own: the cubic B-spline
SPLINE = Kernel((-1, 0, 1, 2), KERNELS["bilinear"].cell,
                lambda a: tuple(spline(d) for d in (a + 1, a, a - 1, a - 2)),
                lambda a: (-(1 - a) ** 2 / 2, a * (3 * a - 4) / 2, (1 - a) * (3 * a + 1) / 2, a ** 2 / 2))
OF_WIDTH = [Gaussian(3), Triangle(3), Gaussian(2), Triangle(2)]
ALL = ["integer", "bilinear", "bicubic", SPLINE, *OF_WIDTH]
MODES = {"zeros": "constant", "border": "edge"}


def name_of(kernel):
    return "spline" if isinstance(kernel, Kernel) else str(kernel)


every_kernel = pytest.mark.parametrize("kernel", ALL, ids=name_of)
far_kernels = pytest.mark.parametrize("kernel", ALL[2:], ids=name_of)
of_width = pytest.mark.parametrize("kernel", OF_WIDTH, ids=str)
paddings = pytest.mark.parametrize("padding", checks.PADDINGS)
both_conventions = pytest.mark.parametrize("align_corners", [True, False])


# The kernels again, as functions of one distance.

def keys(d, a=-0.75):
    """Keys 1981, one number."""
    d = abs(d)
    if d <= 1:
        return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1
    return a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a if d < 2 else 0.0


def spline(d):
    """The cubic B-spline, for any array module."""
    d = abs(d)
    return (d < 1) * (2 / 3 - d * d * (1 - d / 2)) + (d >= 1) * (d < 2) * (2 - d) ** 3 / 6


def width_of(kernel, Phi):
    low, high = (0.5, kernel.radius / 2) if isinstance(kernel, Gaussian) else (1, kernel.radius)
    return low + (high - low) / (1 + numpy.exp(-Phi))


def bump(kernel, d, width):
    """h(d), over the sum of its own copies one pixel apart."""
    R = kernel.radius

    def h(d):
        if isinstance(kernel, Triangle):
            return numpy.maximum(0, 1 - abs(d) / width)
        return numpy.exp(-numpy.minimum(abs(d), R) ** 2 / (2 * width ** 2)) - numpy.exp(-R ** 2 / (2 * width ** 2))

    return h(d) / sum(h(d - numpy.rint(d) - j) for j in range(-R - 1, R + 2))


def dense(kernel, d, Phi):
    """k(d; Phi) for d (B, H', W', W) and Phi (B,)."""
    if kernel == "integer":
        return (numpy.floor(d + 0.5) == 0).astype(float)
    if kernel == "bilinear":
        return paper.tent(d)
    if kernel == "bicubic":
        return numpy.vectorize(keys, otypes=[float])(d)
    return spline(d) if kernel is SPLINE else bump(kernel, d, width_of(kernel, Phi)[:, None, None, None])


def oracle(U, grid, dV, Phi, kernel, padding="zeros", align_corners=True):
    """V and dU, on the host: Eq. (3) and its transpose over the extended image, folded back."""
    U, grid, dV, Phi = (a if a is None else to_host(a).astype("float64") for a in (U, grid, dV, Phi))
    B, H, W, C = U.shape
    mode = MODES.get(padding, "reflect" if align_corners else "symmetric")
    margin = 4 * max(H, W) + 5
    place = numpy.pad(numpy.arange(1, H * W + 1).reshape(H, W), margin, mode=mode)  # 0: no pixel
    pixels = numpy.concatenate([numpy.zeros((B, 1, C)), U.reshape(B, H * W, C)], axis=1)
    x, y = (grid[:, k] * (n - 1 if align_corners else n) / 2 + (n - 1) / 2 + margin for k, n in enumerate((W, H)))
    extended = pixels[:, place]
    d_x, d_y = paper._distances(extended, x, y)
    k_x, k_y = (dense(kernel, d, None if Phi is None else Phi[:, k]) for k, d in enumerate((d_x, d_y)))
    V = paper._double_sum(extended, k_x, k_y)
    dU = numpy.zeros_like(pixels)
    numpy.add.at(dU, (slice(None), place), numpy.einsum("bhwc,bhwm,bhwn->bnmc", dV, k_x, k_y))
    return V, dU[:, 1:].reshape(U.shape)


# Inputs.

def parameters(xp, kernel, B=2, dtype="float64"):
    """Phi (B, 2) as the last positional arguments: one, or none. All its widths differ."""
    if isinstance(kernel, str | Kernel):
        return ()
    return (xp.asarray(numpy.linspace(-1.3, 1.8, 2 * B).reshape(B, 2), dtype=dtype),)


def inputs(xp, kernel, where="generic", options=None, dtype="float64"):
    """The positional arguments U, grid (, Phi), and dV."""
    U, grid, dV = checks.inputs(xp, where, (options or {}).get("align_corners", True), dtype, seed=8)
    return (U, grid, *parameters(xp, kernel, len(U), dtype)), dV


def run(args, dV, **options):
    """V, dU, dgrid (, dPhi), on the host."""
    V, cache = sampler.sample_forward(*args, **options)
    return tuple(map(to_host, (V, *sampler.sample_backward(dV, cache))))


# The checks.

def values(xp, kernel, where="generic", **options):
    """V and dU equal the dense sums."""
    args, dV = inputs(xp, kernel, where, options)
    V, cache = sampler.sample_forward(*args, kernel=kernel, **options)
    dU = sampler.sample_backward(dV, cache)[0]
    Phi = args[2] if len(args) == 3 else None
    options.pop("lattice", None)
    expected = oracle(*args[:2], dV, Phi, kernel, **options)
    return max(checks.close(a, b, 1e-12) for a, b in zip((V, dU), expected, strict=True))


def gradients(xp, kernel, where="generic", entries=12, **options):
    """Central differences in U, grid and Phi."""
    args, _ = inputs(xp, kernel, where, options)
    return check_gradients(sampler.sample_forward, sampler.sample_backward, args, entries=entries, kernel=kernel,
                           **options)


def straightened(start, **options):
    """A function of U, grid (, Phi) whose plain differences about `start` are as good as second-order ones of V.

    On a cell V is a curve: f'(0) = (4 f(h) - f(2h) - 3 f(0)) / 2h, the difference quotient of 2 f(h) - f(2h) / 2.
    """
    def forward(*args):
        twice = [2 * a - b for a, b in zip(args, start, strict=True)]
        return 2 * sampler.sample_forward(*args, **options)[0] - sampler.sample_forward(*twice, **options)[0] / 2
    return forward


def right_gradients(xp, kernel, where="lattice", Phi=None, **options):
    """Right-hand differences in U, grid and Phi; Phi: one number for all."""
    start, _ = inputs(xp, kernel, where, options)
    if Phi is not None:
        start = (*start[:2], xp.full((2, 2), Phi))
    _, cache = sampler.sample_forward(*start, kernel=kernel, **options)
    f = straightened(start, kernel=kernel, **options)

    def forward(U, grid, Phi=None):
        return f(*(a for a in (U, grid, Phi) if a is not None)), cache

    return check_gradients(forward, sampler.sample_backward, start, entries=12, side="right")


def central_gradients(xp, kernel, where="lattice", **options):
    """lattice="central": the slope of the odd part of V about the grid is the mean of both sides."""
    (U, start, *Phi), _ = inputs(xp, kernel, where, options)
    _, cache = sampler.sample_forward(U, start, *Phi, kernel=kernel, lattice="central", **options)
    f = straightened((U, start, *Phi), kernel=kernel, **options)
    return check_gradients(lambda grid: ((f(U, grid, *Phi) - f(U, 2 * start - grid, *Phi)) / 2, cache),
                           lambda dy, cache: sampler.sample_backward(dy, cache)[1], (start,), entries=12)


def adjoint(xp, kernel, where="generic", **options):
    """V is linear in U."""
    args, _ = inputs(xp, kernel, where, options)
    error = adjoint_error(sampler.sample_forward, sampler.sample_backward, args, kernel=kernel, **options)
    assert error <= 1e-12, f"adjoint error {error:.3g}"
    return error


def constant_image(xp, kernel, where="border", padding="border", **options):
    """Where no tap is missing, a constant image stays constant, and has no slope in the grid or in Phi."""
    (U, *args), dV = inputs(xp, kernel, where, options)
    V, cache = sampler.sample_forward(xp.full(U.shape, 5.0), *args, kernel=kernel, padding=padding, **options)
    checks.close(V, numpy.full(V.shape, 5.0), 1e-12)
    for gradient in sampler.sample_backward(dV, cache)[1:]:
        checks.close(gradient, numpy.zeros(gradient.shape), 1e-12)
