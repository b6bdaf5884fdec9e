"""What is known of a run that has ended: one small JSON record, in the run's folder and among the committed ones."""

import json
import shlex
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from stn_scratch.experiments.rows import ROWS
from stn_scratch.experiments.schedules import SCHEDULES
from stn_scratch.training.config import versions
from stn_scratch.training.files import copy_whole, replacing
from stn_scratch.training.run_folder import CONFIG, RECORD

COMMAND = ("python", "-m", "stn_scratch")
RUNS, RECORDS = Path("runs/experiments"), Path("results")
OF_THIS_MACHINE = ("data_dir", "encoder")  # paths


class Cell(NamedTuple):
    """One run: a row, trained by a schedule from a seed."""

    row: str
    schedule: str
    seed: int

    def folder(self, runs):
        return Path(runs) / self.schedule / self.row / str(self.seed)

    def kept(self, records):
        """Where its record stands among the committed ones."""
        return Path(records) / self.schedule / f"{self.row.replace('/', '-')}-{self.seed}.json"

    def arguments(self):
        """Of the command line that runs it."""
        return ["experiments", "--run", self.row, "--schedule", self.schedule, "--seed", str(self.seed)]

    def command(self, options=()):
        return shlex.join([*COMMAND, *self.arguments(), *options])


def record_of(cell, folder, config, **found):
    """The record of a run that has just ended; found: what it found, and how."""
    facts = json.loads((folder / CONFIG).read_text())
    digits = {"digits": facts["digits"].split(" from ")[0]} if "digits" in facts else {}
    settings = {name: value for name, value in asdict(config).items() if name not in OF_THIS_MACHINE}
    return {**cell._asdict(), **found, **digits, "parameters": facts["parameters"], "device": device(config),
            "command": cell.command(), "config": settings, "versions": versions(), "commit": commit(),
            "date": datetime.now(UTC).date().isoformat()}


def write_record(record, folder):
    with replacing(folder / RECORD) as file:
        file.write(json.dumps(record, indent=1).encode() + b"\n")


def device(config):
    threads = getattr(config, "threads", 1) or "all"
    return "GPU" if config.device == "gpu" else f"CPU, {threads} thread{'s' if threads != 1 else ''}"


def commit():
    """The commit that ran, with a + where the tree had changed since; "unknown" outside a repository."""
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True,
                              check=True).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def collect(runs, records):
    """All records by cell, kept or in run folders; where there are both, that of the run folder."""
    paths = [*sorted(Path(records).glob("*/*.json")), *sorted(Path(runs).glob(f"**/{RECORD}"))]
    found = [read_record(path) for path in paths]
    return {cell_of(record): record for record in found
            if record["row"] in ROWS and record["schedule"] in SCHEDULES}


def keep(runs, records):
    """Copy the records of all run folders to those that are kept."""
    for path in sorted(Path(runs).glob(f"**/{RECORD}")):
        target = cell_of(read_record(path)).kept(records)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != path.read_bytes():
            copy_whole(path, target)


def cell_of(record):
    return Cell(record["row"], record["schedule"], record["seed"])


def read_record(path):
    """Raises ValueError, one sentence, for a file that is no record."""
    try:
        record = json.loads(path.read_text())
        cell_of(record), float(record["test_error"])
        return record
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged, or no record of an experiment") from None
