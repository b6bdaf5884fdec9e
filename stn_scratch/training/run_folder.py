"""The folder of a run: what stands in it, and who may work in it."""

import json
import os
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: there are no locks
    fcntl = None

from stn_scratch.training.files import naming, replacing

CONFIG, METRICS, CHECKPOINT, RECORD = "config.json", "metrics.jsonl", "checkpoint.npz", "record.json"
PICTURES = ("curves.png", "grids.png", "looks.png", "localised.png")
_ours = set()  # the folders that this process holds


@contextmanager
def locked(folder):
    """Only one process at a time works in a folder, which is made if need be. The lock ends with the process.

    Within another `locked` of the same folder it adds nothing; on a file system without locks there is none. Raises
    RuntimeError, one sentence, if another process holds it, and OSError if the folder cannot be made.
    """
    folder = Path(folder)
    _make(folder)
    if fcntl is None or folder.resolve() in _ours:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        _lock(held, folder)
        _ours.add(folder.resolve())
        yield
    finally:
        _ours.discard(folder.resolve())
        os.close(held)


def _lock(held, folder):
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(f"another process is at work in {folder}") from None
    except OSError:
        pass  # this file system has no locks


def _make(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from None


def _cannot_write(folder, error):
    return OSError(f"cannot write into the run folder {folder}: {error.strerror or error}")


def check_free(folder, *, otherwise):
    """Raise ValueError, one sentence, if a run stands in the folder already; otherwise: how to name another folder."""
    if (folder / CONFIG).exists():
        raise ValueError(f"{folder} holds a run already: go on with it by --resume, replace it by --overwrite, or "
                         f"{otherwise}")


def open_folder(folder, done, *, end):
    """Make the folder ready for a run that has `done` so many steps already.

    Of an older run it keeps what was logged up to there, but for records with a key `end`, which will come again. Where
    nothing is done, nothing of an older run stays. Raises OSError, one sentence.
    """
    kept = [record for record in (read_metrics(folder) if done else []) if record["step"] <= done and end not in record]
    _make(folder)
    try:
        # what a process that was killed had begun to write
        begun = [path.name for path in folder.glob(f"{CHECKPOINT}.*.part")]
        for name in (RECORD, *begun, *(() if done else (CHECKPOINT, *PICTURES))):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from None
    with replacing(folder / METRICS) as file:
        file.writelines(json.dumps(record).encode() + b"\n" for record in kept)


def read_metrics(folder):
    """The records of a run folder's metrics.jsonl, in their order; none if there is no such file.

    A last line that was cut short, as by a full disk, is left out. Raises ValueError for any other damage.
    """
    path = Path(folder) / METRICS
    lines = path.read_text().splitlines() if path.is_file() else []
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise ValueError(f"{path} is damaged in line {number}") from None
    return records


def log(run, record):
    """Add one line to metrics.jsonl. Raises OSError, one sentence, where that fails, as on a full disk."""
    path = run.folder / METRICS
    with naming(path), open(path, "a") as file:
        file.write(json.dumps(record) + "\n")


def last_checkpoint(folder):
    """Where a run that cannot go on may go on from, in words."""
    checkpoint = folder / CHECKPOINT
    return f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "there is no checkpoint yet"


def save_picture(figure, path):
    """Write a matplotlib figure, whole or not at all; gives its path."""
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
    return path
