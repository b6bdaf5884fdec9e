r"""The sampler: grid + U -> V by Eq. (3), and its derivatives by Eqs. (6) and (7).

Eq. (3) sums over all pixels, but a kernel is zero everywhere except at a few taps near the sample. So the forward
pass *gathers* those taps, and the backward pass *scatters* into them: the cost grows with the output, not with U.

A tap outside the image has weight and slope 0 (a mask), and only its *index* is clipped into the image: weights made
from clipped indices would lose the last row and column.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module, scatter_add
from stn_scratch.coordinates import pixels_per_unit, to_pixels
from stn_scratch.sampling.kernels import KERNELS
from stn_scratch.sampling.padding import PADDINGS, pad_coordinate
from stn_scratch.validate import check_arrays, check_choice

FARTHEST = 1e30  # a coordinate beyond it counts as infinite
LATTICE_RULES = {"right": (+1,), "central": (+1, -1)}  # the sides whose slopes are averaged


class Options(NamedTuple):
    kernel: str
    padding: str
    align_corners: bool
    lattice: str


class SampleCache(NamedTuple):
    U: object  # (B, H, W, C)
    x_p: object  # (B, H', W') pixel coordinates, 0 where not finite
    y_p: object  # (B, H', W')
    finite: object  # (B, H', W')
    options: Options


class Tap(NamedTuple):
    index: object  # (B, H', W') m or n, inside the image
    weight: object  # (B, H', W') k(x_p - m)
    slope: object  # (B, H', W') dk/dx; None where nobody asked


def _taps(x_p, finite, size, options, side):
    """The pixels of one axis at which the kernel around each x_p (B, H', W') may be non-zero.

    side: +1 or -1, for the slopes on that side; None: no slopes.
    """
    xp = get_array_module(x_p)
    kernel = KERNELS[options.kernel]
    padded = pad_coordinate(x_p, size=size, padding=options.padding, align_corners=options.align_corners,
                            side=side or +1)
    cell = kernel.cell(padded.x_p, padded.side)
    a = padded.x_p - cell
    slopes = kernel.slopes(a) if side else [None] * len(kernel.offsets)
    taps = []
    for offset, weight, slope in zip(kernel.offsets, kernel.weights(a), slopes, strict=True):
        m = cell + offset
        exists = (m >= 0) & (m <= size - 1) & finite
        index = xp.clip(m, 0, size - 1).astype(xp.intp)
        taps.append(Tap(index, weight * exists, slope * padded.slope * exists if side else None))
    return taps


def _pairs(cache, side):
    """Every (row tap n, column tap m) with the flat index of pixel U_nm among all pixels of the batch."""
    B, H, W, _ = cache.U.shape
    xp = get_array_module(cache.U)
    image = (xp.arange(B, dtype=xp.intp) * (H * W))[:, None, None]
    columns = _taps(cache.x_p, cache.finite, W, cache.options, side)
    for n in _taps(cache.y_p, cache.finite, H, cache.options, side):
        row = image + n.index * W
        for m in columns:
            yield n, m, row + m.index


def sample_forward(U, grid, *, kernel="bilinear", padding="zeros", align_corners=True, lattice="right"):
    r"""Eq. (3): \(V_i^c = \sum_n^H \sum_m^W U_{nm}^c \, k(x_i - m) \, k(y_i - n)\), over the taps that are not zero.

    U        (B, H, W, C) input image or feature map, float32 or float64
    grid     (B, 2, H', W') sampling grid, normalised to [-1, 1]: grid[:, 0] = x_s, grid[:, 1] = y_s
    kernel   "bilinear" (Eq. 5) or "integer" (Eq. 4, the nearest pixel)
    padding  outside the image: "zeros", "border" or "reflect"
    align_corners  True: -1 and +1 are the centres of the edge pixels; False: their outer edges
    lattice  the slope at a kink, where a sample stands on a pixel: "right", one-sided, or "central", the mean of both

    Gives V (B, H', W', C) and a cache. A grid point that is NaN, infinite or beyond 1e30 samples nothing and gets no
    gradient.

    Raises TypeError or ValueError for a wrong rank, shape, dtype, device or option, and for an image with no pixels.
    """
    check_arrays(U=(U, "B H W C"), grid=(grid, "B 2 H' W'"))
    check_choice("kernel", kernel, KERNELS)
    check_choice("padding", padding, PADDINGS)
    check_choice("lattice", lattice, LATTICE_RULES)
    B, H, W, C = U.shape
    if H == 0 or W == 0:
        raise ValueError(f"U must have at least one pixel, not shape {U.shape}")
    xp = get_array_module(U)
    near = xp.abs(grid) <= FARTHEST  # False for NaN, too
    finite = near[:, 0] & near[:, 1]
    # the clip keeps infinity out of the arithmetic: inf * 0 is NaN, and a warning
    x_p, y_p = (to_pixels(xp.clip(grid[:, k], -FARTHEST, FARTHEST), size, align_corners)
                for k, size in enumerate((W, H)))
    x_p[~finite] = 0
    y_p[~finite] = 0
    cache = SampleCache(U, x_p, y_p, finite, Options(kernel, padding, align_corners, lattice))

    pixels = U.reshape(B * H * W, C)
    V = xp.zeros((*x_p.shape, C), dtype=U.dtype)
    for n, m, index in _pairs(cache, side=None):
        # Eq. (3): U_nm k(x - m) k(y - n)
        V += (n.weight * m.weight)[..., None] * xp.take(pixels, index, axis=0)
    return V, cache


def sample_backward(dV, cache, *, need_dU=True):
    r"""Eqs. (6) and (7), summed against dV.

    \(\partial L / \partial U_{nm}^c = \sum_i \partial L / \partial V_i^c \; k(x_i - m) \, k(y_i - n)\) and
    \(\partial L / \partial x_i = \sum_c \partial L / \partial V_i^c \sum_{n,m} U_{nm}^c \, k'(x_i - m) \, k(y_i - n)\).

    dV (B, H', W', C) -> dU (B, H, W, C), dgrid (B, 2, H', W'). With need_dU=False, dU is None and costs nothing
    (for a transformer whose input is the image itself).
    """
    U, x_p, _, _, options = cache
    B, H, W, C = U.shape
    check_arrays(U=(U, "B H W C"), x_p=(x_p, "B H' W'"), dV=(dV, "B H' W' C"))
    xp = get_array_module(dV)
    pixels = U.reshape(B * H * W, C)

    dx_p, dy_p = xp.zeros_like(x_p), xp.zeros_like(x_p)
    sides = LATTICE_RULES[options.lattice]
    for side in sides:
        for n, m, index in _pairs(cache, side):
            # sum_c dV U_nm: the factor that both slopes share
            dV_U = xp.einsum("bhwc,bhwc->bhw", dV, xp.take(pixels, index, axis=0))
            # Eq. (7): dV/dx = U_nm k'(x - m) k(y - n), and the same for y
            dx_p += dV_U * m.slope * n.weight
            dy_p += dV_U * m.weight * n.slope
    # the chain rule from pixels to normalised coordinates, and the mean over the sides
    dx = dx_p * (pixels_per_unit(W, options.align_corners) / len(sides))
    dy = dy_p * (pixels_per_unit(H, options.align_corners) / len(sides))
    dgrid = xp.stack([dx, dy], axis=1)
    return (_scatter(dV, cache) if need_dU else None), dgrid


def _scatter(dV, cache):
    """Eq. (6): dU_nm = sum_i dV_i k(x_i - m) k(y_i - n). Many samples may share a pixel, so their shares add."""
    xp = get_array_module(dV)
    C = dV.shape[3]
    dU = xp.zeros(cache.U.size, dtype=dV.dtype)
    channels = xp.arange(C, dtype=xp.intp)
    for n, m, index in _pairs(cache, side=None):
        share = (n.weight * m.weight)[..., None] * dV
        scatter_add(dU, (index[..., None] * C + channels).ravel(), share.ravel())
    return dU.reshape(cache.U.shape)
