"""The command `experiments`: list them, run them, and write what they found."""

import argparse
from pathlib import Path

from stn_scratch.experiments import figures, running
from stn_scratch.experiments.records import RECORDS, RUNS, Cell, collect, keep, read_record
from stn_scratch.experiments.rows import ROWS, chosen
from stn_scratch.experiments.runners import FOLDERS, Place, encoder_of
from stn_scratch.experiments.schedules import SCHEDULES
from stn_scratch.experiments.table import write_results
from stn_scratch.models import build_model
from stn_scratch.training import parallel
from stn_scratch.training.checkpoint import load_checkpoint
from stn_scratch.training.config import load_config
from stn_scratch.training.run_folder import CHECKPOINT, CONFIG, RECORD, read_metrics
from stn_scratch.validate import check_whole
from stn_scratch.weights import FOLDER, save_weights

FIGURES = Path("docs/results")


def add_options(parser):
    """The options of `python -m stn_scratch experiments`."""
    what = parser.add_mutually_exclusive_group().add_argument
    what("--list", action="store_true", help="every experiment, and how far it is; the default")
    what("--run", nargs="+", metavar="NAME", help="run these, or go on with them; patterns such as 'rts/*' will do")
    what("--missing", action="store_true", help="run all that have no result yet")
    what("--table", action="store_true", help="write RESULTS.md from the records of the runs")
    what("--figure", action="store_true", help="draw the errors, and digits that only the ST-CNN gets right")
    what("--weights", metavar="NAME", help="put the network of this one among those that come with the package")
    add = parser.add_argument
    add("--schedule", choices=SCHEDULES, default="first", help="how long, see below (default first)")
    add("--seed", nargs="+", type=int, default=[0], help="one or several (default 0)")
    add("--commands", action="store_true", help="with --list: what is missing, one command a line, for a batch system")
    add("--jobs", type=int, default=1, metavar="N", help="with --run, --missing: N at once (default 1)")
    add("--executor", choices=("local", "mpi"), default="local",
        help="mpi: one on each rank of `mpirun -n N python -m mpi4py.futures -m stn_scratch experiments ...`")
    add("--runs", type=Path, default=RUNS, help=f"the folder of the run folders (default {RUNS})")
    add("--records", type=Path, default=RECORDS, help=f"the folder of the records that are kept (default {RECORDS})")
    add("--results", type=Path, default=Path("RESULTS.md"), help="what --table writes (default RESULTS.md)")
    add("--data-dir", help="a folder with MNIST's four .gz files (or the environment variable STN_DATA), or with a "
        "folder mnist that has them, and others beside it: " + ", ".join(sorted(set(FOLDERS.values()))))
    add("--device", choices=("cpu", "gpu"), default="cpu")
    add("--threads", type=int, help="that work on one step (default one for each core)")
    add("--quiet", action="store_true", help=argparse.SUPPRESS)


def epilog():
    return "\n".join(["schedules:", *(f"  {name:7} {schedule.description}" for name, schedule in SCHEDULES.items())])


def experiments(**given):
    """Run the command; gives the exit status."""
    options = argparse.Namespace(**given)
    rows = [row for row in (chosen(options.run) if options.run else ROWS.values()) if row.goes_by(options.schedule)]
    for pattern in options.run or ():
        if not any(row in rows for row in chosen([pattern])):
            raise ValueError(f"schedule must be 'first' for {pattern}, not {options.schedule!r}")
    cells = [Cell(row.name, options.schedule, seed) for seed in options.seed for row in rows]
    place = Place(options.runs, options.data_dir, options.device, options.threads)
    if options.list or not any((options.run, options.missing, options.table, options.figure, options.weights)):
        return _list(cells, place, options)
    if options.run or options.missing:
        return _run(cells, place, options)
    if options.weights:
        named = chosen([options.weights])
        if len(named) > 1 or len(options.seed) > 1:
            raise ValueError(f"weights must name one run, not {len(named) * len(options.seed)}")
        return _ship(Cell(named[0].name, options.schedule, options.seed[0]), options)
    if options.table:
        keep(options.runs, options.records)
    found = collect(options.runs, options.records)
    if not found:
        raise ValueError(f"there is no record of an experiment, in {options.runs} or {options.records}")
    if options.table:
        write_results(found, options.results, options.records, FIGURES)
        print(f"{options.results}: {len(found)} runs")
    else:
        print("pictures:", ", ".join(map(str, figures.draw(found, place, options.seed[0], FIGURES))))
    return 0


def _run(cells, place, options):
    check_whole("jobs", options.jobs)
    if options.jobs > 1 and options.executor == "local" and parallel.ranks().size > 1:
        raise ValueError("jobs must be 1 under mpirun, whose processes train each network together, or --executor mpi")
    if not options.run:
        cells = [cell for cell in cells if not _finished(cell, options)]
        if not cells:
            print(f"nothing is missing by the schedule {options.schedule}, seed {' '.join(map(str, options.seed))}")
    failed = 0
    for stage in _stages(cells, place):
        if options.jobs == 1 and options.executor == "local":
            failed += running.run_in_turn(stage, place, progress=not options.quiet)
        else:
            failed += running.run_at_once(stage, place, running.executor_of(options.executor, options.jobs))
    return 2 if failed else 0


def _stages(cells, place):
    """First the cells whose trained networks others need and do not find here, chosen or not; then the other ones."""
    needed = dict.fromkeys(encoder for encoder in map(encoder_of, cells) if encoder)
    needed = [cell for cell in needed if not (cell.folder(place.runs) / RECORD).is_file()]
    return [stage for stage in (needed, [cell for cell in cells if cell not in needed]) if stage]


def _ship(cell, options):
    """The parameters of a cell that has ended, into the package's folder of weights."""
    folder = cell.folder(options.runs)
    config = load_config(folder / CONFIG)
    network, params = build_model(**config.network())
    load_checkpoint(folder / CHECKPOINT, params)
    path = FOLDER / f"{cell.row.replace('/', '-')}.npz"
    save_weights(path, config, params, read_record(folder / RECORD))
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


def _finished(cell, options):
    return any(path.is_file() for path in (cell.kept(options.records), cell.folder(options.runs) / RECORD))


def _list(cells, place, options):
    records = collect(options.runs, options.records)
    width = max(map(len, ROWS))
    for cell in cells:
        if not options.commands:
            print(f"{cell.row:<{width}}  seed {cell.seed}  {_state(cell, records.get(cell), options.runs)}")
        elif cell not in records:
            print(cell.command(place.options()))
    return 0


def _state(cell, record, runs):
    if record:
        return f"{record['test_error']:.2f} %"
    steps = [entry["step"] for entry in read_metrics(cell.folder(runs))]
    return f"stopped after step {steps[-1]:,}" if steps else "not begun"
