"""Images a second of two processes against one, each with one thread: training as `mpirun -n 2` does it, and alone.

Runs of one and of two processes alternate, each process bound to a core of its own; what counts is the ratio of the
medians. The load is printed with every pair, for on a busy machine this ratio says how cores were shared. The second
ratio says then what idle cores would give at best: it is that of the images that one and two processes finish in a
second of each one's CPU time, which leaves out only the time asleep. Needs the extra "mpi" and an mpirun.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stn_scratch.training import loop, parallel
from stn_scratch.training.config import Config, versions
from stn_scratch.training.run_folder import read_metrics

EVERY = 10  # steps from record to record; the first is left out


def worker(folder, options):
    """In each process: train, and leave the CPU seconds that the steps took after the first record."""
    loop.error_on = lambda *_: (0.0, 1)  # testing is the first one's work alone, and none of a step
    times, log, rank = [], loop.Meter.add, parallel.ranks().rank

    def add(meter, result):
        times.append(time.process_time())
        log(meter, result)

    loop.Meter.add = add
    loop.start(Config(model=options.model, data=options.data, batch=options.batch, digits="embedded", threads=1,
                      iterations=EVERY + options.steps, log_every=EVERY), folder, progress=False)
    Path(folder, f"{rank}.seconds").write_text(str(times[-1] - times[EVERY - 1]))


def images_per_second(processes, options):
    """Of one run: the median of its records, and images in a second of each process's CPU time."""
    mpirun = shutil.which("mpirun", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if mpirun is None:
        sys.exit("benchmarks.ranks: there is no mpirun; it comes with an MPI library")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([mpirun, "-n", str(processes), "--bind-to", "core", sys.executable, *sys.argv, "--worker",
                        folder], check=True)
        records = [record["images_per_s"] for record in read_metrics(folder) if "images_per_s" in record]
        seconds = [float(path.read_text()) for path in Path(folder).glob("*.seconds")]
    return statistics.median(records[1:]), options.steps * options.batch / statistics.mean(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="st-cnn")
    parser.add_argument("--data", default="rts")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", help="write the figures to this file, too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options)
        return
    from benchmarks.machine import device_name, moment  # with PyTorch, which no worker needs
    pairs, begun = [], []
    for _ in range(options.pairs):
        begun.append(moment())
        (one, one_cpu), (many, many_cpu) = (images_per_second(n, options) for n in (1, options.processes))
        pairs.append((one, many, one_cpu, many_cpu))
        print(f"1 process {one:.0f}, {options.processes} processes {many:.0f} images/s, ratio {many / one:.2f}; "
              f"by CPU time {one_cpu:.0f}, {many_cpu:.0f}, ratio {many_cpu / one_cpu:.2f}; "
              f"load before {begun[-1]['load']:.1f}", flush=True)
    one, many, one_cpu, many_cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"medians: {one:.0f} and {many:.0f} images/s, ratio {many / one:.2f}; by CPU time {many_cpu / one_cpu:.2f}; "
          f"{parallel.cores()} cores")
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name not in ("json", "worker")}
        found = {"device": device_name("cpu"), "versions": versions(), "begun": begun, "pairs": pairs}
        Path(options.json).write_text(json.dumps(asked | found, indent=2) + "\n")


if __name__ == "__main__":
    main()
