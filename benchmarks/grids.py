"""(c) Each transformation's grid, forward and backward; the affine one beside PyTorch's affine_grid."""

import numpy as np

from benchmarks import peers
from benchmarks.same_work import TOLERANCE, check_same
from benchmarks.timing import Case, alternate
from stn_scratch.backend import to_host
from stn_scratch.grids import TRANSFORMATIONS


class OurGrid:
    """A transformation of the table: theta -> grid, dgrid -> dtheta."""

    def __init__(self, transformation, theta, dgrid, machine):
        self.transformation, self.size = transformation, dgrid.shape[2:]
        self.theta, self.dgrid = machine.put(theta), machine.put(dgrid)

    def __call__(self):
        grid, cache = self.transformation.forward(self.theta, size=self.size, align_corners=True)
        return grid, self.transformation.backward(self.dgrid, cache)

    def result(self):
        return tuple(map(to_host, self()))


def contenders(machine, name, B, size, dtype):
    """Our grid, and PyTorch's where it has one, on the same theta and dgrid."""
    rng = np.random.default_rng(0)
    identity = np.array(TRANSFORMATIONS[name].identity, dtype=dtype)
    theta = (identity + 0.05 * rng.normal(size=(B, len(identity)))).astype(dtype)
    dgrid = rng.normal(size=(B, 2, *size)).astype(dtype)
    variants = [v for v in peers.variants(machine, channels=1) if name == "affine"]
    return ({"ours": OurGrid(TRANSFORMATIONS[name], theta, dgrid, machine)}
            | {v: machine.peer(peers.AffineGrid, v, theta, dgrid, machine.name) for v in variants})


def check_grids(what, grids, tolerance):
    """grid and dtheta of all agree."""
    ours = grids["ours"].result()
    for name in grids.keys() - {"ours"}:
        for part, a, b in zip(("grid", "dtheta"), ours, grids[name].result(), strict=True):
            check_same(f"{what} grid, {part}", name, a, b, tolerance)


def compare(machine, name, B, size, budget):
    """Check, then time."""
    for dtype in ("float64", "float32"):
        timed = contenders(machine, name, B, size, dtype)
        check_grids(name, timed, TOLERANCE[dtype])
    return alternate(timed, machine.clock, budget)


def cases(machine, options):
    """Every transformation of the table at 28x28."""
    B, size = (4, (6, 7)) if options.quick else (256, (28, 28))
    for name in TRANSFORMATIONS:
        yield Case(f"{name} grid, {B} of {size[0]}x{size[1]}", {"transform": name},
                   lambda budget, name=name: compare(machine, name, B, size, budget))
