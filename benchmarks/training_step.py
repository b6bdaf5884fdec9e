"""One whole training step beside PyTorch's on the same cores: same network, same parameters, same batch.

Ours and PyTorch's alternate in one run; the ratio of the medians is what counts, not the milliseconds of a shared
machine.
Before anything is timed, the losses of three steps in float64 must agree to 1e-9: it is the same work.
"""

import argparse
import json
import os
import platform
import statistics
import time

import numpy as np
import torch
from torch_twin import twin

from stn_scratch import SGD, build_model, train_step
from stn_scratch.parameters import leaves
from stn_scratch.training.step import sharded

CASES = [("st-cnn", 28), ("cnn", 28), ("st-cnn", 42), ("cnn", 42)]
LR, MOMENTUM = 0.01, 0.9


def our_step(network, params, x, labels, gradient):
    optimiser = SGD(LR, MOMENTUM)
    return lambda: train_step(network, params, optimiser, x, labels, gradient=gradient)


def their_step(network, params, x, labels):
    model = twin(network, params, x.shape[1:])[0].to(getattr(torch, x.dtype.name))
    optimiser = torch.optim.SGD(model.parameters(), LR, MOMENTUM)
    x, labels = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def both_steps(name, size, options, gradient, dtype):
    """Our step and PyTorch's, from the same parameters and for the same batch, and the number of parameters."""
    rng = np.random.default_rng(0)
    x = rng.random((options.batch, size, size, 1)).astype(dtype)
    labels = rng.integers(0, 10, options.batch)
    network, params = build_model(name, in_shape=(size, size, 1), parameters=options.parameters, dtype=dtype)
    for path, p in leaves(params):
        # away from the identity, whose samples stand on the pixels: there the two libraries take different slopes
        if path[-2:] == ("regression", "b"):
            p += np.array([0.0313, 0.0527, 0.0119, -0.0541, 0.0233, 0.0307], dtype=dtype)
    return our_step(network, params, x, labels, gradient), their_step(network, params, x, labels), params.flat.size


def check_same_work(name, size, options, gradient):
    ours, theirs, _ = both_steps(name, size, options, gradient, "float64")
    for _ in range(3):
        a, b = float(ours()), float(theirs())
        if abs(a - b) > 1e-9 * abs(b):
            raise SystemExit(f"{name} {size}x{size}: not the same work: our loss {a}, PyTorch's {b}")


def milliseconds(step):
    began = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - began)


def compare(name, size, options):
    with sharded(threads=options.threads) as gradient:
        check_same_work(name, size, options, gradient)
        ours, theirs, parameters = both_steps(name, size, options, gradient, "float32")
        for _ in range(3):
            ours(), theirs()
        times = [(milliseconds(ours), milliseconds(theirs)) for _ in range(options.repeats)]
    our_ms, their_ms = (statistics.median(column) for column in zip(*times, strict=True))
    return {"model": name, "size": size, "parameters": parameters, "ours_ms": our_ms, "pytorch_ms": their_ms,
            "ratio": our_ms / their_ms}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--parameters", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", help="write the figures to this file, too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
             "threads": options.threads, "batch": options.batch}
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    print(f"{'one training step':<20}{'parameters':>12}{'ours, ms':>10}{'PyTorch, ms':>13}{'ratio':>8}")
    rows = []
    for name, size in CASES:
        rows.append(compare(name, size, options))
        print("{:<20}{parameters:>12,}{ours_ms:>10.1f}{pytorch_ms:>13.1f}{ratio:>8.2f}".format(
            f"{name} {size}x{size}", **rows[-1]), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({**facts, "rows": rows}, file, indent=2)


if __name__ == "__main__":
    main()
