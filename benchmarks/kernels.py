"""(f) Each fused CUDA kernel against the pair that it stands in for, and against the card's measured copy bandwidth.

A kernel that moves numbers and computes little cannot be faster than a copy of as many bytes. What counts as its bytes:
each input read once, each output written once, however often the kernel really touches them.
"""

import numpy as np

from benchmarks.kernel_cases import BUILDERS, plainly
from benchmarks.same_work import TOLERANCE, check_same
from benchmarks.timing import Case, alternate
from stn_scratch import cuda
from stn_scratch.backend import to_host

LEAST = 2 ** 28  # bytes to move: several times what a card's cache holds
NOT_KERNELS = {"KERNELS", "LARGEST_POOL", "SampleCache", "available", "compiled", "compiled_state", "deterministic",
               "fused"}


def unmeasured():
    """What `stn_scratch.cuda` offers and this file has no case for."""
    return sorted(set(cuda.__all__) - NOT_KERNELS - set(BUILDERS))


def check_kernel(name, build, put, C):
    """Fused and plain give the same, on a batch of three."""
    kernel = build(put, 3, C)
    for k, (a, b) in enumerate(zip(kernel.fused(), plainly(kernel.plain)(), strict=True)):
        check_same(f"{name}, output {k}", "the pair", to_host(a), to_host(b), TOLERANCE["float32"])


def _bytes(kernel):
    return sum(a.nbytes for a in (*kernel.inputs, *kernel.fused()))


def compare(machine, name, C, least, budget):
    """Check, then time; the row's values are GB/s."""
    build = BUILDERS[name]
    check_kernel(name, build, machine.put, C)
    kernel = build(machine.put, -(-3 * least // _bytes(build(machine.put, 3, C))), C)
    moved = _bytes(kernel)
    source = machine.put(np.ones(max(moved, least) // 8, dtype="float32"))
    target = source.copy()

    def copy():
        target[...] = source

    timed = {"ours": kernel.fused, "the pair": plainly(kernel.plain), "a copy": copy}
    row = alternate(timed, machine.device_clock, budget)
    ms = row["values"]
    speed = {name: (2 * source.nbytes if name == "a copy" else moved) / ms[name] / 1e6 for name in ms}
    ratio = {name: speed["ours"] / speed[name] for name in speed if name != "ours"}
    return row | {"unit": "GB/s", "values": speed, "ratio": ratio, "ms": ms, "bytes": moved}


def cases(machine, options):
    """Every launcher that `stn_scratch.cuda` offers; the sampler's at 1 and at 32 channels."""
    least = 2 ** 12 if options.quick else LEAST
    for name in (name for name in BUILDERS if name in cuda.__all__):
        for C in (1, 32) if "sample" in name else (32,):
            yield Case(f"{name}, C = {C}" if "sample" in name else name, {"kernel": name, "channels": C},
                       lambda budget, name=name, C=C: compare(machine, name, C, least, budget))
