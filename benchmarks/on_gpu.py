"""`python -m benchmarks.on_gpu`: everything that needs a GPU, in one command that can be stopped and called again.

In this order: the tests marked `gpu`, with the fused kernels and without, the GPU benchmark, and the experiments that
are still missing (`EXPERIMENTS`), for which MNIST must stand in the folder that the environment variable STN_DATA
names, or can be fetched. Neither latex2mathml nor the packages of the notebooks are needed.

It works in a folder that git ignores, and after each step leaves its results in the folder that the environment
variable OUT names: the tests' logs and states, results.json, results.png, and runs.tar with the run folders. Where the
next call starts on a bare machine, put these files into the work folder, and it goes on from there.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks import results
from benchmarks.machine import source
from stn_scratch.experiments import running
from stn_scratch.experiments.records import Cell
from stn_scratch.experiments.rows import ROWS
from stn_scratch.training.run_folder import CHECKPOINT, read_metrics

ROOT = Path(__file__).parents[1]
# the distorted digits, seed by seed: whatever part of the list is done, it is a table
EXPERIMENTS = [Cell(row.name, "better", seed) for seed in (0, 1, 2) for row in ROWS.values()
               if row.table in ("distorted", "clutter")]
RUNS, ARCHIVE = "runs", "runs.tar"
# the tests' two passes: the name of their files, and what the environment has more
PASSES = {"tests": {}, "tests-without-kernels": {"STN_FUSED": "0"}}
MOST_OF_TESTS = 200  # seconds for a pass: what follows shall begin, whatever the tests take
PATIENCE = 20  # seconds that a step has, after Ctrl-C, to save what it has
LEAST = 25  # seconds below which nothing more is begun
NO_TESTS = 5  # pytest's status when it found none


def call(command, seconds, log=None, environment=None):
    """Run a command from the repository's root, and stop it by Ctrl-C after so many seconds.

    Gives its exit status, None if it was stopped. log: a file for what it says; environment: variables that it has
    beyond ours.
    """
    with open(log, "wb") if log else nullcontext() as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT if log else None,
                                   env=os.environ | (environment or {}))
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return None


def tests(name, options, seconds):
    """A pass of pytest -m gpu, unless it has passed with the source as it is. Gives a word on how it went."""
    path, log = options.work / f"{name}.json", options.work / f"{name}.log"
    passed = {"passed": True, "source": source("stn_scratch", "tests")}
    if path.is_file() and json.loads(path.read_text()) == passed:
        return "passed before"
    # the lessons need the packages of notebooks, and nothing in them is for a GPU alone; kernels that are switched off
    # are not tested
    ignored = ["test_lessons.py", *(p.name for p in (ROOT / "tests").glob("test_cuda_*.py") if PASSES[name])]
    at_once = ["--numprocesses=auto"] if find_spec("xdist") else []  # see tests/conftest.py
    command = [sys.executable, "-m", "pytest", "-m", options.mark, "-p", "no:cacheprovider", *at_once,
               *(f"--ignore=tests/{file}" for file in ignored), *options.tests]
    status = call(command, min(seconds, MOST_OF_TESTS), log, PASSES[name])
    path.write_text(json.dumps(passed | {"passed": status == 0}))
    return {0: "passed", None: "stopped", NO_TESTS: "there are none"}.get(status, f"FAILED, see {log.name}")


def benchmark(options, seconds):
    """The GPU part of the benchmark. It is told to end a little before it would be stopped: it has a figure to draw."""
    part = ["gpu"] if options.device == "gpu" else ["grids", "--quick"]
    status = call([sys.executable, "-m", "benchmarks", "--resume", "--out", str(options.work), "--seconds",
                   str(int(seconds - PATIENCE)), "--part", *part], seconds)
    return {0: "complete", 3: "time was up", None: "stopped"}.get(status, "FAILED")


def finished(folder):
    """True if a run has been tested, which is the last thing that a run does."""
    return any("test_error" in record for record in read_metrics(folder))


def command(cell, options):
    """Of a cell; it goes on from its checkpoint by itself."""
    return [sys.executable, "-m", "stn_scratch", *cell.arguments(), "--device", options.device, "--runs",
            str(options.work / RUNS)]


def train(cell, options, seconds):
    """One run, from its checkpoint if it has one."""
    folder = cell.folder(options.work / RUNS)
    if finished(folder):
        return "done before"
    status = call(command(cell, options), seconds)
    if status == 0:
        return f"test error {read_metrics(folder)[-1]['test_error']:.2f} %"
    return "stopped, saved" if status in (None, 130) else "FAILED"


def take_over(work):
    """Unpack the runs of an earlier call, where they do not stand in the work folder already."""
    if (work / ARCHIVE).is_file() and not (work / RUNS).is_dir():
        with tarfile.open(work / ARCHIVE) as archive:
            # Python knows this filter from 3.11.4 on; the archive is our own
            archive.extractall(work, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


def hand_over(work, out, *, checkpoints):
    """Copy the results to `out`. The archive is small: without pictures, and checkpoints of finished runs."""
    def wanted(member):
        folder, _, file = member.name.rpartition("/")
        done = file == CHECKPOINT and not checkpoints and finished(work / folder)
        return None if done or file.endswith(".png") else member

    if (work / RUNS).is_dir():
        part = work / (ARCHIVE + ".part")
        with tarfile.open(part, "w") as archive:
            archive.add(work / RUNS, RUNS, filter=wanted)
        part.replace(work / ARCHIVE)
    out.mkdir(parents=True, exist_ok=True)
    of_tests = [f"{name}.{end}" for name in PASSES for end in ("json", "log")]
    for name in (*of_tests, results.FILE, results.FIGURE, ARCHIVE):
        if (work / name).is_file() and out.resolve() != work.resolve():
            shutil.copyfile(work / name, out / name)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=float, default=540, help="for all of it (default 540)")
    add("--work", type=Path, default=ROOT / "build" / "on_gpu", help="the folder that it works in")
    add("--device", choices=("cpu", "gpu"), default="gpu", help="cpu: to try out this script")
    add("--mark", default="gpu", help="of the tests (default gpu)")
    add("--tests", nargs="*", default=[], help="test files (default all)")
    add("--checkpoints", action="store_true", help="archive the checkpoints of finished runs, too")
    return parser


def main(arguments=None, experiments=EXPERIMENTS):
    """All steps in their order, while there is time, and no experiment after one that fails.

    Gives 0 if everything is done, 1 if something failed, else 3.
    """
    options = _parser().parse_args(arguments)
    deadline = time.monotonic() + options.seconds
    options.work.mkdir(parents=True, exist_ok=True)
    take_over(options.work)
    out = Path(os.environ.get("OUT") or options.work)
    runs = {running.name(cell): partial(train, cell) for cell in experiments}
    steps = {name: partial(tests, name) for name in PASSES} | {"benchmark": benchmark} | runs
    said = dict.fromkeys(steps, "not begun")
    hand_over(options.work, out, checkpoints=options.checkpoints)  # what an earlier call left
    for title, step in steps.items():
        left = deadline - time.monotonic() - PATIENCE  # a step that is stopped may need so long to end
        if left <= LEAST:
            break
        said[title] = step(options, left)
        hand_over(options.work, out, checkpoints=options.checkpoints)
        if title in runs and said[title] == "FAILED":
            break
    width = max(map(len, said))
    print("\n".join(["", *(f"{title:<{width}}  {word}" for title, word in said.items()), f"results in {out}"]))
    open_ends = [word for word in said.values() if word.startswith(("stopped", "time was up", "not begun"))]
    return 1 if any("FAILED" in word or word == "there are none" for word in said.values()) else 3 if open_ends else 0


if __name__ == "__main__":
    sys.exit(main())
