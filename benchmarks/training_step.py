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
# PyTorch in its default memory format, and in the one that suits it better here; ours is channels-last
PEERS = {"PyTorch": torch.contiguous_format, "PyTorch channels_last": torch.channels_last}


def our_step(network, params, x, labels, gradient):
    optimiser = SGD(LR, MOMENTUM)
    return lambda: train_step(network, params, optimiser, x, labels, gradient=gradient)


def their_step(network, params, x, labels, memory_format):
    layout = {"dtype": getattr(torch, x.dtype.name), "memory_format": memory_format}
    model = twin(network, params, x.shape[1:])[0].to(**layout)
    optimiser = torch.optim.SGD(model.parameters(), LR, MOMENTUM)
    # a copy in C order first: torch takes an image of one channel that was only permuted for channels_last
    x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).to(**layout)
    labels = torch.from_numpy(labels)

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def steps(name, size, options, gradient, dtype):
    """Our step and PyTorch's by name, from the same parameters and for the same batch; the number of parameters."""
    rng = np.random.default_rng(0)
    x = rng.random((options.batch, size, size, 1)).astype(dtype)
    labels = rng.integers(0, 10, options.batch)
    network, params = build_model(name, in_shape=(size, size, 1), parameters=options.parameters, dtype=dtype)
    for path, p in leaves(params):
        # away from the identity, whose samples stand on the pixels: there the two libraries take different slopes
        if path[-2:] == ("regression", "b"):
            p += np.array([0.0313, 0.0527, 0.0119, -0.0541, 0.0233, 0.0307], dtype=dtype)
    theirs = {column: their_step(network, params, x, labels, memory_format) for column, memory_format in PEERS.items()}
    return {"ours": our_step(network, params, x, labels, gradient), **theirs}, params.flat.size


def check_same_work(name, size, options, gradient):
    timed, _ = steps(name, size, options, gradient, "float64")
    for _ in range(3):
        ours, *theirs = (float(step()) for step in timed.values())
        if max(abs(loss - ours) for loss in theirs) > 1e-9 * abs(ours):
            raise SystemExit(f"{name} {size}x{size}: not the same work: our loss {ours}, PyTorch's {theirs}")


def milliseconds(step):
    began = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - began)


def compare(name, size, options):
    """Medians of alternating steps, in milliseconds, and our ratio to each peer."""
    with sharded(threads=options.threads) as gradient:
        check_same_work(name, size, options, gradient)
        timed, parameters = steps(name, size, options, gradient, "float32")
        for _ in range(3):
            for step in timed.values():
                step()
        times = [[milliseconds(step) for step in timed.values()] for _ in range(options.repeats)]
    medians = dict(zip(timed, map(statistics.median, zip(*times, strict=True)), strict=True))
    return {"model": name, "size": size, "parameters": parameters, "ms": medians,
            "ratio": {column: medians["ours"] / medians[column] for column in PEERS}}


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
    print(f"{'one training step':<20}{'parameters':>12}{'ours':>9}" + "".join(
        f"{column + ', ms':>28}{'ratio':>7}" for column in PEERS))
    rows = []
    for name, size in CASES:
        row = compare(name, size, options)
        rows.append(row)
        print(f"{f'{name} {size}x{size}':<20}{row['parameters']:>12,}{row['ms']['ours']:>9.1f}" + "".join(
            f"{row['ms'][column]:>28.1f}{row['ratio'][column]:>7.2f}" for column in PEERS), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({**facts, "rows": rows}, file, indent=2)


if __name__ == "__main__":
    main()
