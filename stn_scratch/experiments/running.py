"""Running cells: one after the other, several at once on one machine, or on many by MPI. Each goes on where it was."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext

from stn_scratch.experiments.records import cell_of, read_record, write_record
from stn_scratch.experiments.rows import ROWS
from stn_scratch.experiments.runners import RUNNERS
from stn_scratch.training import parallel
from stn_scratch.training.loop import NotFinite
from stn_scratch.training.run_folder import CHECKPOINT, RECORD, locked

STOPPED = 130  # the status of a command that Ctrl-C or SIGTERM ended
PROGRAM = (sys.executable, "-m", "stn_scratch")
_at_work = set()  # commands of this process that have not ended
_told_to_end = threading.Event()  # they, and those that a thread is just about to begin


def run_cell(cell, place, *, progress):
    """Run a cell to its end, from its checkpoint if it has one. Gives its record; None where another process
    writes it.

    Raises what the run raises, and ValueError if the folder's run was started with other options.
    """
    folder, first = cell.folder(place.runs), parallel.ranks().rank == 0
    with locked(folder) if first else nullcontext():
        if (folder / RECORD).is_file():
            return read_record(folder / RECORD)
        # a run that was stopped before its first checkpoint has a configuration only: it begins again
        begun = (folder / CHECKPOINT).is_file()
        record = RUNNERS[ROWS[cell.row].task](cell, place, begun=begun, progress=progress)
        if first:
            write_record(record, folder)
        return record


def run_in_turn(cells, place, *, progress):
    """One cell after the other, in this process. One that fails is reported, and the next one begins.

    Gives the number of cells that failed. Ctrl-C ends all by `training.loop.Interrupted`.
    """
    failed = 0
    for cell in cells:
        try:
            if record := run_cell(cell, place, progress=progress):
                print(line(record), flush=True)
        except (NotFinite, OSError, RuntimeError, ValueError) as error:
            if parallel.ranks().size > 1:
                raise  # the other processes may still be at work in this cell: they must end, too
            failed += 1
            print(f"{name(cell)}: {error}")
    return failed


def run_at_once(cells, place, executor):
    """The cells as commands of their own, by an executor of concurrent.futures. Gives the number that failed.

    Ctrl-C and SIGTERM end all, and so does a command that one of them ended: each saves what it has and is waited for,
    then KeyboardInterrupt is raised.
    """
    ending = [*place.options(), "--quiet"]
    failed = 0
    with _ended_together(), executor:
        pending = {executor.submit(call, [*cell.arguments(), *ending]): cell for cell in cells}
        try:
            for future in as_completed(pending):
                status, words = future.result()
                if status == STOPPED:
                    raise KeyboardInterrupt
                failed += status != 0
                print(words.strip() or f"{name(pending[future])}: ended with status {status}", flush=True)
        except KeyboardInterrupt:
            executor.shutdown(wait=False, cancel_futures=True)
            # on a terminal Ctrl-C reaches the commands, too, and a SIGTERM after it changes nothing
            _told_to_end.set()
            for command in list(_at_work):
                command.terminate()
            raise
    return failed


@contextmanager
def _ended_together():
    """SIGTERM is Ctrl-C within it, in the main thread, which alone may ask for signals."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        yield
    finally:
        _told_to_end.clear()
        if main:
            signal.signal(signal.SIGTERM, before)


def call(arguments):
    """Run one command of the package in a process of its own, alone even under mpirun -> its status and last words."""
    environment = {name: value for name, value in os.environ.items() if name not in parallel.LAUNCHED}
    with subprocess.Popen([*PROGRAM, *arguments], env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as command:
        _at_work.add(command)
        if _told_to_end.is_set():
            command.terminate()
        try:
            words, _ = command.communicate()
        finally:
            _at_work.discard(command)
    return command.returncode, words


def executor_of(kind, jobs):
    """What runs commands at once: "local", threads of this machine that wait for them, or "mpi", the ranks of a world.

    Raises RuntimeError, one sentence, where mpi4py is missing.
    """
    if kind == "local":
        return ThreadPoolExecutor(jobs)
    try:
        from mpi4py.futures import MPIPoolExecutor  # an optional extra
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(f'--executor mpi needs the extra "mpi", mpi4py and an MPI library: {error}') from None
    return MPIPoolExecutor()


def name(cell):
    return f"{cell.row}, {cell.schedule}, seed {cell.seed}"


def line(record):
    """One record as one line."""
    return (f"{name(cell_of(record))}: test error {record['test_error']:.2f} % after "
            f"{record['config']['iterations']} steps, {record['minutes']:.1f} minutes")
