"""Experiments: the rows, one cell from start to record, what interrupts it, several at once, the list, the page."""

import json
import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_runs import at_step, ctrl_c, few_digits

from stn_scratch.__main__ import main
from stn_scratch.data import tasks
from stn_scratch.experiments import command, records, rows, runners, running, schedules, table
from stn_scratch.experiments.records import Cell, collect, keep, read_record
from stn_scratch.experiments.runners import Place, config_of, minutes
from stn_scratch.training import loop, parallel
from stn_scratch.training.checkpoint import load_checkpoint

TINY = schedules.Schedule("tiny", {"iterations": 6, "batch": 16, "parameters": 24_000, "checkpoint_every": 2,
                              "validate_every": 3, "log_every": 1, "shard": 8})
CELL = Cell("r/st-cnn-affine", "first", 3)


@pytest.fixture
def small(monkeypatch):
    """Few digits, few steps."""
    few = few_digits()
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: few)
    monkeypatch.setitem(schedules.SCHEDULES, "first", TINY)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "runs", threads=1)


def run(cell, place):
    return running.run_cell(cell, place, progress=False)


# The rows


def test_the_cells_of_the_papers_table():
    """32 cells and TC, with the errors of Table 1 and of the text."""
    paper = {name: row.paper for name, row in rows.ROWS.items() if row.table in ("distorted", "clutter")}
    assert len(paper) == 36
    for name, error in {"r/fcn": 2.1, "rts/cnn": 0.8, "p/st-fcn-projective": 1.4, "e/st-fcn-tps": 2.4,
                        "r/st-cnn-affine": 0.7, "rts/st-cnn-projective": 0.6, "e/st-cnn-tps": 1.1, "tc/cnn": 3.5,
                        "tc/st-cnn-affine": 1.7}.items():
        assert paper[name] == error


@pytest.mark.parametrize("schedule", schedules.SCHEDULES)
def test_every_row_is_a_configuration(schedule):
    for name, row in rows.ROWS.items():
        assert row.table in rows.TABLES and row.task in runners.RUNNERS
        if row.task == "classify":
            config = config_of(Cell(name, schedule, 5), Place("runs", threads=1))
            assert (config.model, config.data, config.seed) == (row.options["model"], row.options["data"], 5)
            assert config.digits == "mnist"


def test_patterns_choose_rows_in_their_order():
    assert [row.name for row in rows.chosen(["tc/*", "r/c*"])] == [
        "r/cnn", "tc/fcn", "tc/cnn", "tc/st-fcn-affine", "tc/st-cnn-affine"]
    with pytest.raises(ValueError, match=re.escape("there is no experiment 'tc/none'; `experiments --list` names")):
        rows.chosen(["tc/cnn", "tc/none"])


# One cell


def test_a_cell_leaves_its_record(small, place):
    record = run(CELL, place)
    folder = CELL.folder(place.runs)
    assert record == read_record(folder / "record.json")
    assert (record["row"], record["schedule"], record["seed"]) == CELL
    last = loop.read_metrics(folder)[-1]
    assert record["test_error"] == last["test_error"] and record["test_images"] == 60
    assert record["config"]["iterations"] == 6 and "data_dir" not in record["config"]
    assert record["device"] == "CPU, 1 thread" and record["versions"]["numpy"] == np.__version__
    assert record["command"] == "python -m stn_scratch experiments --run r/st-cnn-affine --schedule first --seed 3"


def test_a_cell_that_has_ended_is_not_run_again(small, place, monkeypatch):
    record = run(CELL, place)
    monkeypatch.setattr(loop, "start", None)
    assert run(CELL, place) == record


def test_a_stopped_cell_goes_on(small, place, monkeypatch, tmp_path):
    """Stopped after step 3, it ends with the parameters, and the error, of one that never stopped."""
    with monkeypatch.context() as patch:
        at_step(patch, 3, ctrl_c)
        with pytest.raises(loop.Interrupted):
            run(CELL, place)
    assert not (CELL.folder(place.runs) / "record.json").exists()
    record, whole = run(CELL, place), run(CELL, place._replace(runs=tmp_path / "whole"))
    assert record["test_error"] == whole["test_error"]
    ends = []
    for runs in (place.runs, tmp_path / "whole"):
        prepared, _ = loop.prepare(config_of(CELL, place), runs)
        load_checkpoint(CELL.folder(runs) / "checkpoint.npz", prepared.params)
        ends.append(prepared.params.flat)
    np.testing.assert_array_equal(*ends)


def test_other_options_do_not_go_on(small, place, monkeypatch):
    with monkeypatch.context() as patch:
        at_step(patch, 3, ctrl_c)
        with pytest.raises(loop.Interrupted):
            run(CELL, place)
    monkeypatch.setitem(schedules.SCHEDULES, "first", TINY._replace(options=TINY.options | {"lr": 0.3}))
    with pytest.raises(ValueError, match=r"^lr must stay 0\.05, as the run was started, not 0\.3$"):
        run(CELL, place)


def test_a_second_process_in_a_folder_stops(small, place):
    with running.locked(CELL.folder(place.runs)):
        with pytest.raises(RuntimeError, match=r"^another process is at work in .*r/st-cnn-affine/3$"):
            run(CELL, place)
        run(CELL._replace(seed=4), place)  # another folder is free
    run(CELL, place)


def test_a_full_disk_leaves_the_last_good_record(small, place, monkeypatch):
    record = run(CELL, place)
    path = CELL.folder(place.runs) / "record.json"
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", lambda *_, **__: "x" * 10)
        patch.setattr(records.replacing.__wrapped__.__globals__["os"], "replace", _no_space)
        with pytest.raises(OSError, match=r"^cannot write .*record\.json: No space left on device$"):
            records.write_record(record, path.parent)
    assert read_record(path) == record and [p.name for p in path.parent.glob("*.part")] == []


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_minutes_add_up_over_interruptions():
    metrics = [{"step": 10, "images_per_s": 5.0}, {"step": 10, "validation_error": 1.0},
               {"step": 30, "images_per_s": 20.0}]
    assert minutes(metrics, 4) == pytest.approx((10 * 4 / 5 + 20 * 4 / 20) / 60, rel=1e-12)


def test_colocalisation_needs_its_encoder(small, place):
    with pytest.raises(ValueError, match="^localise/tc-3 compares windows by the network of none/cnn, which has not"):
        run(Cell("localise/tc-3", "first", 0), place)


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


def test_a_colocalisation_is_no_work_for_ranks(small, place, monkeypatch):
    """Under mpirun an error ends the command: the other processes may be at work in the same cell."""
    monkeypatch.setattr(runners.parallel, "ranks", lambda: SimpleNamespace(size=2, rank=0))
    with pytest.raises(RuntimeError, match="^a co-localisation runs in one process: start it without mpirun"):
        running.run_in_turn([Cell("localise/tc-3", "first", 0)], place, progress=False)


def test_the_record_of_a_colocalisation(small, place, monkeypatch):
    """What is not found counts as error. The run itself has tests of its own."""
    asked = []

    def found(config, folder, *, resume):
        asked.append((config, resume))
        (folder / "config.json").write_text('{"parameters": 5947}')
        return None, {"localised": 62.5, "iou": 0.5, "boxes": [[0, 0, 1]] * 8}

    monkeypatch.setattr(runners.colocalisation, "run", found)
    monkeypatch.setattr(runners.colocalisation, "draw_boxes", lambda done: None)
    run(Cell("none/cnn", "first", 2), place)
    record = run(Cell("localise/tc-3", "first", 2), place)
    assert (record["test_error"], record["test_images"], record["iou"], record["parameters"]) == (37.5, 8, 0.5, 5947)
    (config, resume), = asked
    assert (config.label, config.clutter, config.seed, resume) == (3, True, 2, False)
    assert config.encoder == str(place.runs / "first" / "none" / "cnn" / "2") and "encoder" not in record["config"]


def test_where_data_are(tmp_path):
    """One folder for all: MNIST's own, or one with a folder for each kind."""
    assert Place("runs").data("rts") is None
    assert Place("runs", str(tmp_path)).data("rts") == Place("runs", str(tmp_path)).data("gtsrb") == str(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "gtsrb").mkdir()
    here = Place("runs", str(tmp_path))
    assert [here.data(name) for name in ("rts", "gtsrb", "svhn")] == [
        str(tmp_path / "mnist"), str(tmp_path / "gtsrb"), str(tmp_path)]


# Several at once


def test_commands_are_run_at_once_and_failures_counted(place, capsys, monkeypatch):
    called = []

    def call(arguments):
        called.append(arguments)
        return {"r/fcn": (0, "r/fcn: fine\n"), "r/cnn": (2, "a sentence\n")}.get(arguments[2], (1, ""))

    monkeypatch.setattr(running, "call", call)
    cells = [Cell(name, "first", 0) for name in ("r/fcn", "r/cnn", "rts/fcn")]
    assert running.run_at_once(cells, place, ThreadPoolExecutor(2)) == 2
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "a sentence", "r/fcn: fine", "rts/fcn, first, seed 0: ended with status 1"]
    assert called[0] == ["experiments", "--run", "r/fcn", "--schedule", "first", "--seed", "0", "--runs",
                         str(place.runs), "--threads", "1", "--quiet"]


def test_ctrl_c_of_one_command_ends_all(place, capsys, monkeypatch):
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
        running.run_at_once(cells, place, ThreadPoolExecutor(1))
    assert len(called) < 50 and capsys.readouterr().out == "fine\n"


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


# The command line, the list, the page


def options(tmp_path, *words):
    return ["experiments", *words, "--runs", str(tmp_path / "runs"), "--records", str(tmp_path / "records")]


def test_run_list_and_missing(small, tmp_path, capsys, monkeypatch):
    names = ("r/cnn", "rts/cnn")
    monkeypatch.setattr(command, "ROWS", {name: rows.ROWS[name] for name in names})
    assert main(options(tmp_path, "--run", "r/cnn", "--threads", "1", "--quiet")) == 0
    error = read_record(Cell("r/cnn", "first", 0).folder(tmp_path / "runs") / "record.json")["test_error"]
    assert capsys.readouterr().out.startswith(f"r/cnn, first, seed 0: test error {error:.2f} % after 6 steps, ")
    assert main(options(tmp_path, "--list")) == 0
    assert capsys.readouterr().out.splitlines() == [f"r/cnn    seed 0  {error:.2f} %", "rts/cnn  seed 0  not begun"]
    assert main(options(tmp_path, "--list", "--commands", "--seed", "0", "1")) == 0
    assert [line.split()[5:10] for line in capsys.readouterr().out.splitlines()] == [
        [name, "--schedule", "first", "--seed", seed] for name, seed in (("rts/cnn", "0"), ("r/cnn", "1"),
                                                                         ("rts/cnn", "1"))]
    assert main(options(tmp_path, "--missing", "--threads", "1", "--quiet")) == 0
    assert capsys.readouterr().out.startswith("rts/cnn, first, seed 0: ")
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


def test_a_name_that_is_none(tmp_path, capsys):
    assert main(options(tmp_path, "--run", "r/fnc")) == 2
    assert capsys.readouterr().err.startswith("stn_scratch: there is no experiment 'r/fnc'")


def record(name, seed, error, schedule="first"):
    return {"row": name, "schedule": schedule, "seed": seed, "test_error": error, "parameters": 100_000 + seed,
            "minutes": 4.0 + seed, "device": "CPU, 1 thread", "commit": "abc1234",
            "config": {"iterations": 1500, "batch": 256}}


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
    assert "| 1.2 | 2.50 [1.00, 4.50] | 0, 1, 2 | 1,500 x 256 | 100,000, 100,001, 100,002 | 5.0 | CPU, 1 thread " \
           "| abc1234 | `--run r/cnn --schedule first --seed 0 1 2` |\n" in text
    assert "| error, % (the paper's), `first` | TC |\n|---|---|\n| fcn | 20.00 (13.2) |\n" in text
    assert "](docs/errors.png)\n" in text and "digits.png" not in text
    assert "- `better`:" in text and "- `paper`:" not in text


def test_records_are_kept_and_collected(small, place, tmp_path):
    run(CELL, place)
    found = collect(place.runs, tmp_path / "records")
    assert list(found) == [CELL] and not (tmp_path / "records").exists()
    keep(place.runs, tmp_path / "records")
    kept = tmp_path / "records" / "first" / "r-st-cnn-affine-3.json"
    assert kept.read_bytes() == (CELL.folder(place.runs) / "record.json").read_bytes()
    # without the run folders, the committed records are enough
    assert collect(tmp_path / "none", tmp_path / "records") == found
    kept.write_text("{}")
    with pytest.raises(ValueError, match="is damaged, or no record of an experiment$"):
        collect(tmp_path / "none", tmp_path / "records")


def test_no_record_at_all(tmp_path, capsys):
    assert main(options(tmp_path, "--table")) == 2
    assert capsys.readouterr().err.startswith("stn_scratch: there is no record of an experiment, in ")
