"""Medians of alternating runs, and the exponent with which a cost grows."""

import math
import statistics
import time
from typing import NamedTuple

COMPILED = "ours, compiled"  # the contender with the kernels of cuda/ compiled for the CPU
PAUSE = 0.002  # seconds before each sample: idle OpenMP threads spin for a while and would slow the next contender


class Budget(NamedTuple):
    """How often things are timed. The samples end after `most`, or after `seconds` with at least `least` taken."""

    warm: int = 12  # calls before any clock is read: PyTorch's first dozen calls are slow
    least: int = 7
    most: int = 25
    seconds: float = 6
    sample: float = 0.2  # seconds in which calls follow each other, as the steps of a training run do


QUICK = Budget(warm=1, least=2, most=2, seconds=0, sample=0)


class Case(NamedTuple):
    """One line of a table, not yet measured."""

    name: str
    facts: dict  # what a figure or a fit needs to know of it
    measure: object  # (budget) -> dict with "unit", "values" {contender: median}, "ratio" {peer: ours / peer}, ...


def host_clock(wait):
    """seconds(call, n): the time that one of n calls in a row takes. wait() returns when the device has finished."""

    def seconds(call, n):
        if hasattr(call, "seconds"):
            return call.seconds(n)  # it stands in another process, and is timed there: apart.py
        wait()
        began = time.perf_counter()
        for _ in range(n):
            call()
        wait()
        return (time.perf_counter() - began) / n

    return seconds


def event_clock(xp):
    """The same by a GPU's own events, which do not see how long the host took to ask for the work."""

    def seconds(call, n):
        start, end = xp.cuda.Event(), xp.cuda.Event()
        start.record()
        for _ in range(n):
            call()
        end.record()
        end.synchronize()
        return xp.cuda.get_elapsed_time(start, end) / 1e3 / n

    return seconds


def alternate(contenders, clock, budget):
    """Time contenders {name: call} in turn, so that whatever disturbs the machine disturbs them all.

    Gives a row: values {name: median in ms}, ratio {peer: median of "ours" / median of the peer}, quartiles, and how
    it was measured.
    """
    calls = {}
    for name, call in contenders.items():
        for _ in range(budget.warm):
            call()
        calls[name] = max(1, round(budget.sample / clock(call, 1)))
    times = {name: [] for name in contenders}
    began, rounds = time.perf_counter(), 0
    while rounds < budget.least or rounds < budget.most and time.perf_counter() - began < budget.seconds:
        for name, call in contenders.items():
            time.sleep(PAUSE)
            times[name].append(1e3 * clock(call, calls[name]))
        rounds += 1
    quartiles = {name: statistics.quantiles(t, n=4, method="inclusive") for name, t in times.items()}
    row = with_ratio("ms", {name: median for name, (_, median, _) in quartiles.items()})
    return row | {"quartiles": {name: [q[0], q[2]] for name, q in quartiles.items()},
                  "warm": budget.warm, "samples": rounds, "calls": calls}


def with_ratio(unit, values):
    """A row of values {name: number} with the ratio of "ours" to each of the others.

    Where there is "ours, compiled", the row has its ratios to the peers as well.
    """
    def ratios(own):
        return {name: values[own] / value for name, value in values.items() if not name.startswith("ours")}

    row = {"unit": unit, "values": values, "ratio": ratios("ours")}
    return row | ({"compiled": ratios(COMPILED)} if COMPILED in values else {})


class Fit(NamedTuple):
    exponent: float
    constant: float  # cost = constant * size ** exponent
    off: float  # the largest factor between a point and the line, 1 or more


def fit_exponent(sizes, costs):
    """The line through the logarithms by least squares. Raises ValueError where there is no such line."""
    if len(sizes) != len(costs) or len(set(sizes)) < 2:
        raise ValueError(f"an exponent needs costs at two sizes or more, not {len(costs)} at {sorted(set(sizes))}")
    if min(*sizes, *costs) <= 0:
        raise ValueError("sizes and costs must be above 0: they have no logarithm otherwise")
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    exponent, intercept = statistics.linear_regression(x, y)
    off = max(abs(b - (intercept + exponent * a)) for a, b in zip(x, y, strict=True))
    return Fit(exponent, math.exp(intercept), math.exp(off))
