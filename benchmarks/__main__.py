"""`python -m benchmarks`: speed and memory beside PyTorch's, one table, one JSON file, one figure.

Ours and PyTorch alternate in one run, after both have been checked to compute the same; what counts is the ratio of
their medians, not the milliseconds of a machine that others may share. PyTorch is optional (the extra `bench`).
"""

import argparse
import sys
import time
from concurrent.futures import BrokenExecutor
from functools import partial
from itertools import groupby
from pathlib import Path

from benchmarks import figure, gpu, grids, memory, results, sampler, scaling, step, table
from benchmarks import machine as machines
from benchmarks.kernels import unmeasured
from benchmarks.timing import QUICK, Budget
from stn_scratch.backend import gpu_available
from stn_scratch.training.parallel import cores

PARTS = {"step": step, "sampler": sampler, "grids": grids, "scaling": scaling, "memory": memory, "gpu": gpu}
FAILED, UNFINISHED = 1, 3  # exit statuses
QUIET = 0.5  # load below which a machine is called quiet


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--part", nargs="+", choices=PARTS, default=list(PARTS), help="one or several (default all)")
    add("--out", type=Path, default=Path("build/bench"), help=f"folder for {results.FILE} and {results.FIGURE}")
    add("--resume", action="store_true", help="skip what stands in the file already, measured under the same facts")
    add("--seconds", type=float, default=float("inf"), help="begin nothing that would end later than this")
    add("--threads", type=int, default=cores(), help="of ours and PyTorch (default all cores)")
    add("--quick", action="store_true", help="tiny cases, two samples: is everything in order?")
    return parser


def _threads(name, options):
    """On how many threads a part is measured."""
    return min(options.threads, getattr(PARTS[name], "MOST_THREADS", options.threads))


def run_part(name, machine, data, options, deadline):
    """Measure what is missing of one part, saving after every row. Gives the number of cases failed and left over."""
    facts = machines.facts(machine, quick=options.quick)
    entry, differ = results.begin(data, name, facts, resume=options.resume)
    if differ:
        print(f"{name}: what was measured before had another {', '.join(differ)}: measured again")
    entry["begun"].append(machines.moment())
    print(table.header(name), flush=True)
    done, failed, longest = {row["case"]: row for row in entry["rows"]}, 0, 0
    budget = QUICK if options.quick else Budget()
    for case in PARTS[name].cases(machine, options):
        began = time.monotonic()
        if case.name not in done:
            if began + longest > deadline:
                break
            try:
                done[case.name] = {"case": case.name, **case.facts, **case.measure(budget)}
            except BrokenExecutor:
                raise  # PyTorch's process has died: no later case would find it
            except Exception as error:  # a Disagreement, or one of the many types that CuPy and PyTorch have
                failed += 1
                print(f"{case.name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                continue
            entry["rows"] = list(done.values())
            entry["fits"] = scaling.fits(entry["rows"]) if name == "scaling" else []
            results.save(options.out / results.FILE, data)
        print(table.line(done[case.name]), flush=True)
        longest = max(longest, time.monotonic() - began)
    for text in table.fits(entry["fits"]):
        print(text)
    return failed, sum(1 for case in PARTS[name].cases(machine, options) if case.name not in done) - failed


def run(options):
    """All chosen parts. Gives the exit status."""
    began = time.monotonic()
    data = results.load(options.out / results.FILE)
    load = machines.moment()["load"]
    if load > QUIET:
        print(f"this machine is not quiet (load {load}): do not quote what follows. PyTorch's threads wait for each "
              "other, and lose more by it than ours")
    failed = left = 0
    for device, open_machine in (("cpu", partial(machines.cpu, peers_apart=True)), ("gpu", machines.gpu)):
        chosen = [name for name in PARTS if name in options.part and (name == "gpu") == (device == "gpu")]
        if not chosen:
            continue
        if device == "gpu" and not gpu_available():
            print("\n(f) skipped: no GPU; CuPy is not installed, or it sees no device")
            continue
        if device == "gpu" and unmeasured():
            print(f"\nno case yet for the kernels {', '.join(unmeasured())}")
        for threads, names in groupby(chosen, partial(_threads, options=options)):
            with open_machine(threads) as machine:
                for name in names:
                    counts = run_part(name, machine, data, options, began + options.seconds)
                    failed, left = failed + counts[0], left + counts[1]
    drawn = figure.draw(data, options.out / results.FIGURE)
    if drawn:
        print(f"\n{options.out / results.FILE}, {drawn}; {time.monotonic() - began:.0f} seconds")
    if left:
        print(f"time was up with {left} cases missing: go on with the same command and --resume", file=sys.stderr)
    return FAILED if failed else UNFINISHED if left else 0


def main(arguments=None):
    """Run the command line; gives the exit status: 0, 1 if something failed, 2 for a sentence, 3 if time was up."""
    try:
        return run(_parser().parse_args(arguments))
    except (OSError, ValueError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except BrokenExecutor as error:
        print(f"benchmarks: {error} What was measured is saved, go on with --resume", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: stopped; what was measured is saved, go on with --resume", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
