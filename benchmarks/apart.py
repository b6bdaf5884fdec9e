"""PyTorch's contenders in a process of their own, so that each library runs as it does alone.

In ours it would profit from what `training/memory.py` asks of the C library: its ST-CNN step at 28x28 takes a fifth
less time then. And its idle threads spin for a while.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count
from operator import methodcaller

from benchmarks import peers
from benchmarks.timing import host_clock

_there = {}  # in the other process: the contenders by their number


class Apart:
    """A contender in the other process: made there and called there; what is asked of it comes back."""

    _numbers = count()

    def __init__(self, executor, kind, arguments):
        self.executor, self.number = executor, next(self._numbers)
        executor.submit(_make, self.number, kind, arguments).result()

    def do(self, function, *arguments):
        """function(contender, *arguments), there."""
        return self.executor.submit(_do, self.number, function, arguments).result()

    def seconds(self, n):
        """The time that one of n calls in a row takes."""
        return self.do(_seconds, n)

    def __call__(self):
        self.seconds(1)

    def logits(self):
        return self.do(methodcaller("logits"))

    def result(self):
        return self.do(methodcaller("result"))

    def __del__(self):
        try:
            self.executor.submit(_forget, self.number)
        except RuntimeError:
            pass  # the process has ended, and its contenders with it


@contextmanager
def apart(threads):
    """Within it, a `Machine.peer` whose contenders stand in another process, PyTorch with so many threads."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=peers.set_threads,
                             initargs=(threads,)) as executor:
        yield lambda kind, *arguments: Apart(executor, kind, arguments)


def _make(number, kind, arguments):
    _there[number] = kind(*arguments)


def _do(number, function, arguments):
    return function(_there[number], *arguments)


def _forget(number):
    del _there[number]


def _seconds(contender, n):
    return host_clock(lambda: None)(contender, n)
