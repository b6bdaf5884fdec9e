"""How far our sampler and PyTorch's grid_sample lie apart: the largest differences, for every kernel and padding.

Both get the same U, grid and dV; the grid is random in [-2, 2], so that samples lie inside, beside and far outside.
Measured: V, the largest difference, for U in [0, 1]; dU and dgrid, the largest difference over the largest entry of
PyTorch's gradient, if that is more than 1 (they are sums over samples or channels, and dgrid is a slope times half the
image's width: their size is no fixed one).
"""

import argparse
import itertools
import platform

import numpy as np
import torch
from torch.nn.functional import grid_sample

from stn_scratch import sample3d_backward, sample3d_forward, sample_backward, sample_forward, to_host
from stn_scratch.coordinates import pixels_per_unit, to_pixels

MODES = {"integer": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}
PADDING_MODES = {"zeros": "zeros", "border": "border", "reflect": "reflection"}
CASES = [dict(zip(("kernel", "padding", "align_corners"), case, strict=True))
         for case in itertools.product(MODES, PADDING_MODES, (True, False))]


def off_lattice(rng, shape, size, align_corners):
    """Random normalised coordinates in [-2, 2] of one axis, none within 0.05 pixel of a kink.

    The kinks of all kernels and paddings are at multiples of half a pixel. A draw keeps its half-pixel interval and is
    moved linearly into the interval's middle 80 %; at x = -2 and 2 an interval ends, so none leaves [-2, 2].
    """
    x = rng.uniform(-2, 2, shape)
    scale = pixels_per_unit(size, align_corners)
    if scale == 0:  # one pixel with align_corners: V does not depend on x
        return x
    halves = 2 * to_pixels(x, size, align_corners)
    left = np.floor(halves)
    return ((left + 0.1 + 0.8 * (halves - left)) - (size - 1)) / (2 * scale)


def inputs(rng, *, align_corners, in_size=(13, 18), out_size=(11, 15), B=3, C=4, dtype="float32"):
    """U, grid, dV for images, or with three sizes for volumes."""
    axes = [off_lattice(rng, (B, *out_size), size, align_corners) for size in reversed(in_size)]
    U, dV = rng.random((B, *in_size, C)), rng.normal(size=(B, *out_size, C))
    return tuple(a.astype(dtype) for a in (U, np.stack(axes, axis=1), dV))


def ours(U, grid, dV, *, kernel, **options):
    """V, dU, dgrid, on the host."""
    if U.ndim == 5:  # volumes: bilinear is trilinear, and there is no other kernel
        V, cache = sample3d_forward(U, grid, **options)
        return tuple(map(to_host, (V, *sample3d_backward(dV, cache))))
    V, cache = sample_forward(U, grid, kernel=kernel, **options)
    return tuple(map(to_host, (V, *sample_backward(dV, cache))))


def theirs(U, grid, dV, *, kernel, padding, align_corners):
    """V, dU, dgrid of PyTorch, in our layout."""
    U = torch.from_numpy(np.moveaxis(U, -1, 1)).requires_grad_()
    grid = torch.from_numpy(np.moveaxis(grid, 1, -1)).requires_grad_()
    V = grid_sample(U, grid, MODES[kernel], PADDING_MODES[padding], align_corners)
    V.backward(torch.from_numpy(np.moveaxis(dV, -1, 1)))
    V, dU, dgrid = (a.numpy() for a in (V.detach(), U.grad, grid.grad))
    return np.moveaxis(V, 1, -1), np.moveaxis(dU, 1, -1), np.moveaxis(dgrid, -1, 1)


def largest(actual, expected):
    """The largest difference of two arrays of one shape; NaN if either holds one."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise ValueError(f"{actual.dtype} {actual.shape} is not {expected.dtype} {expected.shape}")
    return float(abs(actual - expected).max(initial=0))


def relative(actual, expected):
    """The largest difference, over the largest entry expected if that is more than 1."""
    return largest(actual, expected) / max(float(abs(expected).max(initial=0)), 1)


def differences(actual, expected):
    """Of V, dU and dgrid, as the head of this file says."""
    V, dU, dgrid = zip(actual, expected, strict=True)
    return largest(*V), relative(*dU), relative(*dgrid)


def worst(case, dtype, seeds):
    """The largest differences over all seeds."""
    found = []
    for seed in seeds:
        args = inputs(np.random.default_rng(seed), align_corners=case["align_corners"], dtype=dtype)
        found.append(differences(ours(*args, **case), theirs(*args, **case)))
    return np.max(found, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="random inputs a row (default: 20)")
    seeds = range(parser.parse_args().seeds)
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}, CPU; seeds 0 to "
          f"{seeds[-1]};\nU (3, 13, 18, 4) in [0, 1], grid (3, 2, 11, 15) in [-2, 2], dV normal\n")
    columns = [f"{name}, {dtype}" for dtype in ("float32", "float64") for name in ("V", "dU", "dgrid")]
    print("| kernel | padding | align_corners |", " | ".join(columns), "|")
    print("|---" * (3 + len(columns)) + "|")
    for case in CASES:
        found = [*worst(case, "float32", seeds), *worst(case, "float64", seeds)]
        print("|", " | ".join(map(str, case.values())), "|", " | ".join(f"{d:.1e}" for d in found), "|", flush=True)


if __name__ == "__main__":
    main()
