r"""The sampler: grid + U -> V by Eq. (3), and its derivatives by Eqs. (6) and (7).

Eq. (3) sums over all pixels, but a kernel is zero everywhere except at a few taps near the sample. So the forward
pass *gathers* those taps, and the backward pass *scatters* into them: the cost grows with the output, not with U.

A tap outside the image has weight and slope 0 (a mask), and only its *index* is clipped into the image: weights made
from clipped indices would lose the last row and column.

With padding "border" or "reflect" the image goes on outside. For a kernel that looks no further than its cell, moving
the coordinate into the image comes to the same; a wider one looks past the edge from inside as well, so there it is the
*taps* that are moved into the image (as PyTorch does for its bicubic).

The commonest case, Eq. (5) with zeros outside, is written out in `bilinear.py`, which is several times as fast.
"""

from typing import NamedTuple

from stn_scratch import cuda
from stn_scratch.backend import get_array_module, scatter_add
from stn_scratch.coordinates import pixels_per_unit, to_pixels
from stn_scratch.sampling.bilinear import BilinearCache, bilinear_backward, bilinear_forward
from stn_scratch.sampling.kernels import KERNELS, Kernel, KernelOfWidth
from stn_scratch.sampling.padding import PADDINGS, pad_coordinate
from stn_scratch.validate import check_arrays, check_choice, check_flag, check_gradient

FARTHEST = 1e30  # a coordinate beyond it counts as infinite
LATTICE_RULES = {"right": (+1,), "central": (+1, -1)}  # the sides whose slopes are averaged


class Options(NamedTuple):
    kernel: object  # a name of KERNELS, a Kernel or a KernelOfWidth
    padding: str
    align_corners: bool
    lattice: str


class SampleCache(NamedTuple):
    U: object  # (B, H, W, C)
    x_p: object  # (B, H', W') pixel coordinates, the middle of the image where not finite
    y_p: object  # (B, H', W')
    finite: object  # (B, H', W')
    options: Options
    Phi: object = None  # (B, 2)


class Tap(NamedTuple):
    index: object  # (B, H', W') m or n, inside the image
    weight: object  # (B, H', W') k(x_p - m)
    slope: object  # (B, H', W') dk/dx; None where nobody asked
    dPhi: object = None  # (B, H', W') dk/dPhi; None where nobody asked, or there is no Phi


def finite_grid(grid):
    """The grid (B, 2, ...) with the points that are NaN, infinite or too far moved to the middle; which were not."""
    xp = get_array_module(grid)
    finite = (xp.abs(grid) <= FARTHEST).all(axis=1)  # False for NaN, too
    return xp.where(finite[:, None], grid, 0), finite


def _taps(x_p, finite, size, options, side):
    """The pixels of one axis at which the kernel around each x_p (B, H', W') may be non-zero.

    side: +1 or -1, for the slopes on that side; None: no slopes.
    """
    xp = get_array_module(x_p)
    kernel = KERNELS[options.kernel] if isinstance(options.kernel, str) else options.kernel
    image = {"size": size, "align_corners": options.align_corners}
    of_coordinate, of_taps = ("zeros", options.padding) if kernel.looks_further else (options.padding, "zeros")
    # where no slopes are asked for, either side will do: both give the same values, the cell on the right the plainest
    padded = pad_coordinate(x_p, padding=of_coordinate, side=side or +1, **image)
    cell = kernel.cell(padded.x_p, padded.side)
    a = padded.x_p - cell
    unasked = [None] * len(kernel.offsets)
    slopes = kernel.slopes(a) if side else unasked
    dPhis = kernel.dPhi(a) if side and kernel.dPhi else unasked
    taps = []
    for offset, weight, slope, dPhi in zip(kernel.offsets, kernel.weights(a), slopes, dPhis, strict=True):
        m = pad_coordinate(cell + offset, padding=of_taps, side=+1, **image).x_p
        exists = (m >= 0) & (m <= size - 1) & finite
        index = xp.clip(m, 0, size - 1).astype(xp.intp)
        taps.append(Tap(index, weight * exists, None if slope is None else slope * padded.slope * exists,
                        None if dPhi is None else dPhi * exists))
    return taps


def _of_axis(cache, axis):
    """The options with the kernel of one axis: k(x; Phi_x) for 0, k(y; Phi_y) for 1."""
    if cache.Phi is None:
        return cache.options
    return cache.options._replace(kernel=cache.options.kernel.at(cache.Phi[:, axis, None, None]))


def _pairs(cache, side):
    """Every row tap n with every column tap m, and the flat index of pixel U_nm among all pixels of the batch."""
    B, H, W, _ = cache.U.shape
    xp = get_array_module(cache.U)
    image = (xp.arange(B, dtype=xp.intp) * (H * W))[:, None, None]
    columns = _taps(cache.x_p, cache.finite, W, _of_axis(cache, 0), side)
    for row in _taps(cache.y_p, cache.finite, H, _of_axis(cache, 1), side):
        start = image + row.index * W
        for column in columns:
            yield row, column, start + column.index


def _is_written_out(U, kernel, padding, lattice):
    """True for what `bilinear.py` does: Eq. (5) as it stands, for an image of at least 2x2 pixels."""
    return (kernel, padding, lattice) == ("bilinear", "zeros", "right") and min(U.shape[1:3]) > 1


def check_options(kernel, padding, lattice):
    """Raise ValueError unless these are options of `sample_forward`."""
    named = isinstance(kernel, str) and kernel in KERNELS
    if not named and not isinstance(kernel, Kernel | KernelOfWidth):
        raise ValueError(f"kernel must be one of {', '.join(map(repr, KERNELS))} or a kernel such as "
                         f"Gaussian(radius=3), not {kernel!r}")
    check_choice("padding", padding, PADDINGS)
    check_choice("lattice", lattice, LATTICE_RULES)


def _check_Phi(kernel, Phi):
    if isinstance(kernel, KernelOfWidth) and Phi is None:
        raise ValueError(f"Phi must be given, an array (B, 2), for the kernel {kernel!r}")
    if not isinstance(kernel, KernelOfWidth) and Phi is not None:
        raise ValueError(f"Phi must be left out: the kernel {kernel!r} has no parameters")


def sample_forward(U, grid, Phi=None, *, kernel="bilinear", padding="zeros", align_corners=True, lattice="right"):
    r"""Eq. (3): \(V_i^c = \sum_n^H \sum_m^W U_{nm}^c \, k(x_i - m; \Phi_x) \, k(y_i - n; \Phi_y)\), over the taps.

    U        (B, H, W, C) input image or feature map, float32 or float64
    grid     (B, 2, H', W') sampling grid, normalised to [-1, 1]: grid[:, 0] = x_s, grid[:, 1] = y_s
    Phi      (B, 2) = Phi_x, Phi_y of each image, for a kernel with parameters and for no other
    kernel   "bilinear" (Eq. 5), "integer" (Eq. 4, the nearest pixel), "bicubic" (Keys, a = -0.75), or one that Phi
             makes wider or narrower: Gaussian(radius=3), Triangle(radius=3)
    padding  outside the image: "zeros", "border" or "reflect"
    align_corners  True: -1 and +1 are the centres of the edge pixels; False: their outer edges
    lattice  the slope at a kink, where a sample stands on a pixel: "right", one-sided, or "central", the mean of both

    Gives V (B, H', W', C) and a cache. A grid point that is NaN, infinite or beyond 1e30 samples nothing and gets no
    gradient. (A Phi that is NaN makes its image NaN; an infinite one is the narrowest or widest kernel.)

    Raises TypeError or ValueError for a wrong rank, shape, dtype, device or option, for an image with no pixels, and
    for a Phi that is missing or has no use.
    """
    check_arrays(U=(U, "B H W C"), grid=(grid, "B 2 H' W'"), **({} if Phi is None else {"Phi": (Phi, "B 2")}))
    check_options(kernel, padding, lattice)
    check_flag("align_corners", align_corners)
    _check_Phi(kernel, Phi)
    B, H, W, C = U.shape
    if H == 0 or W == 0:
        raise ValueError(f"U must have at least one pixel, not shape {U.shape}")
    options = Options(kernel, padding, align_corners, lattice)
    if kernel in cuda.KERNELS and cuda.available(U, cpu=True):
        return cuda.sample_forward(U, grid, options)
    if _is_written_out(U, kernel, padding, lattice):
        return bilinear_forward(U, grid, align_corners=align_corners)
    xp = get_array_module(U)
    grid, finite = finite_grid(grid)
    x_p, y_p = (to_pixels(grid[:, k], size, align_corners) for k, size in enumerate((W, H)))
    cache = SampleCache(U, x_p, y_p, finite, options, Phi)

    pixels = U.reshape(B * H * W, C)
    V = xp.zeros((*x_p.shape, C), dtype=U.dtype)
    for row, column, index in _pairs(cache, side=None):
        # Eq. (3): U_nm k(x - m; Phi_x) k(y - n; Phi_y)
        V += (row.weight * column.weight)[..., None] * xp.take(pixels, index, axis=0)
    return V, cache


def sample_backward(dV, cache, *, need_dU=True):
    r"""Eqs. (6) and (7), summed against dV.

    \(\partial L / \partial U_{nm}^c = \sum_i \partial L / \partial V_i^c \; k(x_i - m) \, k(y_i - n)\) and
    \(\partial L / \partial x_i = \sum_c \partial L / \partial V_i^c \sum_{n,m} U_{nm}^c \, k'(x_i - m) \, k(y_i - n)\);
    for Phi_x, the same as for x_i with \(\partial k / \partial \Phi_x\) for \(k'\), summed over i.

    dV (B, H', W', C) is the gradient of the loss with respect to V; so dU (B, H, W, C), dgrid (B, 2, H', W'), and
    dPhi (B, 2) if Phi was given, are those with respect to U, grid and Phi. With need_dU=False, dU is None and costs
    nothing (for a transformer whose input is the image itself).
    """
    if isinstance(cache, cuda.SampleCache):
        check_arrays(U=(cache.U, "B H W C"), dV=(dV, "B H' W' C"))
        check_gradient("dV", dV, (cache.U.shape[0], *cache.size, cache.U.shape[3]))
        return cuda.sample_backward(dV, cache, need_dU=need_dU)
    if isinstance(cache, BilinearCache):
        return bilinear_backward(dV, cache, need_dU=need_dU)
    U, x_p, _, _, options, Phi = cache
    B, H, W, C = U.shape
    check_arrays(U=(U, "B H W C"), x_p=(x_p, "B H' W'"), dV=(dV, "B H' W' C"))
    xp = get_array_module(dV)
    pixels = U.reshape(B * H * W, C)

    dx_p, dy_p, dPhi_x, dPhi_y = (xp.zeros_like(x_p) for _ in range(4))
    sides = LATTICE_RULES[options.lattice]
    for side in sides:
        for row, column, index in _pairs(cache, side):
            # sum_c dV U_nm: the factor that all slopes share
            dV_U = xp.einsum("bhwc,bhwc->bhw", dV, xp.take(pixels, index, axis=0))
            # Eq. (7): dV/dx = U_nm k'(x - m) k(y - n), and the same for y
            dx_p += dV_U * column.slope * row.weight
            dy_p += dV_U * column.weight * row.slope
            if Phi is not None:
                # Eq. (3): dV/dPhi_x = U_nm dk(x - m; Phi_x)/dPhi_x k(y - n), and the same for y
                dPhi_x += dV_U * column.dPhi * row.weight
                dPhi_y += dV_U * column.weight * row.dPhi
    # the chain rule from pixels to normalised coordinates, and the mean over the sides
    dx = dx_p * (pixels_per_unit(W, options.align_corners) / len(sides))
    dy = dy_p * (pixels_per_unit(H, options.align_corners) / len(sides))
    dU, dgrid = _scatter(dV, cache) if need_dU else None, xp.stack([dx, dy], axis=1)
    if Phi is None:
        return dU, dgrid
    # one Phi for all samples of an image: their shares add
    return dU, dgrid, xp.stack([d.sum(axis=(1, 2)) / len(sides) for d in (dPhi_x, dPhi_y)], axis=1)


def _scatter(dV, cache):
    """Eq. (6): dU_nm = sum_i dV_i k(x_i - m) k(y_i - n). Many samples may share a pixel, so their shares add."""
    xp = get_array_module(dV)
    C = dV.shape[3]
    dU = xp.zeros(cache.U.size, dtype=dV.dtype)
    channels = xp.arange(C, dtype=xp.intp)
    for row, column, index in _pairs(cache, side=None):
        share = (row.weight * column.weight)[..., None] * dV
        scatter_add(dU, (index[..., None] * C + channels).ravel(), share.ravel())
    return dU.reshape(cache.U.shape)
