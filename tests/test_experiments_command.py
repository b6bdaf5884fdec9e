"""The command `experiments`: several cells, in turn and at once, the list, the page."""

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_experiments import make_small, options, record
from small_runs import at_step, ctrl_c

from stn_scratch.__main__ import main
from stn_scratch.experiments import command, rows, running, table
from stn_scratch.experiments.records import Cell, collect, read_record
from stn_scratch.experiments.runners import Place
from stn_scratch.training import parallel

PLACE = Place("runs", threads=1)


def parser():
    made = argparse.ArgumentParser()
    command.add_options(made)
    return made


# Several at once


def test_commands_are_run_at_once_and_failures_counted(capsys, monkeypatch):
    called = []

    def call(arguments):
        called.append(arguments)
        return {"r/fcn": (0, "r/fcn: fine\n"), "r/cnn": (2, "a sentence\n")}.get(arguments[2], (1, ""))

    monkeypatch.setattr(running, "call", call)
    cells = [Cell(name, "first", 0) for name in ("r/fcn", "r/cnn", "rts/fcn")]
    assert running.run_at_once(cells, PLACE, ThreadPoolExecutor(2)) == 2
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "a sentence", "r/fcn: fine", "rts/fcn, first, seed 0: ended with status 1"]
    assert called[0] == ["experiments", "--run", "r/fcn", "--schedule", "first", "--seed", "0", "--runs",
                         PLACE.runs, "--threads", "1", "--quiet"]


def test_ctrl_c_of_one_command_ends_all(capsys, monkeypatch):
    """It reached them all: none that has not begun is begun."""
    called = []

    def call(arguments):
        called.append(arguments[2])
        if len(called) > 2:
            time.sleep(0.1)
        return (130, "stopped after step 3 of 6\n") if len(called) == 2 else (0, "fine\n")

    monkeypatch.setattr(running, "call", call)
    cells = [Cell("r/fcn", "first", seed) for seed in range(50)]
    with pytest.raises(KeyboardInterrupt):
        running.run_at_once(cells, PLACE, ThreadPoolExecutor(1))
    assert len(called) < 50 and capsys.readouterr().out == "fine\n"


@pytest.mark.parametrize("parent", [True, False])
def test_sigterm_ends_all(tmp_path, monkeypatch, parent):
    """That of the parent and that of a command: every command is told to end, and waited for."""
    wait = ("import os, pathlib, signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[3] + '.ended').touch(), os._exit(130)))\n"
            "pathlib.Path(sys.argv[3]).write_text(str(os.getpid())); time.sleep(100)")
    monkeypatch.setattr(running, "PROGRAM", (sys.executable, "-c", wait))
    begun = [tmp_path / str(seed) for seed in (0, 1)]
    monkeypatch.setattr(Cell, "arguments", lambda cell: ["", "", str(tmp_path / str(cell.seed))])

    def end():
        while not all(path.exists() and path.read_text() for path in begun):
            time.sleep(0.01)
        os.kill(os.getpid() if parent else int(begun[0].read_text()), signal.SIGTERM)

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(KeyboardInterrupt):
        running.run_at_once([Cell("r/fcn", "first", seed) for seed in range(9)], PLACE, ThreadPoolExecutor(2))
    ender.join()
    left = {path.name for path in tmp_path.iterdir()}
    # in the place of one that ended by itself another may have begun
    assert {"0", "0.ended", "1", "1.ended"} <= left <= {"0", "0.ended", "1", "1.ended", "2", "2.ended"}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and not running._at_work


def test_several_at_once_are_no_work_for_ranks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.parallel, "ranks", lambda: SimpleNamespace(size=2, rank=0))
    with pytest.raises(ValueError, match="^jobs must be 1 under mpirun"):
        command.experiments(**vars(parser().parse_args(options(tmp_path, "--missing", "--jobs", "2")[1:])))


def test_a_command_runs_alone_under_mpirun(monkeypatch):
    """The launcher's variables would make it one of several processes that train one network together."""
    for name in parallel.LAUNCHED:
        monkeypatch.setenv(name, "2")
    status, words = running.call(["info"])
    assert status == 0 and words.startswith("python ")


def test_without_mpi4py(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mpi4py.futures", None)
    with pytest.raises(RuntimeError, match=r'^--executor mpi needs the extra "mpi"'):
        running.executor_of("mpi", 1)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_what_others_need_is_run_first(tmp_path, monkeypatch, jobs):
    """Asked for or not; also where its record is kept, but not its network."""
    ran = []

    def at_once(cells, place, executor):
        ran.append([(cell.row, cell.seed) for cell in cells])
        executor.shutdown()
        return 0

    monkeypatch.setattr(running, "run_at_once", at_once)
    monkeypatch.setattr(running, "run_in_turn",
                        lambda cells, place, progress: at_once(cells, place, ThreadPoolExecutor(1)))
    names = ["localise/t-0", "localise/tc-9", "none/cnn", "r/cnn"]
    monkeypatch.setattr(command, "ROWS", {name: rows.ROWS[name] for name in names})
    kept = Cell("none/cnn", "first", 1).kept(tmp_path / "records")
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    trained = Cell("none/cnn", "first", 2).folder(tmp_path / "runs") / "record.json"
    trained.parent.mkdir(parents=True)
    trained.write_text("{}")
    assert main(options(tmp_path, "--run", "localise/t-0", "localise/tc-9", "--jobs", jobs)) == 0
    assert main(options(tmp_path, "--missing", "--seed", "1", "--jobs", jobs)) == 0
    assert main(options(tmp_path, "--missing", "--seed", "2", "--jobs", jobs)) == 0
    assert ran == [[("none/cnn", 0)], [("localise/t-0", 0), ("localise/tc-9", 0)],
                   [("none/cnn", 1)], [("localise/t-0", 1), ("localise/tc-9", 1), ("r/cnn", 1)],
                   [("localise/t-0", 2), ("localise/tc-9", 2), ("r/cnn", 2)]]


# The command line, the list, the page


def test_run_list_and_missing(tmp_path, capsys, monkeypatch):
    make_small(monkeypatch)
    names = ("r/cnn", "rts/cnn")
    monkeypatch.setattr(command, "ROWS", {name: rows.ROWS[name] for name in names})
    assert main(options(tmp_path, "--run", "r/cnn", "--threads", "1", "--quiet")) == 0
    error = read_record(Cell("r/cnn", "first", 0).folder(tmp_path / "runs") / "record.json")["test_error"]
    assert capsys.readouterr().out.startswith(f"r/cnn, first, seed 0: test error {error:.2f} % after 6 steps, ")
    for asked in (["--list"], []):
        assert main(options(tmp_path, *asked)) == 0
        assert capsys.readouterr().out.splitlines() == [f"r/cnn    seed 0  {error:.2f} %",
                                                        "rts/cnn  seed 0  not begun"]
    assert main(options(tmp_path, "--list", "--commands", "--seed", "0", "1")) == 0
    assert [line.split()[5:10] for line in capsys.readouterr().out.splitlines()] == [
        [name, "--schedule", "first", "--seed", seed] for name, seed in (("rts/cnn", "0"), ("r/cnn", "1"),
                                                                         ("rts/cnn", "1"))]
    assert main(options(tmp_path, "--missing", "--threads", "1", "--quiet")) == 0
    assert capsys.readouterr().out.startswith("rts/cnn, first, seed 0: ")
    assert main(options(tmp_path, "--missing")) == 0
    assert capsys.readouterr().out == "nothing is missing by the schedule first, seed 0\n"
    with monkeypatch.context() as patch:
        at_step(patch, 3, ctrl_c)
        assert main(options(tmp_path, "--run", "r/cnn", "--seed", "1", "--threads", "1", "--quiet")) == 130
    assert capsys.readouterr().err.endswith("Go on with the same command.\n")
    assert main(options(tmp_path, "--list", "--seed", "1")) == 0
    assert capsys.readouterr().out.splitlines() == ["r/cnn    seed 1  stopped after step 3",
                                                    "rts/cnn  seed 1  not begun"]


def test_listed_commands_hold_what_they_were_given(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "ROWS", {"r/cnn": rows.ROWS["r/cnn"]})
    given = ["--data-dir", "some digits", "--device", "gpu", "--threads", "2"]  # where there is no GPU, too
    assert main(options(tmp_path, "--list", "--commands", *given)) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:5] == ["python", "-m", "stn_scratch", "experiments", "--run"]
    assert words[10:] == ["--runs", str(tmp_path / "runs"), *given]


def test_no_jobs(tmp_path, capsys):
    assert main(options(tmp_path, "--run", "r/fcn", "--jobs", "0")) == 2
    assert capsys.readouterr().err == "stn_scratch: jobs must be a positive whole number, not 0\n"


def test_a_schedule_that_a_row_has_not(tmp_path, capsys):
    assert main(options(tmp_path, "--run", "r/cnn", "localise/t-*", "--schedule", "longer")) == 2
    assert capsys.readouterr().err == "stn_scratch: schedule must be 'first' for localise/t-*, not 'longer'\n"
    assert main(options(tmp_path, "--list", "--schedule", "longer")) == 0
    listed = capsys.readouterr().out
    assert "none/cnn" in listed and "localise" not in listed


def test_a_name_that_is_none(tmp_path, capsys):
    assert main(options(tmp_path, "--run", "r/fnc")) == 2
    assert capsys.readouterr().err.startswith("stn_scratch: there is no experiment 'r/fnc'")


def test_the_page(tmp_path, monkeypatch):
    found = {Cell(r["row"], r["schedule"], r["seed"]): r for r in (
        record("r/cnn", 0, 1.0), record("r/cnn", 2, 2.0), record("r/cnn", 1, 4.5), record("rts/cnn", 0, 3.0),
        record("rts/cnn", 0, 0.875, "better"), record("rts/fcn", 0, 9.0), record("r/st-cnn-tps", 0, 0.25),
        record("tc/fcn", 0, 20.0))}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "errors.png").touch()
    table.write_results(found, tmp_path / "R.md", "results", Path("docs"))
    text = (tmp_path / "R.md").read_text()
    # the mean over seeds and their range; a longer schedule has a line of its own
    assert "| error, % (the paper's), `first` | R | RTS |\n|---|---|---|\n| fcn |  | 9.00 (5.2) |\n" \
           "| cnn | 2.50 [1.00, 4.50] (1.2) | 3.00 (0.8) |\n| cnn, `better` |  | 0.88 (0.8) |\n" \
           "| st-cnn tps | 0.25 (0.7) |  |\n" in text
    assert "| 1.2 | 2.50 [1.00, 4.50] | 0, 1, 2 | 10,000 | 1,500 x 256 | 100,000, 100,001, 100,002 | 5.0 " \
           "| CPU, 1 thread | abc1234 | `--run r/cnn --schedule first --seed 0 1 2` |\n" in text
    assert "| error, % (the paper's), `first` | TC |\n|---|---|\n| fcn | 20.00 (13.2) |\n" in text
    assert "](docs/errors.png)\n" in text and "digits.png" not in text
    assert "- `better`:" in text and "- `paper`:" not in text


def test_a_record_of_another_version_is_left_out(tmp_path):
    """Of a row or a schedule that is not known here."""
    for k, (name, schedule) in enumerate((("r/cnn", "first"), ("r/cnn", "forever"), ("r/dnn", "first"))):
        (tmp_path / str(k)).mkdir()
        (tmp_path / str(k) / "record.json").write_text(json.dumps(record(name, 0, 1.0, schedule)))
    assert list(collect(tmp_path, tmp_path / "none")) == [Cell("r/cnn", "first", 0)]


def test_no_record_at_all(tmp_path, capsys):
    assert main(options(tmp_path, "--table")) == 2
    assert capsys.readouterr().err.startswith("stn_scratch: there is no record of an experiment, in ")
