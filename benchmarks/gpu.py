"""(f) On a GPU: parts (a) to (c) beside PyTorch, eager and compiled, and each fused kernel."""

from itertools import chain

from benchmarks import grids, kernels, sampler, step


def cases(machine, options):
    """What matters most comes first: the time on a GPU may be short."""
    return chain(*(part.cases(machine, options) for part in (step, sampler, kernels, grids)))
