"""Experiments small enough for a test, and records of none."""

from small_runs import find_few

from stn_scratch.experiments import running, schedules
from stn_scratch.experiments.records import Cell

TINY = schedules.Schedule("tiny", {"iterations": 6, "batch": 16, "parameters": 24_000, "checkpoint_every": 2,
                              "validate_every": 3, "log_every": 1, "shard": 8})
CELL = Cell("r/st-cnn-affine", "first", 3)


def make_small(monkeypatch):
    """Few digits, few steps."""
    find_few(monkeypatch)
    monkeypatch.setitem(schedules.SCHEDULES, "first", TINY)


def run(cell, place):
    return running.run_cell(cell, place, progress=False)


def options(tmp_path, *words):
    return ["experiments", *words, "--runs", str(tmp_path / "runs"), "--records", str(tmp_path / "records")]


def record(name, seed, error, schedule="first"):
    return {"row": name, "schedule": schedule, "seed": seed, "test_error": error, "test_images": 10_000,
            "parameters": 100_000 + seed,
            "minutes": 4.0 + seed, "device": "CPU, 1 thread", "commit": "abc1234",
            "config": {"iterations": 1500, "batch": 256}}
