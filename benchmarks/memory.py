"""(e) Peak memory of one training step against the batch: the step's own, in a fresh process each time.

A process's resident memory is read before the step and at its highest during it, from Linux's /proc. `getrusage` will
not do: its maximum survives the start of a new program, so a child would be charged with its parent's.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks import peers, step
from benchmarks.machine import cpu
from benchmarks.timing import Case, with_ratio

STATUS = Path("/proc/self/status")
BATCHES = {"ours": (64, 256, 1024, 4096), "PyTorch": (64, 256, 1024)}
WARM_IMAGES = 8  # a step of these comes first: what a library loads once is not the step's


def cases(machine, options):
    """The ST-CNN at 28x28; PyTorch where it is."""
    who = ("ours", "PyTorch") if peers.ready(machine) else ("ours",)
    parameters = 24_000 if options.quick else 100_000
    for batch in (16,) if options.quick else BATCHES["ours"]:
        those = [w for w in who if options.quick or batch in BATCHES[w]]
        yield Case(f"st-cnn 28x28 step, batch {batch}", {"batch": batch},
                   lambda budget, batch=batch, those=those: compare(those, batch, parameters, options.threads))


def compare(who, batch, parameters, threads):
    """A row: megabytes of each."""
    return with_ratio("MB", {w: round(in_child(w, batch, parameters, threads), 2) for w in who})


def in_child(who, batch, parameters, threads):
    """The megabytes that one step takes, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", who, str(batch), str(parameters), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise RuntimeError(f"the memory of a step of {who}, batch {batch}, was not measured: {last[0]}")
    return json.loads(done.stdout)


def resident(which):
    """VmRSS, now, or VmHWM, the highest so far, in MB."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(which + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{STATUS} has no {which}")


def growth(call):
    """MB by which resident memory grows, at its highest, while `call` runs."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # 5: the highest so far is forgotten
    call()
    return max(0.0, resident("VmHWM") - before)


def measure(who, batch, parameters, threads):
    """In the child: the step of one contender; PyTorch's is in a child of its own."""
    with cpu(threads, peers_apart=True) as machine:
        variants = () if who == "ours" else (who,)

        def make(images):
            made = step.contenders(machine, variants, "st-cnn", 28, images, parameters=parameters, dtype="float32")
            return made[who]

        make(WARM_IMAGES)()
        contender = make(batch)
        return growth(contender) if who == "ours" else contender.do(growth)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("who", choices=BATCHES)
    for name in ("batch", "parameters", "threads"):
        parser.add_argument(name, type=int)
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
