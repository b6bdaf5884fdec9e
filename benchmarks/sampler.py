"""(b) The bilinear sampler, forward and backward, beside PyTorch's grid_sample."""

from functools import partial

import numpy as np

from benchmarks import machine as machines
from benchmarks import peers
from benchmarks.same_work import TOLERANCE, check_same
from benchmarks.timing import COMPILED, Case, alternate
from stn_scratch import affine_grid_forward, cuda, sample_backward, sample_forward
from stn_scratch.backend import get_array_module, to_host

SHAPES = ((256, 28, 28, 1), (256, 12, 12, 3), (256, 12, 12, 32), (16, 224, 224, 3))
GRADIENTS = ("V", "dU", "dgrid")


def sampling_grid(rng, B, in_size, out_size):
    """A grid as a trained transformer gives it: turned, scaled and moved at random, but no sample on or near a pixel.

    There the slope jumps, and float32 rounding would take one library to its left side and the other to its right.
    """
    angle, scale = rng.uniform(-0.8, 0.8, B), rng.uniform(0.7, 1.2, B)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    x, y = rng.uniform(-0.2, 0.2, (2, B))
    grid, _ = affine_grid_forward(np.stack([cos, -sin, x, sin, cos, y], axis=1).reshape(B, 2, 3), size=out_size)
    half = (np.array(in_size[::-1]).reshape(2, 1, 1) - 1) / 2
    pixels = (grid + 1) * half
    left = np.floor(pixels)
    return (left + 0.05 + 0.9 * (pixels - left)) / half - 1


def arrays(shape, out_size, dtype):
    """U, grid and dV, on the host."""
    rng = np.random.default_rng(0)
    B, H, W, C = shape
    drawn = rng.random(shape), sampling_grid(rng, B, (H, W), out_size), rng.random((B, *out_size, C)) - 0.5
    return tuple(a.astype(dtype) for a in drawn)


class OurSampler:
    """sample_forward and sample_backward, a part of the batch on each thread."""

    def __init__(self, U, grid, dV, machine, compiled=False):
        self.arrays, self.share = tuple(machine.put(a) for a in (U, grid, dV)), machine.share
        self.compiled = compiled

    def __call__(self):
        with cuda.compiled(self.compiled):
            return self.share(_both, *self.arrays)

    def result(self):
        parts = zip(*self(), strict=True)
        return tuple(to_host(get_array_module(part[0]).concatenate(part)) for part in parts)


def _both(U, grid, dV):
    V, cache = sample_forward(U, grid)
    return V, *sample_backward(dV, cache)


def contenders(machine, others, shape, out_size, dtype):
    """Our sampler and the others by name, on the same arrays."""
    given = arrays(shape, out_size, dtype)
    makers = {"ours": OurSampler, COMPILED: partial(OurSampler, compiled=True)}
    return {v: makers[v](*given, machine) if v in makers else machine.peer(peers.Sampler, v, *given, machine.name)
            for v in ("ours", *others)}


def check_samplers(what, samplers, tolerance):
    """V, dU and dgrid of all agree."""
    ours = samplers["ours"].result()
    for name in samplers.keys() - {"ours"}:
        for part, a, b in zip(GRADIENTS, ours, samplers[name].result(), strict=True):
            check_same(f"sampler {what}, {part}", name, a, b, tolerance)


def compare(machine, shape, out_size, budget):
    """Check, in float64 on a few images and in float32 as timed, then time."""
    what, others = "x".join(map(str, shape)), machines.variants(machine, channels=shape[3])
    few = (min(shape[0], 3), *shape[1:])
    exact = [v for v in others if v != "torch.compile"]  # which would compile once more
    check_samplers(what, contenders(machine, exact, few, out_size, "float64"), TOLERANCE["float64"])
    timed = contenders(machine, others, shape, out_size, "float32")
    check_samplers(what, timed, TOLERANCE["float32"])
    return alternate(timed, machine.clock, budget)


def cases(machine, options):
    """1, 3 and 32 channels."""
    shapes = ((4, 9, 8, 1), (4, 6, 7, 3)) if options.quick else SHAPES
    for shape in shapes:
        yield Case("sampler " + "x".join(map(str, shape)), {"shape": shape},
                   lambda budget, shape=shape: compare(machine, shape, shape[1:3], budget))
