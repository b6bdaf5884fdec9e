"""The pictures of RESULTS.md show the errors of the records, and only digits that the ST-CNN alone gets right."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_experiments import make_small, record
from small_runs import fixed_set

from stn_scratch.experiments import figures, running
from stn_scratch.experiments.records import Cell
from stn_scratch.experiments.runners import Place, config_of
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.checkpoint import load_checkpoint
from stn_scratch.training.config import Config, save_config


def test_errors():
    found = {Cell(r["row"], r["schedule"], r["seed"]): r for r in (
        record("rts/cnn", 0, 1.0), record("rts/cnn", 1, 3.0), record("rts/st-cnn-tps", 0, 0.25),
        record("rts/st-cnn-tps", 0, 0.125, "better"), record("e/fcn", 0, 5.0), record("tc/fcn", 0, 9.0))}
    figure = figures.draw_errors(found)
    assert figure.get_suptitle() == (
        "schedule 'first'; fcn: 6,000 steps, 400,000 parameters; cnn: 1,500 steps, 100,000 parameters")
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert list(panels) == ["RTS", "E"]
    widths = {title: [bar.get_width() for bar in ax.patches] for title, ax in panels.items()}
    # the mean over seeds; one schedule; each in its panel
    assert widths == {"RTS": [2.0, 0.25], "E": [5.0]}
    names = [text.get_text() for text in panels["RTS"].get_yticklabels()]
    heights = [bar.get_y() + bar.get_height() / 2 for bar in panels["RTS"].patches]
    assert [names[round(y)] for y in heights] == ["cnn", "st-cnn tps"]
    paper = [line.get_xdata()[0] for line in panels["RTS"].lines if line.get_linewidth() == 2.5]
    assert paper == [0.8, 0.5]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A CNN and an ST-CNN, hardly trained: there is much that one gets right and the other not."""
    make_small(monkeypatch)
    for name in ("rts/cnn", "rts/st-cnn-affine"):
        running.run_cell(Cell(name, "first", 0), Place(tmp_path, threads=1), progress=False)
    return tmp_path


def test_where_the_data_are_is_asked_for_or_remembered(tmp_path, monkeypatch):
    save_config(tmp_path / "config.json", Config(data_dir="there"))
    asked = []
    run = SimpleNamespace(params=None)
    monkeypatch.setattr(figures.loop, "prepare", lambda config, _: asked.append(config.data_dir) or (run, ""))
    monkeypatch.setattr(figures, "load_checkpoint", lambda *_: None)
    for data_dir in (None, "here"):
        assert figures._trained(tmp_path, data_dir) is run
    assert asked == ["there", "here"]


def test_rescued_digits(trained):
    (group,) = figures.rescued(Place(trained), 0)
    runs = {}
    for name in ("cnn", "st-cnn-affine"):
        cell = Cell(f"rts/{name}", "first", 0)
        runs[name], _ = loop.prepare(config_of(cell, Place(trained, threads=1)), trained)
        load_checkpoint(cell.folder(trained) / run_folder.CHECKPOINT, runs[name].params)
    run = runs["cnn"]
    x, labels = fixed_set(run.splits[batches.TEST], "rts", seed=0, purpose=batches.TEST)
    said = {name: run.network.forward(run.params, x)[0].argmax(axis=1) for name, run in runs.items()}
    expected = np.flatnonzero((said["cnn"] != labels) & (said["st-cnn-affine"] == labels))
    assert len(expected) > 0 and group.data == "rts"
    np.testing.assert_array_equal(group.x, x[expected])
    assert group.labels == labels[expected].tolist() and group.said == said["cnn"][expected].tolist()
    shown = [ax.get_title() for ax in figures.draw_rescued([group]).axes if ax.get_title()]
    wanted = [f"{labels[k]}, CNN said {said['cnn'][k]}" for k in expected[:figures.SHOWN]]
    assert shown == wanted


def test_without_checkpoints_there_are_no_digits(tmp_path):
    assert figures.rescued(Place(tmp_path), 0) == []


def test_the_longest_schedule_that_both_have(trained):
    """An ST-CNN alone that was trained for longer is no pair."""
    folder = Cell("rts/st-cnn-affine", "longer", 0).folder(trained)
    folder.mkdir(parents=True)
    (folder / "record.json").touch()
    (group,) = figures.rescued(Place(trained), 0)
    assert group.data == "rts" and len(group.x) > 0


def test_pictures_of_what_is_at_hand(tmp_path):
    """Without checkpoints: the errors, from the records alone, and the windows of the longest run."""
    place, folder = Place(tmp_path / "runs"), tmp_path / "docs"
    assert figures.draw({}, place, 0, folder) == []
    for schedule in ("longer", "first"):
        run = Cell(figures.LOCALISED, schedule, 0).folder(place.runs)
        run.mkdir(parents=True)
        (run / "localised.png").write_bytes(schedule.encode())
    found = {Cell("e/fcn", "first", 0): record("e/fcn", 0, 5.0)}
    assert [path.name for path in figures.draw(found, place, 0, folder)] == ["errors.png", "localised.png"]
    assert (folder / "localised.png").read_bytes() == b"longer"
    assert (folder / "errors.png").read_bytes()[:4] == b"\x89PNG"
