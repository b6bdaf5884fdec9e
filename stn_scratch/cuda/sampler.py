"""Launch the kernels of sampler.cu: the sampler, and an affine grid with the sampler in one."""

from typing import NamedTuple

from stn_scratch.backend import get_array_module, on_host
from stn_scratch.cuda.launch import launch
from stn_scratch.cuda.switches import is_deterministic

KERNELS = ("integer", "bilinear")  # the sampling kernels that are fused; the others stay with the pair
PADDINGS = ("zeros", "border", "reflect")  # in the order of the text
CHANNELS = 4  # that one thread of a GPU sums for the slopes
PIXELS = 16  # that one thread sums for dtheta


class SampleCache(NamedTuple):
    U: object  # (B, H, W, C)
    points: object  # the grid (B, 2, H', W'), or theta (B, 2, 3)
    size: tuple  # H', W'
    options: object  # kernel, padding, align_corners, lattice
    slopes: object = None  # (B, 2, H', W') dV/dx_s and dV/dy_s, where the forward has kept them


def _rules(cache):
    """How a source point becomes taps: the last arguments of every kernel."""
    options = cache.options
    return options.kernel == "integer", PADDINGS.index(options.padding), bool(options.align_corners)


def _geometry(cache):
    _, H, W, C = cache.U.shape
    return H, W, C, *cache.size


def _shared(cache, channels):
    """How many threads an image has, how many share an output pixel, and of how many channels each: on a GPU, where
    threads are many, of so many; on a CPU one thread is a turn of a loop, and takes all.
    """
    U, (H, W) = cache.U, cache.size
    width = max(U.shape[3], 1) if on_host(U) else channels
    groups = -(-U.shape[3] // width)
    return H * W * groups, groups, width


def _from_theta(cache):
    return cache.points.ndim == 3


def _forward(cache):
    U, points, size, *_ = cache
    V = get_array_module(U).empty((U.shape[0], *size, U.shape[3]), dtype=U.dtype)
    each, groups, width = _shared(cache, 1)
    launch("sampler.cu", "sample_forward", each, U, points, V, each, groups, width, *_geometry(cache),
           _from_theta(cache), *_rules(cache), images=len(U))
    return V


def _keeps_slopes(cache):
    """True on a CPU for one channel, where four numbers are at hand that the backward would look for once more.

    A GPU finds them sooner than it writes and reads two slopes; and more channels would take more room than the grid.
    """
    return on_host(cache.U) and cache.U.shape[3] == 1 and cache.options.lattice == "right"


def _forward_with_slopes(cache):
    U, grid, (H, W), _, _ = cache
    xp = get_array_module(U)
    V, slopes = xp.empty((U.shape[0], H, W, 1), dtype=U.dtype), xp.empty((U.shape[0], 2, H, W), dtype=U.dtype)
    launch("sampler.cu", "sample_with_slopes", H * W, U, grid, V, slopes, H * W, *U.shape[1:3], H, W, *_rules(cache),
           images=len(U))
    return V, cache._replace(slopes=slopes)


def sample_forward(U, grid, options):
    """Eq. (3), as `sampling.sample_forward` after its checks; `options` are its Options."""
    cache = SampleCache(U, grid, grid.shape[2:], options)
    if _keeps_slopes(cache):
        return _forward_with_slopes(cache)
    return _forward(cache), cache


def sample_backward(dV, cache, *, need_dU=True):
    """Eqs. (6) and (7), as `sampling.sample_backward`: dU (None with need_dU=False), dgrid.

    For the cache of an `affine_sample_forward`, dtheta stands in the place of dgrid.
    """
    if _from_theta(cache):
        return affine_sample_backward(dV, cache, need_dU=need_dU)
    U, grid, size, options, slopes = cache
    if slopes is not None:
        # Eq. (7), summed over the one channel
        dgrid = get_array_module(U).einsum("bhwc,bkhw->bkhw", dV, slopes)
        return _scatter(dV, cache) if need_dU else None, dgrid
    each, groups, width = _shared(cache, CHANNELS)
    parts = get_array_module(U).empty((U.shape[0], 2, *size, groups), dtype=U.dtype)
    launch("sampler.cu", "sample_dgrid", each, dV, U, grid, parts, each, groups, width,
           options.lattice == "central", *_geometry(cache), False, *_rules(cache), images=len(U))
    return _scatter(dV, cache) if need_dU else None, parts[..., 0] if groups == 1 else parts.sum(axis=4)


def affine_sample_forward(U, theta, *, size, options):
    """Eq. (1) and Eq. (3) in one: theta (B, 2, 3) -> V (B, H', W', C), with no grid in memory."""
    cache = SampleCache(U, theta, tuple(size), options)
    return _forward(cache), cache


def affine_sample_backward(dV, cache, *, need_dU=True):
    """dV (B, H', W', C) -> dU (None with need_dU=False), dtheta (B, 2, 3)."""
    U, theta, size, options, _ = cache
    (_, groups, width), strands = _shared(cache, CHANNELS), -(-size[0] * size[1] // PIXELS)
    parts = get_array_module(U).empty((U.shape[0], strands, groups, 2, 3), dtype=U.dtype)
    each = strands * groups
    launch("sampler.cu", "affine_dtheta", each, dV, U, theta, parts, each, strands, groups, width,
           options.lattice == "central", *_geometry(cache), *_rules(cache), images=len(U))
    return _scatter(dV, cache) if need_dU else None, parts.sum(axis=(1, 2))


def _scatter(dV, cache):
    """Eq. (6): dU, by atomic sums; in fixed point where the result must not depend on their order."""
    U, points, size, *_ = cache
    xp = get_array_module(dV)
    dU = xp.zeros(U.shape, dtype=U.dtype)
    if dV.size == 0:
        return dU
    each, groups, width = _shared(cache, 1)
    rest = groups, width, *_geometry(cache), _from_theta(cache), *_rules(cache)
    if not is_deterministic():
        launch("sampler.cu", "sample_dU", each, dV, points, dU, each, *rest, images=len(U))
        return dU
    largest = xp.asarray(xp.abs(dV).max())
    sums = xp.zeros(U.shape, dtype=xp.int64)
    bits = (size[0] * size[1]).bit_length()
    launch("sampler.cu", "sample_dU_fixed", each, dV, points, largest, sums, each, bits, *rest, images=len(U))
    launch("sampler.cu", "from_fixed", dU.size, largest, sums, dU, dU.size, bits)
    return dU
