"""One of the processes that test_mpi.py starts by mpirun: a short run in float64, in which one process has a fault."""

import os
import signal
import sys

import numpy as np
from small_runs import few_digits

from stn_scratch.data import tasks
from stn_scratch.models import build_model
from stn_scratch.training import loop, parallel
from stn_scratch.training.config import Config

# a batch that no number of processes divides, in three blocks
RUN = {"parameters": 24_000, "digits": "embedded", "iterations": 20, "batch": 151, "threads": 1, "shard": 32,
       "checkpoint_every": 5, "validate_every": 10, "log_every": 1, "decay_every": 15}


def in_float64():
    """Few digits, and a network, in float64."""
    few = few_digits()
    few = few._replace(train_images=few.train_images.astype("float64"), test_images=few.test_images.astype("float64"))
    tasks.load_digits = lambda *_, **__: few
    loop.build_model = lambda *arguments, **options: build_model(*arguments, **options, dtype="float64")


def crash():
    raise MemoryError("no room for a batch")


FAULTS = {
    "kill": lambda batch: os.kill(os.getpid(), signal.SIGKILL),
    "interrupt": lambda batch: signal.raise_signal(signal.SIGINT),
    "crash": lambda batch: crash(),
    "nan": lambda batch: batch.x.fill(np.nan),
}


def with_fault(fault, at):
    """This process has the fault when it takes the batch number `at`."""
    training_batches = loop.batches.training_batches

    def batches(*arguments, **options):
        for number, batch in enumerate(training_batches(*arguments, **options), start=1):
            if number == at:
                FAULTS[fault](batch)
            yield batch

    loop.batches.training_batches = batches


def main(folder, resume, fault="none", rank=0, at=0):
    ranks = parallel.ranks()
    in_float64()
    if fault == "other digits" and ranks.rank == int(rank):
        tasks.load_digits().train_labels[0] += 1
    elif fault != "none" and ranks.rank == int(rank):
        with_fault(fault, int(at))
    try:
        _, error, images = loop.start(Config(**RUN), folder, resume=resume == "resume", progress=False)
        print(f"rank {ranks.rank} of {ranks.size}: {error:.4f} % of {images}", flush=True)
    except (loop.Interrupted, loop.NotFinite) as end:
        ranks.last_words(f"together: {end}", together=True)
    except RuntimeError as error:
        ranks.last_words(f"alone: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
