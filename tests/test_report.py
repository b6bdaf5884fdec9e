"""The pictures of a run: written as PNG, with and without a transformer, and showing what they say they show."""

import struct

import matplotlib.pyplot as plt
import numpy as np
import pytest
from strict import strict

from stn_scratch import backend
from stn_scratch.data import load_digits
from stn_scratch.training import batches, loop, report
from stn_scratch.training.config import Config

SMALL = {"parameters": 130_000, "digits": "embedded", "batch": 8, "validation": 0.1}
RECORDS = [{"step": 1, "loss": 2.5, "error": 90.0}, {"step": 2, "loss": 2.0, "error": 0.0},
           {"step": 2, "validation_error": 50.0}, {"step": 2, "test_error": 1.25, "test_images": 60}]
TRANSFORMERS = {"st-cnn": 1, "st-fcn": 1, "cnn": 0, "fcn": 0}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A function: model -> a Run that was not trained, on few digits, with `RECORDS` in its folder."""
    every = load_digits(source="embedded")
    few = every._replace(train_images=every.train_images[:100], train_labels=every.train_labels[:100],
                         test_images=every.test_images[:40], test_labels=every.test_labels[:40])
    monkeypatch.setattr(loop, "load_digits", lambda *_, **__: few)

    def make(model, records=RECORDS, **options):
        run, _ = loop.prepare(Config(model=model, **SMALL | options), tmp_path)
        for record in records:
            loop.log(run, record)
        return run

    return make


@pytest.fixture
def figures(monkeypatch):
    """Keep every figure open, instead of closing it once it is saved."""
    kept = []
    monkeypatch.setattr(plt, "close", kept.append)
    yield kept
    monkeypatch.undo()
    plt.close("all")


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">2I", content[16:24])


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_two_pictures_of_a_sensible_size(made, model):
    run = made(model)
    curves, looks = report.write_report(run)
    assert (curves, looks) == (run.folder / "curves.png", run.folder / "looks.png")
    assert png_size(curves) == (1100, 396)
    width, height = png_size(looks)
    rows = 1 + 2 * TRANSFORMERS[model]
    assert width == pytest.approx(110 * 13, abs=1) and height == pytest.approx(110 * (1.12 * rows + 0.5), abs=1)
    for path in (curves, looks):
        assert plt.imread(path)[..., :3].std() > 0.05  # not blank
    assert plt.get_fignums() == []


@pytest.mark.parametrize("data, side", [("none", 28), ("r", 42), ("tc", 60)])
def test_looks_of_every_distortion(made, figures, data, side):
    run = made("st-fcn", data=data)
    report.draw_looks(run)
    shown = [ax.images[0].get_array().shape for ax in figures[0].axes]
    assert shown == [(side, side)] * 36


def test_looks_show_the_test_images_and_the_grid(made, figures):
    run = made("st-cnn")
    # what is looked at is a quarter of the image: x_s = x_t / 2 + 0.5, y_s = y_t / 2 - 0.5
    regression = run.params["0 SpatialTransformer"]["localisation"]["regression"]
    regression["b"][...] = np.array([0.5, 0, 0.5, 0, 0.5, -0.5])
    report.draw_looks(run)
    axes = np.reshape(figures[0].axes, (3, 12))
    assert [row[0].get_ylabel() for row in axes] == ["input", "where it looks", "what it sees"]
    split = batches.Split(run.splits[batches.TEST].images[:12], run.splits[batches.TEST].labels[:12])
    x, labels = batches.fixed_set(split, "rts", seed=0, purpose=batches.TEST)
    for k in range(12):
        for row in (0, 1):
            np.testing.assert_array_equal(axes[row, k].images[0].get_array(), x[k, ..., 0])
        assert axes[0, k].get_title().split(",")[0] == str(labels[k])
        *lines, dot = axes[1, k].lines
        assert len(lines) == 14
        points = np.concatenate([line.get_xydata() for line in lines])
        # columns 20.5 to 41 and rows 0 to 20.5 of 42
        np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [[20.5, 0], [41, 20.5]], atol=1e-4)
        np.testing.assert_allclose(dot.get_xydata(), [[20.5, 0]], atol=1e-4)
        # the grid's upper left pixel is what the transformer's output shows in its own
        seen = axes[2, k].images[0].get_array()
        np.testing.assert_allclose(seen[-1, 0], x[k, 20:22, 20:22, 0].mean(), atol=1e-4)
        np.testing.assert_allclose(seen[0, -1], x[k, 0, 41, 0], atol=1e-4)


def test_verdicts(made, figures, monkeypatch):
    """Right digits are titled with their label alone, wrong ones with what was said, in another colour."""
    run = made("fcn")
    labels = run.splits[batches.TEST].labels[:12]
    said = np.where(np.arange(12) < 5, labels, (labels + 1) % 10)
    monkeypatch.setattr(report, "looks", lambda *_: (np.eye(10)[said], []))
    report.draw_looks(run)
    titles = [ax.title for ax in figures[0].axes]
    assert [t.get_text() for t in titles[:5]] == [str(label) for label in labels[:5]]
    expected = [f"{a}, said {b}" for a, b in zip(labels[5:], said[5:], strict=True)]
    assert [t.get_text() for t in titles[5:]] == expected
    assert [t.get_color() for t in titles] == [report.RIGHT] * 5 + [report.WRONG] * 7


def test_curves_show_the_records(made, figures):
    report.draw_curves(made("cnn", seed=3))
    left, right = figures[0].axes
    assert [line.get_xydata().tolist() for line in left.lines] == [[[1, 2.5], [2, 2.0]]]
    # an error of 0 has no logarithm: it stands at 0.01
    assert [line.get_xydata().tolist() for line in right.lines] == [[[1, 90], [2, 0.01]], [[2, 50]], [[2, 1.25]]]
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    assert texts == ["training batches", "validation digits", "test digits: 1.25 %"]
    assert figures[0].get_suptitle() == "cnn on RTS digits, seed 3"


@pytest.mark.parametrize("records", [[], RECORDS[:1], RECORDS[2:3]], ids=["none", "no validation", "no training"])
def test_curves_of_few_records(made, records):
    """A run that was stopped early has pictures too, drawn without a warning."""
    assert png_size(report.draw_curves(made("cnn", records=records))) == (1100, 396)


def test_device_arrays_are_drawn_too(made, monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    here = [path.read_bytes() for path in report.write_report(made("st-cnn"))]
    there = [path.read_bytes() for path in report.write_report(made("st-cnn", records=[], device="gpu"))]
    assert here == there


def test_fewer_test_digits_than_are_shown(made, figures):
    run = made("cnn")
    split = run.splits[batches.TEST]
    run.splits[batches.TEST] = batches.Split(split.images[:3], split.labels[:3])
    report.draw_looks(run)
    assert len(figures[0].axes) == 3
