"""The pictures of a run: written as PNG, with and without a transformer, and showing what they say they show."""

import struct

import matplotlib.pyplot as plt
import numpy as np
import pytest
from small_runs import fixed_set
from strict import strict

from stn_scratch import backend
from stn_scratch.data import load_digits, tasks
from stn_scratch.training import batches, figures, loop, report
from stn_scratch.training.config import Config
from stn_scratch.training.grid_pictures import draw_grids
from stn_scratch.training.looks import Shown, draw_looks, look_at
from stn_scratch.transformer import Look, SpatialTransformer

SMALL = {"parameters": 130_000, "digits": "embedded", "batch": 8, "validation": 0.1}
RECORDS = [{"step": 1, "loss": 2.5, "error": 90.0}, {"step": 2, "loss": 2.0, "error": 40.0},
           {"step": 2, "validation_error": 50.0}, {"step": 2, "test_error": 1.25, "test_images": 60}]
TRANSFORMERS = {"st-cnn": 1, "st-fcn": 1, "mst-cnn": 2, "cnn": 0, "fcn": 0}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """A function: model -> a Run that was not trained, on few digits, with `RECORDS` in its folder."""
    every = load_digits(source="embedded")
    few = every._replace(train_images=every.train_images[:100], train_labels=every.train_labels[:100],
                         test_images=every.test_images[:40], test_labels=every.test_labels[:40])
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: few)

    def make(model, records=RECORDS, **options):
        run, _ = loop.prepare(Config(model=model, **SMALL | options), tmp_path)
        for record in records:
            loop.log(run, record)
        return run

    return make


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">2I", content[16:24])


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_pictures_of_a_sensible_size(made, model):
    run = made(model)
    paths = report.write_report(run)
    transformers = TRANSFORMERS[model]
    names = ["curves.png", "grids.png", "looks.png"] if transformers else ["curves.png", "looks.png"]
    assert paths == [run.folder / name for name in names]
    sizes = {path.name: png_size(path) for path in paths}
    assert sizes["curves.png"] == (1100, 440)
    assert sizes["looks.png"] == pytest.approx((110 * 13, 110 * (1.12 * (1 + 2 * transformers) + 0.5)), abs=1)
    for path in paths:
        assert plt.imread(path)[..., :3].std() > 0.05  # not blank
    assert plt.get_fignums() == []  # pyplot, and with it the backend of whoever imports this, was left alone


def test_device_arrays_are_drawn_too(made, monkeypatch):
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    here = [path.read_bytes() for path in report.write_report(made("st-cnn"))]
    there = [path.read_bytes() for path in report.write_report(made("st-cnn", records=[], device="gpu"))]
    assert here == there


def panels(figure, columns):
    return np.reshape(figure.axes, (-1, columns))


@pytest.mark.parametrize("data, side", [("none", 28), ("r", 42), ("tc", 60)])
def test_looks_of_every_distortion(made, data, side):
    figure = draw_looks(look_at(made("st-fcn", data=data)))
    shown = [ax.images[0].get_array().shape for ax in figure.axes]
    assert shown == [(side, side)] * 36


def test_looks_show_the_test_images_and_the_grid(made):
    run = made("st-cnn")
    # what is looked at is a quarter of the image: x_s = x_t / 2 + 0.5, y_s = y_t / 2 - 0.5
    regression = run.params["0 SpatialTransformer"]["localisation"]["regression"]
    regression["b"][...] = np.array([0.5, 0, 0.5, 0, 0.5, -0.5])
    figure = draw_looks(look_at(run))
    axes = panels(figure, 12)
    assert [row[0].get_ylabel() for row in axes] == ["input", "where it looks", "what it sees"]
    assert "grey: outside the image" in figure.get_supxlabel()
    # the images of which the test error is counted
    x, labels = fixed_set(run.splits[batches.TEST], "rts", seed=0, purpose=batches.TEST)
    for k in range(12):
        for row in (0, 1):
            np.testing.assert_array_equal(axes[row, k].images[0].get_array(), x[k, ..., 0])
            assert axes[row, k].images[0].get_clim() == (0, 1)
        assert axes[0, k].get_title().split(",")[0] == str(labels[k])
        *lines, square = axes[1, k].lines
        assert len(lines) == 14
        points = np.concatenate([line.get_xydata() for line in lines])
        # columns 20.5 to 41 and rows 0 to 20.5 of 42
        np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [[20.5, 0], [41, 20.5]], atol=1e-4)
        np.testing.assert_allclose(square.get_xydata(), [[20.5, 0]], atol=1e-4)
        # the grid's upper left pixel is what the transformer's output shows in its own
        seen = axes[2, k].images[0].get_array()
        np.testing.assert_allclose(seen[-1, 0], x[k, 20:22, 20:22, 0].mean(), atol=1e-4)
        np.testing.assert_allclose(seen[0, -1], x[k, 0, 41, 0], atol=1e-4)


def test_verdicts(made):
    """Right digits are titled with their label alone, wrong ones with what was said, in another colour."""
    shown = look_at(made("fcn"))
    labels = shown.labels
    said = np.where(np.arange(12) < 5, labels, (labels + 1) % 10)
    figure = draw_looks(shown._replace(predicted=said))
    titles = [ax.title for ax in figure.axes]
    assert [t.get_text() for t in titles[:5]] == [str(label) for label in labels[:5]]
    expected = [f"{a}, said {b}" for a, b in zip(labels[5:], said[5:], strict=True)]
    assert [t.get_text() for t in titles[5:]] == expected
    assert [t.get_color() for t in titles] == [figures.RIGHT] * 5 + [figures.WRONG] * 7
    assert figure.get_supxlabel() == ""  # there is no grid


def test_feature_maps_are_shown_by_their_mean(rng):
    """Black is 0 or less, white the picture's own maximum; the output is shown on the scale of its input."""
    x, U = rng.uniform(size=(2, 5, 6, 1)), rng.normal(1, 0.1, size=(2, 4, 7, 32))
    U[1] -= 3
    V = U[:, :3, :5] / 2
    grid, transformer = np.zeros((2, 2, 3, 5)), SpatialTransformer(None)
    seen = [Look(x, None, grid, x, transformer), Look(U, None, grid, V, transformer)]
    figure = draw_looks(Shown(x, [3, 4], [3, 4], seen))
    axes = panels(figure, 2)
    names = [row[0].get_ylabel().split() for row in axes]
    assert names[1:3] == [["where", "transformer", "1", "looks"], ["what", "transformer", "1", "sees"]]
    assert names[3:] == [["where", "transformer", "2", "looks"], ["what", "transformer", "2", "sees"]]
    for row in (3, 4):
        for k in (0, 1):
            image = axes[row, k].images[0]
            shown = (U if row == 3 else V)[k].mean(axis=2)
            np.testing.assert_allclose(image.get_array(), shown, rtol=1e-6)
            least, greatest = U[k].mean(axis=2).min(), U[k].mean(axis=2).max()
            np.testing.assert_allclose(image.get_clim(), (0, greatest) if k == 0 else (least, 0), rtol=1e-6)
    assert [axes[row, 0].images[0].get_clim() for row in (0, 1, 2)] == [(0, 1)] * 3
    assert figure.get_supxlabel().splitlines()[1] == "feature maps: mean of 32 channels, scaled"
    figure.draw_without_rendering()
    boxes = [row[0].yaxis.label.get_window_extent() for row in axes]
    assert all(above.y0 >= below.y1 for above, below in zip(boxes, boxes[1:], strict=False))  # none runs into another


def test_fewer_test_digits_than_are_shown(made):
    run = made("st-fcn")
    split = run.splits[batches.TEST]
    run.splits[batches.TEST] = batches.Split(split.images[:3], split.labels[:3])
    assert len(draw_looks(look_at(run)).axes) == 9 and len(draw_grids(look_at(run)).axes) == 3
