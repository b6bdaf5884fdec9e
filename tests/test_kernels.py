"""The kernels of Eq. (3): their values, what they are for, and their width."""

import checks_of_kernels as of_kernels
import checks_of_pairs as checks
import numpy
import pytest
from checks_of_kernels import both_conventions, every_kernel, far_kernels, of_width, paddings
from strict import DeviceArray, strict

from stn_scratch.backend import to_host
from stn_scratch.coordinates import target_grid
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.kernels import Gaussian, Triangle

NAN, INF = numpy.nan, numpy.inf


# Values.

@every_kernel
@paddings
@both_conventions
@pytest.mark.parametrize("where", ["generic", "border", "outside", "lattice", "lattice generic"])
def test_values_against_the_dense_sum(xp, kernel, padding, align_corners, where):
    for lattice in ("right", "central"):
        of_kernels.values(xp, kernel, where, padding=padding, align_corners=align_corners, lattice=lattice)


def test_bicubic_is_keys_polynomial_number_by_number(xp):
    """One bright pixel shows the kernel itself."""
    x_p = numpy.linspace(1, 7, 49)
    U = numpy.zeros((1, 1, 9, 1))
    U[0, 0, 4] = 1
    grid = numpy.stack([(x_p - 4) / 4, 0 * x_p]).reshape(1, 2, 1, -1)
    V, _ = sample_forward(xp.asarray(U), xp.asarray(grid), kernel="bicubic")
    checks.close(V.ravel(), [of_kernels.keys(x - 4) for x in x_p], 1e-14)
    # by hand: k(1/2) = 1.25/8 - 2.25/4 + 1, k(3/2) = -0.75 (27/8 - 45/4 + 12 - 4)
    checks.close(to_host(V).ravel()[[20, 12, 24]], [0.59375, -0.09375, 1], 1e-14)


@pytest.mark.parametrize("kernel, Phi, d, k", [
    (Triangle(3), 0, [0, 1, 2, 0.5, 1.5], [1 / 2, 1 / 4, 0, 3 / 8, 1 / 8]),  # width 2: 1 - d/2, over 2
    (Triangle(2), 0, [0, 0.5, 1, 1.5], [3 / 5, 1 / 2, 1 / 5, 0]),  # width 3/2: over 5/3, 4/3, 5/3, 4/3
    (Gaussian(2), 40, [0, 1, 2], numpy.array([1 - numpy.exp(-2), numpy.exp(-0.5) - numpy.exp(-2), 0])
     / (1 + 2 * numpy.exp(-0.5) - 3 * numpy.exp(-2))),  # width 1
], ids=str)
def test_widths_by_hand(xp, kernel, Phi, d, k):
    U = numpy.zeros((1, 9, 9, 1))
    U[0, :, 4] = 1  # one bright column: the weights of its rows add up to 1
    grid = numpy.stack([numpy.array(d) / 4, numpy.zeros(len(d))]).reshape(1, 2, 1, -1)
    V, _ = sample_forward(xp.asarray(U), xp.asarray(grid), xp.asarray([[float(Phi), 0.7]]), kernel=kernel)
    checks.close(V.ravel(), k, 1e-12)


@far_kernels
@paddings
@both_conventions
def test_a_constant_image_stays_constant(xp, kernel, padding, align_corners):
    """And has no slope in the grid or in Phi: everywhere, or with zeros around it, where no tap is outside."""
    if padding != "zeros":
        for where in ("generic", "border", "outside", "lattice"):
            of_kernels.constant_image(xp, kernel, where, padding, align_corners=align_corners)
        return
    (_, grid, *Phi), dV = of_kernels.inputs(xp, kernel, "generic", {"align_corners": align_corners})
    inner = (xp.full((2, 15, 18, dV.shape[3]), 5.0), 0.4 * grid, *Phi)
    V, cache = sample_forward(*inner, kernel=kernel, padding=padding, align_corners=align_corners)
    checks.close(V, numpy.full(V.shape, 5.0), 1e-12)
    for gradient in sample_backward(dV, cache)[1:]:
        checks.close(gradient, numpy.zeros(gradient.shape), 1e-12)


@pytest.mark.parametrize("kernel, width, tighter", [(Triangle(5), 4, 40), (Gaussian(6), 2, 40)], ids=str)
def test_zooming_out_with_a_wide_kernel_aliases_less(xp, kernel, width, tighter):
    """Stripes 3.7 pixels long, seen at every fourth pixel: bilinear makes false, broad stripes of them (Sec. 3.4)."""
    stripes = numpy.sin(2 * numpy.pi * numpy.arange(64) / 3.7)
    U = xp.asarray(numpy.broadcast_to(stripes[None, None, :, None], (1, 64, 64, 1)).copy())
    grid = target_grid(xp, (16, 16), False, "float64")[:2].reshape(1, 2, 16, 16)
    options = {"align_corners": False, "padding": "reflect"}
    contrasts = []
    for V, _ in (sample_forward(U, grid, **options),
                 sample_forward(U, grid, xp.full((1, 2), kernel.Phi_of(width)), kernel=kernel, **options)):
        inside = to_host(V)[:, 3:-3, 3:-3]
        contrasts.append(inside.max() - inside.min())
    assert contrasts[0] > 1 and contrasts[1] < contrasts[0] / tighter


@paddings
def test_the_narrowest_triangle_is_bilinear(xp, padding):
    (U, grid, _), dV = of_kernels.inputs(xp, Triangle(3), "border")
    narrow = of_kernels.run((U, grid, xp.full((2, 2), -INF)), dV, kernel=Triangle(3), padding=padding)
    for actual, expected in zip(narrow, of_kernels.run((U, grid), dV, padding=padding), strict=False):
        checks.close(actual, expected, 1e-12)
    assert not narrow[3].any()  # no wider for a small change of Phi


# The width.

@of_width
def test_every_Phi_is_a_width_within_the_taps(xp, kernel):
    low, high = kernel.bounds
    Phi = xp.asarray([-INF, -1e30, -3.0, 0.0, 3.0, 1e30, INF])
    width = to_host(kernel.width_of(Phi))
    assert width[0] == width[1] == low and width[-1] == width[-2] == high
    assert (numpy.diff(width[1:-1]) > 0).all() and width[3] == (low + high) / 2
    inner = [low + f * (high - low) for f in (0.01, 0.4, 0.9)]
    checks.close(kernel.width_of(xp.asarray([kernel.Phi_of(w) for w in inner])), inner, 1e-12)
    assert kernel.at(Phi).offsets == tuple(range(1 - kernel.radius, kernel.radius + 1))


@pytest.mark.parametrize("width", [1, 3, 0, -2, NAN, INF])
def test_a_width_out_of_bounds(width):
    with pytest.raises(ValueError, match=f"^width must be between 1 and 3 pixels, not {width!r}$"):
        Triangle(3).Phi_of(width)


@of_width
def test_no_value_is_looked_at(monkeypatch, kernel):
    """On a GPU a look at one element would stop the stream."""
    def refuse(self):
        raise AssertionError("the host waits for the device")

    args, dV = of_kernels.inputs(strict, kernel)
    monkeypatch.setattr(DeviceArray, "item", refuse)
    sample_backward(dV, sample_forward(*args, kernel=kernel, padding="reflect")[1])
