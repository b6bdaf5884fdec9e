"""Experiments: the rows, and one cell from start to record, with what interrupts it."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from small_experiments import CELL, TINY, make_small, run
from small_runs import at_step, ctrl_c, held

from stn_scratch.experiments import records, rows, runners, running, schedules
from stn_scratch.experiments.records import Cell, collect, keep, read_record
from stn_scratch.experiments.runners import Place, config_of, minutes
from stn_scratch.training import loop, run_folder
from stn_scratch.training.checkpoint import load_checkpoint


@pytest.fixture
def small(monkeypatch):
    """Few digits, few steps."""
    make_small(monkeypatch)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "runs", threads=1)


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


def test_a_row_changes_some_schedules_and_not_others():
    two, one = ({schedule: config_of(Cell(name, schedule, 0), Place("runs")) for schedule in ("half", "better")}
                for name in ("addition/2st-fcn-tps", "addition/st-fcn-tps"))
    assert [(c.iterations, c.weight_decay, c.downsample, c.localisation_downsample) for c in two.values()] == [
        (75_000, 0.0, 2, 1), (45_000, 0.0, 3, 2)]
    assert [(c.iterations, c.weight_decay, c.downsample, c.localisation_downsample) for c in one.values()] == [
        (75_000, 0.0, 2, 1), (15_000, 2e-4, 2, 1)]


def test_patterns_choose_rows_in_their_order():
    assert [row.name for row in rows.chosen(["tc/*", "r/c*"])] == [
        "r/cnn", "tc/fcn", "tc/cnn", "tc/st-fcn-affine", "tc/st-cnn-affine"]
    with pytest.raises(ValueError, match=re.escape("there is no experiment 'tc/none'; `experiments --list` names")):
        rows.chosen(["tc/cnn", "tc/none"])


def test_steps_of_its_own_go_by_no_schedule_but_the_first():
    assert {name for name, row in rows.ROWS.items() if not row.goes_by("longer")} == {
        f"localise/{column}-{digit}" for column in ("t", "tc") for digit in range(10)}
    assert all(row.goes_by("first") for row in rows.ROWS.values())


# One cell


def test_a_cell_leaves_its_record(small, place):
    record = run(CELL, place)
    folder = CELL.folder(place.runs)
    assert record == read_record(folder / "record.json")
    assert (record["row"], record["schedule"], record["seed"]) == CELL
    last = run_folder.read_metrics(folder)[-1]
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
    with held(CELL.folder(place.runs)):
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


def test_where_data_are(tmp_path):
    """One folder for all: MNIST's own, or one with a folder for each kind."""
    assert Place("runs").data("rts") is None
    assert Place("runs", str(tmp_path)).data("rts") == Place("runs", str(tmp_path)).data("gtsrb") == str(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "gtsrb").mkdir()
    here = Place("runs", str(tmp_path))
    assert [here.data(name) for name in ("rts", "gtsrb", "svhn")] == [
        str(tmp_path / "mnist"), str(tmp_path / "gtsrb"), str(tmp_path)]
