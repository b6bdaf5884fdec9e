"""Where a benchmark runs: the CPU, or the GPU that CuPy and PyTorch share."""

import hashlib
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import peers
from benchmarks.apart import apart
from benchmarks.timing import COMPILED, event_clock, host_clock
from stn_scratch import cuda
from stn_scratch.backend import get_array_module, to_device
from stn_scratch.training import step
from stn_scratch.training.config import versions
from stn_scratch.training.parallel import sharded

ROOT = Path(__file__).parents[1]


class Machine(NamedTuple):
    name: str  # "cpu" or "gpu"
    threads: int  # of the CPU, ours and PyTorch's
    put: object  # a host array -> the array there
    clock: object  # seconds(call, n), as it passes on the host's watch
    device_clock: object  # the same by the device's own events
    gradient: object  # of a training step, as `train_step` takes it
    peer: object  # (kind, *arguments): a contender of PyTorch's, made here or apart from us
    share: object  # (work, *arrays): the results of work(*part), for a part of the batch on each thread


def compiles(machine):
    """True where our kernels can be compiled for the machine's CPU, and so compete a second time."""
    with cuda.compiled():
        return machine.name == "cpu" and cuda.available(np.zeros(1, "float32"), cpu=True)


def variants(machine, *, channels=2):
    """The names of those that compete with ours: ours compiled, where that can be, and PyTorch's."""
    return (*((COMPILED,) if compiles(machine) else ()), *peers.variants(machine, channels=channels))


def _here(kind, *arguments):
    return kind(*arguments)


@contextmanager
def cpu(threads, *, peers_apart=False):
    """The CPU with so many threads, for us and for PyTorch; BLAS is held to one thread a shard, as in training.

    peers_apart: PyTorch in a process of its own, as everything that is timed has to be.
    """
    peers.set_threads(threads)

    def nothing_to_wait_for():
        pass

    clock = host_clock(nothing_to_wait_for)
    other = apart(threads) if peers_apart else nullcontext(_here)
    with sharded(threads=threads) as gradient, ThreadPoolExecutor(threads) as executor, other as peer:

        def share(work, *arrays):  # the calling thread works, too
            size = -(-len(arrays[0]) // threads)
            first, *others = ([a[k:k + size] for a in arrays] for k in range(0, len(arrays[0]), size))
            begun = [executor.submit(work, *part) for part in others]
            return [work(*first), *(part.result() for part in begun)]

        yield Machine("cpu", threads, lambda a: a, clock, clock, gradient, peer, share)


@contextmanager
def gpu(threads):
    """The first GPU. Both libraries use its default stream."""
    xp = get_array_module(to_device(np.zeros(1)))
    with threadpool_limits(1, user_api="blas"):
        yield Machine("gpu", threads, to_device, host_clock(xp.cuda.Device().synchronize), event_clock(xp),
                      step.gradient, _here, lambda work, *arrays: [work(*arrays)])


def facts(machine, *, quick):
    """What a measurement depends on. Rows of different facts do not belong in one table."""
    found = versions() | peers.versions()
    if machine.name == "gpu":
        found.pop("blas", None)  # the host's
    return {"device": device_name(machine.name), "threads": machine.threads, "quick": quick, "versions": found,
            "source": source("stn_scratch")}


def moment():
    """When, and how busy the machine was: the load counts what ran in the last minute, this benchmark included."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "load": round(os.getloadavg()[0], 2)}


def source(*folders):
    """Eight digits that change with the code in folders of the repository: Python, CUDA and C++."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".cu", ".h")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:8]


def device_name(device):
    if device == "gpu":
        xp = get_array_module(to_device(np.zeros(1)))
        return xp.cuda.runtime.getDeviceProperties(0)["name"].decode()
    models = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return f"{models[0] if models else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).is_file() else []
