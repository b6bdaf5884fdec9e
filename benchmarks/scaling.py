"""(d) Cost against one size at a time, and the exponent with which it grows, on one thread.

The sum over n, m of Eq. (3) as printed costs H W for each output pixel; four taps cost four. So the cost must grow with
the output, and with batch and channels, but not with the input. A second thread would bend the line: it takes half of
the work in a large case, and of a small one it takes longer to wake.
"""

import numpy as np

from benchmarks import machine as machines
from benchmarks import sampler, step
from benchmarks.timing import Case, alternate, fit_exponent
from stn_scratch import paper

MOST_THREADS = 1
COPY = "a copy of U"  # dU is as large as U and must be written in full, whatever else is done
# of the sampler: axis -> its title, the sizes, the expected exponent, the shape of U and the output's side at a size
SAMPLER_AXES = {
    "batch": ("images in the batch", (32, 64, 128, 256, 512), 1, lambda n: ((n, 28, 28, 1), 28)),
    "output": ("output pixels", (28, 56, 112, 224), 1, lambda n: ((16, 64, 64, 1), n)),
    "input": ("input pixels", (28, 56, 112, 224, 448), 0, lambda n: ((16, n, n, 1), 56)),
    "channels": ("channels", (4, 8, 16, 32, 64), 1, lambda n: ((64, 28, 28, n), 28)),
}
SQUARED = ("output", "input", "dense")  # axes whose size is the side of an image; its cost is against the pixels
STEP_BATCHES = (64, 128, 256, 512, 1024)
DENSE_SIDES = (28, 56, 112, 224)
EXPECTED = {axis: expected for axis, (_, _, expected, _) in SAMPLER_AXES.items()} | {"step": 1, "dense": 1}
TITLES = {axis: title for axis, (title, *_) in SAMPLER_AXES.items()} | {
    "step": "images in the batch", "dense": "input pixels"}
WHAT = dict.fromkeys(SAMPLER_AXES, "sampler") | {"step": "st-cnn step", "dense": "Eq. (5) as printed"}


def _sampler(machine, axis, n, budget):
    """The sampler, and beside it ours compiled, PyTorch's and, where the input grows, a copy of the input."""
    shape, side = SAMPLER_AXES[axis][3](n)
    timed = sampler.contenders(machine, machines.variants(machine, channels=1), shape, (side, side), "float32")
    if axis == "input":
        U = timed["ours"].arrays[0]
        timed[COPY] = U.copy
    row = alternate(timed, machine.clock, budget)
    for ratios in (row["ratio"], row.get("compiled", {})):
        ratios.pop(COPY, None)  # no peer
    return row


def _step(machine, batch, parameters, budget):
    """A training step of the ST-CNN at 28x28, ours alone: part (a) has PyTorch's."""
    timed = step.contenders(machine, (), "st-cnn", 28, batch, parameters=parameters, dtype="float32")
    return alternate(timed, machine.clock, budget)


def _dense(side, budget, clock):
    """Eq. (5) as printed, on one image and 28x28 output pixels."""
    rng = np.random.default_rng(0)
    U = rng.random((1, side, side, 1))
    x, y = (side - 1) * rng.random((2, 1, 28, 28))
    return alternate({"ours": lambda: paper.sample(U, x, y)}, clock, budget)


def cases(machine, options):
    """One case a point; a name's part before the comma is its axis."""
    few = 2 if options.quick else None
    parameters = 24_000 if options.quick else 100_000

    def case(axis, n, name, measure):
        return Case(name, {"axis": axis, "size": n ** 2 if axis in SQUARED else n},
                    lambda budget: measure(budget._replace(warm=min(budget.warm, 3), seconds=budget.seconds / 6)))

    for axis, (title, sizes, _, _) in SAMPLER_AXES.items():
        for n in sizes[:few]:
            shown = f"{n}x{n}" if axis in SQUARED else n
            yield case(axis, n, f"sampler, {shown} {title}", lambda b, axis=axis, n=n: _sampler(machine, axis, n, b))
    for n in STEP_BATCHES[:few]:
        yield case("step", n, f"st-cnn step, batch {n}", lambda b, n=n: _step(machine, n, parameters, b))
    for n in DENSE_SIDES[:few]:
        yield case("dense", n, f"Eq. (5) as printed, {n}x{n} input pixels", lambda b, n=n: _dense(n, b, machine.clock))


def fits(rows):
    """The exponents of all axes that have two points or more: a list of dicts."""
    found = []
    for axis, expected in EXPECTED.items():
        points = [row for row in rows if row["axis"] == axis]
        lines = {name: [(row["size"], row["values"][name]) for row in points]
                 for name in (points[0]["values"] if points else ()) if name != COPY}
        if axis == "input":
            lines |= {f"{name} beyond the copy": [(row["size"], row["values"][name] - row["values"][COPY])
                                                  for row in points] for name in lines}
        for name, line in lines.items():
            if len(line) > 1 and min(cost for _, cost in line) > 0:
                fit = fit_exponent(*zip(*line, strict=True))
                found.append({"axis": axis, "of": name, "expected": expected, **fit._asdict()})
    return found
