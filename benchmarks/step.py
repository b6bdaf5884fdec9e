"""(a) One whole training step, forward, backward and update, beside PyTorch's on the same network and batch."""

from functools import partial

import numpy as np

from benchmarks import machine as machines
from benchmarks import peers
from benchmarks.same_work import TOLERANCE, check_same
from benchmarks.timing import COMPILED, Case, alternate
from stn_scratch import SGD, build_model, cuda, train_step
from stn_scratch.backend import to_host
from stn_scratch.parameters import leaves, unpack

CHECKED_IMAGES = 16


class OurStep:
    """A whole training step; the twin of `peers.Step`."""

    def __init__(self, network, params, x, labels, machine, compiled=False):
        self.network, self.params = network, unpack(machine.put(params.flat.copy()), params)
        self.x, self.labels = machine.put(x), machine.put(labels)
        self.optimiser, self.gradient = SGD(peers.LR, peers.MOMENTUM), machine.gradient
        self.compiled = compiled

    def __call__(self):
        with cuda.compiled(self.compiled):
            train_step(self.network, self.params, self.optimiser, self.x, self.labels, gradient=self.gradient)

    def logits(self):
        with cuda.compiled(self.compiled):
            return to_host(self.network.forward(self.params, self.x)[0])


def start(model, size, batch, *, parameters, dtype):
    """A network, its parameters, images and labels."""
    rng = np.random.default_rng(0)
    x = rng.random((batch, size, size, 1)).astype(dtype)
    labels = rng.integers(0, 10, batch)
    network, params = build_model(model, in_shape=(size, size, 1), parameters=parameters, dtype=dtype)
    for path, p in leaves(params):
        # away from the identity, whose samples stand on the pixels: there the two libraries take different slopes
        if path[-2:] == ("regression", "b"):
            p += np.array([0.0313, 0.0527, 0.0119, -0.0541, 0.0233, 0.0307], dtype=dtype)
    return network, params, x, labels


def contenders(machine, variants, model, size, batch, *, parameters, dtype):
    """Our step and PyTorch's by name, from the same parameters and for the same batch."""
    begun = start(model, size, batch, parameters=parameters, dtype=dtype)
    makers = {"ours": OurStep, COMPILED: partial(OurStep, compiled=True)}
    return {v: makers[v](*begun, machine) if v in makers else machine.peer(peers.Step, v, *begun, machine.name)
            for v in ("ours", *variants)}


def check_steps(what, steps, *, number, tolerance):
    """The logits of all agree before each of so many steps: the last ones depend on every gradient and update."""
    for k in range(number):
        logits = {name: step.logits() for name, step in steps.items()}
        for name in steps.keys() - {"ours"}:
            check_same(f"{what}, logits after {k} steps", name, logits["ours"], logits[name], tolerance)
        for step in steps.values() if k < number - 1 else ():
            step()


def compare(machine, model, size, batch, parameters, budget):
    """Check, then time."""
    what = f"{model} {size}x{size}"
    # what is compiled for a CPU is the sampler, of which a CNN has none
    variants = peers.variants(machine) if model == "cnn" else machines.variants(machine)
    # to compile once more, for float64, would take longer than all the rest; its logits are checked in float32
    exact = contenders(machine, [v for v in variants if v != "torch.compile"], model, size, CHECKED_IMAGES,
                       parameters=parameters, dtype="float64")
    check_steps(what, exact, number=3, tolerance=TOLERANCE["float64"])
    timed = contenders(machine, variants, model, size, batch, parameters=parameters, dtype="float32")
    # no update in float32: one near-tie in a pooling window that rounding decides otherwise changes a gradient by 1e-3
    check_steps(what, timed, number=1, tolerance=TOLERANCE["float32"])
    return alternate(timed, machine.clock, budget) | {"parameters": timed["ours"].params.flat.size}


def cases(machine, options):
    """ST-CNN and CNN at 28, 42 and 60 pixels, batch 256 and 64; with --quick one small one."""
    sizes, batches, parameters = ((28,), (8,), 24_000) if options.quick else ((28, 42, 60), (256, 64), 100_000)
    for batch in batches:
        for size in sizes:
            for model in ("st-cnn", "cnn"):
                yield Case(f"{model} {size}x{size}, batch {batch}", {"model": model, "size": size, "batch": batch},
                           lambda budget, case=(model, size, batch): compare(machine, *case, parameters, budget))
