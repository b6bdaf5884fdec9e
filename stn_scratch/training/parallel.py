r"""The one mechanism of parallelism: a batch is cut, each piece runs forward and backward by itself, gradients add.

The loss is a mean over the batch, \(L = \frac1B \sum_b l_b\), so with the loss \(L_s\) of a piece s of \(B_s\) images

\[ \frac{\partial L}{\partial p} = \sum_s \frac{B_s}{B} \frac{\partial L_s}{\partial p} . \]

Two cuts, one inside the other. `Ranks`: each process that mpirun started takes its part of the batch. `sharded`: the
threads of a process take shards of its part. A GPU takes the whole part at once, by `step.gradient`.
"""

import os
import sys
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from time import monotonic, sleep

import numpy as np
from threadpoolctl import threadpool_limits

from stn_scratch.backend import get_array_module, to_host
from stn_scratch.parameters import unpack
from stn_scratch.training.memory import keep_freed_memory
from stn_scratch.training.step import Gradient, gradient
from stn_scratch.validate import check_whole

LARGEST_SHARD = 128  # images: measured, 128 and 256 are fastest, 64 is 5 to 15 % slower, 32 up to 40 %
# how many processes the launchers of Open MPI, of MPICH and Intel MPI, and of Slurm say that they started
LAUNCHED = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
PATIENCE = 600.0  # seconds, after which a process that does not answer is given up


def cores():
    """The cores that this process may use."""
    return len(_affinity())


def _affinity():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def shard_size(batch, threads):
    """Images in a shard: at most `LARGEST_SHARD`, and as many shards as keep all threads busy until the end."""
    rounds = -(-batch // (LARGEST_SHARD * threads))
    return -(-batch // (rounds * threads))


@contextmanager
def sharded(*, threads=None, size=None):
    """Within it, a `step.gradient` that cuts the batch into shards of `size` images and works on `threads` at once.

    threads: None for one a core; size: None for `shard_size`. BLAS is held to one thread a shard. Memory grows with
    size and threads, not with the batch. The cut and the order of the sums do not depend on `threads` if `size` is
    given, and neither does the result: it is the same to the last bit. From here on the process keeps memory that it
    frees, see `memory.py`. Raises ValueError for a number below 1.
    """
    threads = check_whole("threads", cores() if threads is None else threads)
    if size is not None:
        size = check_whole("size", size)
    keep_freed_memory()

    with workers(threads) as in_order:

        def sharded_gradient(network, params, x, labels, *, share=1.0):
            B = len(x)
            if B == 0 or len(labels) != B:
                return gradient(network, params, x, labels)  # which says what is wrong with them
            cut = size or shard_size(B, threads)
            shards = ((x[k:k + cut], labels[k:k + cut]) for k in range(0, B, cut))
            work = (partial(gradient, network, params, *shard, share=share * len(shard[0]) / B) for shard in shards)
            return _sum(in_order(work))

        yield sharded_gradient


@contextmanager
def workers(threads):
    """Within it, a function that takes many functions and gives their results, in their order, from so many threads.

    BLAS is held to one thread for each.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as executor:
        yield partial(_in_order, executor, ahead=2 * threads)


def _in_order(executor, work, *, ahead):
    """The results one by one; at most `ahead` functions are begun whose results were not yet taken."""
    pending = deque()
    for function in work:
        if len(pending) == ahead:
            yield pending.popleft().result()
        pending.append(executor.submit(function))
    while pending:
        yield pending.popleft().result()


def _sum(results):
    total = next(results)
    loss, errors, flat = total.loss, total.errors, total.grads.flat
    for result in results:
        loss, errors = loss + result.loss, errors + result.errors
        flat += result.grads.flat
    return Gradient(loss, errors, total.grads)


class RankLost(RuntimeError):
    """Another process of the run cannot be reached, or does not answer."""


class Ranks:
    """The processes that train one network together: those that mpirun started, or this one alone.

    rank, size     which of how many; rank 0 alone writes files, validates and prints
    local          which of those on this machine
    cores          that this process may use
    """

    def __init__(self, mpi=None):
        """mpi: mpi4py's module MPI, or None for a process alone."""
        self.rank, self.size, self.local, self.cores = 0, 1, 0, cores()
        if mpi is not None:
            self.mpi, self.comm = mpi, mpi.COMM_WORLD
            self.rank, self.size = self.comm.rank, self.comm.size
            here = self.comm.Split_type(mpi.COMM_TYPE_SHARED)
            self.local = here.rank
            # mpirun binds each process to cores of its own, or all of them to the same ones
            self.cores = max(1, len(set().union(*here.allgather(_affinity()))) // here.size)

    def part(self, batch):
        """The images of a batch that are this process's: a range. Raises ValueError if there are too few for all."""
        if batch < self.size:
            raise ValueError(f"batch must be at least {self.size}, one image for each process, not {batch}")
        return range(batch * self.rank // self.size, batch * (self.rank + 1) // self.size)

    def add(self, a):
        """The sum over all processes of a host array, in place. Every process must call it; raises RankLost."""
        if self.size == 1:
            return a
        began = monotonic()
        try:
            request = self.comm.Iallreduce(self.mpi.IN_PLACE, a)
            while not request.Test():
                # asleep, and not in MPI: signals are heard, and the thread that draws the next batch gets the core
                waited = monotonic() - began
                sleep(5e-5 if waited < 0.01 else 1e-3)
                if waited > PATIENCE:
                    raise RankLost(f"another process of this run has not answered for {PATIENCE:.0f} seconds")
        except self.mpi.Exception as error:
            raise RankLost(f"another process of this run cannot be reached: {error}") from None
        return a

    def sum(self, own, asked):
        """The whole batch's Gradient from each process's own, and whether any process was `asked` to stop.

        One Allreduce: all that there is to agree on stands in one buffer, so every process knows the same after the
        same step. A process alone gets back what it gave.
        """
        if self.size == 1:
            return own, asked
        flat = own.grads.flat
        end = [to_host(own.loss), to_host(own.errors), bool(asked)]
        buffer = self.add(np.concatenate([to_host(flat), end], dtype=flat.dtype.name))
        whole = get_array_module(flat).asarray(buffer)
        return Gradient(whole[-3], whole[-2], unpack(whole[:-3], own.grads)), bool(buffer[-1])

    def check_alike(self, **arrays):
        """Wait for all processes; raises RuntimeError, one sentence, unless these host arrays are the same in all."""
        sums = np.array([zlib.crc32(np.ascontiguousarray(a)) for a in arrays.values()], dtype="float64")
        totals = self.add(sums.copy())
        other = [name for name, own, total in zip(arrays, sums, totals, strict=True) if total != self.size * own]
        if other:
            raise RuntimeError(f"the processes of this run have not the same {' and '.join(other)}: they must find the "
                               "same data, and with --resume the same run folder, on every machine")

    def one_first(self, action):
        """What `action` gives: one process of each machine does it, then the others, who find its files."""
        if self.local == 0:
            result = action()
        self.add(np.zeros(1))
        return result if self.local == 0 else action()

    def last_words(self, sentence, *, together=False):
        """Say on stderr why this process ends, and end the others with it, for they would wait for it.

        together: all processes end here, for the same reason: one says so, and none needs to be ended.
        """
        if together and self.rank:
            return
        if not together:
            sleep(1.0 if self.rank else 0.0)  # if all fail alike, the first ends the others before they say it again
        print(sentence, file=sys.stderr, flush=True)
        if not together and self.size > 1:
            self.comm.Abort(2)


@cache
def ranks():
    """The Ranks of this process, found out by itself. Raises RuntimeError, one sentence, where MPI is missing.

    An exception that nobody catches ends all processes from here on, not just the one that raised it.
    """
    launched = max(int(os.environ.get(name, 1)) for name in LAUNCHED)
    if launched == 1:
        return Ranks()
    try:
        from mpi4py import MPI  # an optional extra
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(f'{launched} processes were started together, which needs the extra "mpi", mpi4py and an '
                           f"MPI library: {error}") from None
    if MPI.COMM_WORLD.size != launched:
        raise RuntimeError(f"{launched} processes were started, but by another MPI than mpi4py's: its mpirun must be "
                           "the one that starts them")

    def end_all(*error):
        sys.__excepthook__(*error)
        MPI.COMM_WORLD.Abort(1)

    sys.excepthook = end_all
    return Ranks(MPI)
