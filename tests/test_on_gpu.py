"""The script for a GPU, tried out on the CPU with a short list: what it leaves, that it goes on, that it ends."""

import pathlib
import re
import subprocess
import sys
import tarfile
import time
import types
import typing
from importlib.util import find_spec

import pytest

from benchmarks import on_gpu
from stn_scratch.__main__ import _parser
from stn_scratch.experiments.records import Cell

COMMAND = on_gpu.command

TINY = ("--digits", "embedded", "--parameters", "24000", "--batch", "8", "--validate-every", "2", "--threads", "1",
        "--checkpoint-every", "2", "--iterations")


class Fake(typing.NamedTuple):
    """In place of an experiment's cell: a short run on the embedded digits."""

    row: str
    iterations: str
    schedule: str = "tiny"
    seed: int = 0

    def folder(self, runs):
        return runs / self.row


FAKE = [Fake("short", "4"), Fake("endless", "1000000")]


@pytest.fixture(autouse=True)
def fake_command(monkeypatch):
    """An experiment goes on by itself; of `train` that must be said."""
    def command(fake, options):
        folder = fake.folder(options.work / "runs")
        begun = "--resume" if (folder / "checkpoint.npz").is_file() else "--overwrite"
        return [sys.executable, "-m", "stn_scratch", "train", "--model", "cnn", *TINY, fake.iterations, "--device",
                options.device, "--out", str(folder), begun]

    monkeypatch.setattr(on_gpu, "command", command)


def on_gpu_call(tmp_path, seconds, monkeypatch, chosen=FAKE, work="work", mark="not gpu"):
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    return on_gpu.main(["--device", "cpu", "--seconds", str(seconds), "--work", str(tmp_path / work),
                        "--tests", "tests/test_parameters.py", "--mark", mark], chosen)


def test_the_script_does_all_leaves_all_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "PATIENCE", 10)
    assert on_gpu_call(tmp_path, 300, monkeypatch, FAKE[:1]) == 0
    said = capsys.readouterr().out
    assert re.search(r"(?m)^tests +passed$", said) and re.search(r"(?m)^tests-without-kernels +passed$", said)
    assert re.search(r"(?m)^benchmark +complete$", said)
    assert re.search(r"(?m)^short, tiny, seed 0 +test error", said)
    out = tmp_path / "out"
    # without PyTorch there is no ratio, and so no figure
    figure = {"results.png"} if find_spec("torch") else set()
    assert {p.name for p in out.iterdir()} == {"tests.json", "tests.log", "tests-without-kernels.json", "results.json",
                                               "tests-without-kernels.log", "runs.tar"} | figure
    with tarfile.open(out / "runs.tar") as archive:
        names = archive.getnames()
    assert "runs/short/metrics.jsonl" in names and "runs/short/checkpoint.npz" not in names
    assert not any(name.endswith(".png") for name in names)
    # what one call left is enough for the next, on a machine that has nothing else
    out.rename(tmp_path / "carried")
    assert on_gpu_call(tmp_path, 300, monkeypatch, FAKE[:1], work="carried") == 0
    said = capsys.readouterr().out
    assert "passed before" in said and "done before" in said
    assert (tmp_path / "out" / "runs.tar").is_file()


class StoppedOnceItTrains(subprocess.Popen):
    """A process whose time is up when its run has logged a step beyond the last one of the run's folder."""

    def __init__(self, command, **options):
        self.folder = pathlib.Path(command[command.index("--out") + 1])
        self.before = self.steps()
        super().__init__(command, **options)

    def steps(self):
        return max((record["step"] for record in on_gpu.read_metrics(self.folder)), default=0)

    def wait(self, timeout=None):
        if timeout == 1000:
            while self.poll() is None and self.steps() <= self.before:
                time.sleep(0.1)
            raise subprocess.TimeoutExpired(self.args, timeout)
        return super().wait(timeout)


def test_a_long_run_is_stopped_saved_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu.subprocess, "Popen", StoppedOnceItTrains)
    run = types.SimpleNamespace(work=tmp_path, device="cpu")
    assert on_gpu.train(FAKE[1], run, 1000) == "stopped, saved"
    first = on_gpu.read_metrics(tmp_path / "runs" / "endless")
    on_gpu.hand_over(tmp_path, tmp_path / "out", checkpoints=False)
    on_gpu.take_over(tmp_path / "out")  # as on another machine
    run.work = tmp_path / "out"
    assert on_gpu.train(FAKE[1], run, 1000) == "stopped, saved"
    again = on_gpu.read_metrics(tmp_path / "out" / "runs" / "endless")
    assert again[-1]["step"] > first[-1]["step"] and again[:len(first)] == first


def test_without_time_the_script_begins_nothing(tmp_path, monkeypatch, capsys):
    assert on_gpu_call(tmp_path, 5, monkeypatch) == 3
    assert capsys.readouterr().out.count("not begun") == 5 and not (tmp_path / "work" / "runs").exists()


@pytest.mark.parametrize("status, word", [(0, "passed"), (1, "FAILED, see tests.log"), (5, "there are none")])
def test_how_the_tests_went(status, word, tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu, "call", lambda *arguments: status)
    options = types.SimpleNamespace(work=tmp_path, mark="gpu", tests=[])
    assert on_gpu.tests("tests", options, 60) == word
    assert on_gpu.tests("tests", options, 60) == ("passed before" if status == 0 else word)


def test_what_the_tests_are_told(tmp_path, monkeypatch):
    """The second pass is without the kernels, and so without their tests; none takes the time of all."""
    asked = []
    monkeypatch.setattr(on_gpu, "call", lambda *arguments: asked.append(arguments))
    options = types.SimpleNamespace(work=tmp_path, mark="gpu", tests=[])
    for name in on_gpu.PASSES:
        assert on_gpu.tests(name, options, 500) == "stopped"
    (with_kernels, *first), (without, *second) = asked
    assert first == [on_gpu.MOST_OF_TESTS, tmp_path / "tests.log", {}]
    assert second[1:] == [tmp_path / "tests-without-kernels.log", {"STN_FUSED": "0"}]
    assert "--ignore=tests/test_lessons.py" in with_kernels and "--ignore=tests/test_cuda_launch.py" not in with_kernels
    assert "--ignore=tests/test_cuda_launch.py" in without


def test_no_experiment_is_begun_after_one_that_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_gpu, "tests", lambda *arguments: "passed")
    monkeypatch.setattr(on_gpu, "benchmark", lambda *arguments: "FAILED")
    monkeypatch.setattr(on_gpu, "train", lambda cell, *rest: "FAILED" if cell.row == "b" else "test error 1.00 %")
    assert on_gpu_call(tmp_path, 300, monkeypatch, [Fake(name, "4") for name in "abcd"]) == 1
    assert [line.split("  ")[-1].strip() for line in capsys.readouterr().out.splitlines()[1:-1]] == [
        "passed", "passed", "FAILED", "test error 1.00 %", "FAILED", "not begun", "not begun"]


def test_every_experiment_is_a_command(tmp_path):
    """The whole table for one seed comes before the next; what the command line would run is what is listed."""
    assert len(set(on_gpu.EXPERIMENTS)) == len(on_gpu.EXPERIMENTS) == 3 * 36
    assert [cell.seed for cell in on_gpu.EXPERIMENTS] == [0] * 36 + [1] * 36 + [2] * 36
    options = types.SimpleNamespace(work=tmp_path, device="gpu")
    for cell in on_gpu.EXPERIMENTS:
        given = _parser().parse_args(COMMAND(cell, options)[3:])
        assert [Cell(given.run[0], given.schedule, given.seed[0])] == [cell]
        assert given.device == "gpu" and given.runs == tmp_path / "runs"
