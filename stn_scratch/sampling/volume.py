r"""The sampler of a volume: grid + U -> V, trilinear, its derivatives, and the flattening of a volume to an image.

The paper's appendix A.3. The form and the number of Eq. (9), and the flattening, are given from memory, not checked
against the printed text. The rules are those of the 2-D sampler (`sampler.py`), axis by axis: padding, slopes on the
lattice, coordinates that are not finite. x_p runs over columns m, y_p over rows n, z_p over planes l; eight taps a
sample. The paper's U_nml is U[l, n, m] here: planes first, so that every plane is an image as in 2-D.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module, scatter_add
from stn_scratch.coordinates import pixels_per_unit, to_pixels
from stn_scratch.sampling.padding import PADDINGS
from stn_scratch.sampling.sampler import LATTICE_RULES, Options, _taps, finite_grid
from stn_scratch.validate import check_arrays, check_choice, check_gradient


class Sample3DCache(NamedTuple):
    U: object  # (B, D, H, W, C)
    x_p: object  # (B, D', H', W') pixel coordinates, the middle of the volume where not finite
    y_p: object  # (B, D', H', W')
    z_p: object  # (B, D', H', W')
    finite: object  # (B, D', H', W')
    options: Options


def _eight_taps(cache, side):
    """Every (plane tap l, row tap n, column tap m) with the flat index of U_nml among all pixels of the batch."""
    B, D, H, W, _ = cache.U.shape
    xp = get_array_module(cache.U)
    volume = (xp.arange(B, dtype=xp.intp) * (D * H * W))[:, None, None, None]
    rows = _taps(cache.y_p, cache.finite, H, cache.options, side)
    columns = _taps(cache.x_p, cache.finite, W, cache.options, side)
    for plane in _taps(cache.z_p, cache.finite, D, cache.options, side):
        for row in rows:
            start = volume + (plane.index * H + row.index) * W
            for column in columns:
                yield plane, row, column, start + column.index


def sample3d_forward(U, grid, *, padding="zeros", align_corners=True, lattice="right"):
    r"""Eq. (9), form and number from memory: \(V_i^c = \sum_n^H \sum_m^W \sum_l^D U_{nml}^c
    \max(0, 1 - |x_i - m|) \max(0, 1 - |y_i - n|) \max(0, 1 - |z_i - l|)\), over the eight taps that are not zero.

    U        (B, D, H, W, C) input volume, float32 or float64
    grid     (B, 3, D', H', W') sampling grid, normalised to [-1, 1]: grid[:, 0] = x_s, then y_s, then z_s
    padding, align_corners, lattice  as in `sample_forward`, on each axis

    Gives V (B, D', H', W', C) and a cache. A grid point with a coordinate that is NaN, infinite or beyond 1e30 samples
    nothing and gets no gradient.

    Raises TypeError or ValueError for a wrong rank, shape, dtype, device or option, and for a volume with no pixels.
    """
    check_arrays(U=(U, "B D H W C"), grid=(grid, "B 3 D' H' W'"))
    check_choice("padding", padding, PADDINGS)
    check_choice("lattice", lattice, LATTICE_RULES)
    B, D, H, W, C = U.shape
    if D == 0 or H == 0 or W == 0:
        raise ValueError(f"U must have at least one pixel, not shape {U.shape}")
    xp = get_array_module(U)
    grid, finite = finite_grid(grid)
    x_p, y_p, z_p = (to_pixels(grid[:, k], size, align_corners) for k, size in enumerate((W, H, D)))
    options = Options("bilinear", padding, align_corners, lattice)
    cache = Sample3DCache(U, x_p, y_p, z_p, finite, options)

    pixels = U.reshape(B * D * H * W, C)
    V = xp.zeros((*x_p.shape, C), dtype=U.dtype)
    for plane, row, column, index in _eight_taps(cache, side=None):
        # Eq. (9): U_nml k(x - m) k(y - n) k(z - l)
        V += (plane.weight * row.weight * column.weight)[..., None] * xp.take(pixels, index, axis=0)
    return V, cache


def sample3d_backward(dV, cache, *, need_dU=True):
    r"""Eq. (9) differentiated, summed against dV; with k the tent \(\max(0, 1 - |d|)\), and y and z as x:

    \(\partial L / \partial U_{nml}^c = \sum_i \partial L / \partial V_i^c \; k(x_i - m) \, k(y_i - n) \, k(z_i - l)\),
    \(\partial L / \partial x_i = \sum_c \partial L / \partial V_i^c
    \sum_{n,m,l} U_{nml}^c \, k'(x_i - m) \, k(y_i - n) \, k(z_i - l)\).

    dV (B, D', H', W', C) is the gradient of the loss with respect to V; so dU (B, D, H, W, C) and
    dgrid (B, 3, D', H', W') are those with respect to U and grid. With need_dU=False, dU is None and costs nothing.
    """
    U, x_p, *_, options = cache
    B, D, H, W, C = U.shape
    check_arrays(U=(U, "B D H W C"), x_p=(x_p, "B D' H' W'"), dV=(dV, "B D' H' W' C"))
    xp = get_array_module(dV)
    pixels = U.reshape(B * D * H * W, C)

    dx_p, dy_p, dz_p = (xp.zeros_like(x_p) for _ in range(3))
    sides = LATTICE_RULES[options.lattice]
    for side in sides:
        for plane, row, column, index in _eight_taps(cache, side):
            # sum_c dV U_nml: the factor that all three slopes share
            dV_U = xp.einsum("bdhwc,bdhwc->bdhw", dV, xp.take(pixels, index, axis=0))
            # dV/dx = U_nml k'(x - m) k(y - n) k(z - l), and the same for y and z
            dx_p += dV_U * column.slope * row.weight * plane.weight
            dy_p += dV_U * column.weight * row.slope * plane.weight
            dz_p += dV_U * column.weight * row.weight * plane.slope
    # the chain rule from pixels to normalised coordinates, and the mean over the sides
    dgrid = xp.stack([d * (pixels_per_unit(size, options.align_corners) / len(sides))
                      for d, size in ((dx_p, W), (dy_p, H), (dz_p, D))], axis=1)
    return (_scatter(dV, cache) if need_dU else None), dgrid


def _scatter(dV, cache):
    """dU_nml = sum_i dV_i k(x_i - m) k(y_i - n) k(z_i - l). Many samples may share a pixel, so their shares add."""
    xp = get_array_module(dV)
    C = dV.shape[4]
    dU = xp.zeros(cache.U.size, dtype=dV.dtype)
    channels = xp.arange(C, dtype=xp.intp)
    for plane, row, column, index in _eight_taps(cache, side=None):
        share = (plane.weight * row.weight * column.weight)[..., None] * dV
        scatter_add(dU, (index[..., None] * C + channels).ravel(), share.ravel())
    return dU.reshape(cache.U.shape)


class FlattenDepthCache(NamedTuple):
    V_shape: tuple


def flatten_depth_forward(V):
    r"""\(W_{nm}^c = \sum_l^D V_{nml}^c\), from memory: the volume seen along z, as an image.

    V (B, D, H, W, C) -> W (B, H, W, C), cache.

    Raises TypeError or ValueError if V is not a float array of that rank.
    """
    check_arrays(V=(V, "B D H W C"))
    return V.sum(axis=1), FlattenDepthCache(V.shape)


def flatten_depth_backward(dW, cache):
    r"""\(\partial L / \partial V_{nml}^c = \partial L / \partial W_{nm}^c\): every plane gets the same gradient.

    dW (B, H, W, C) -> dV (B, D, H, W, C).
    """
    B, D, H, W, C = cache.V_shape
    check_gradient("dW", dW, (B, H, W, C))
    return get_array_module(dW).repeat(dW[:, None], D, axis=1)
