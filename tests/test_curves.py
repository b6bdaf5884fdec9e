"""curves.png shows the records of a run, honestly on a logarithmic axis."""

import numpy as np
import pytest

from stn_scratch.models import build_model
from stn_scratch.training import loop
from stn_scratch.training.config import Config
from stn_scratch.training.curves import _ticks, draw_curves

RECORDS = [{"step": 1, "loss": 2.5, "error": 90.0}, {"step": 2, "loss": 2.0, "error": 40.0},
           {"step": 2, "validation_error": 50.0}, {"step": 2, "test_error": 1.25, "test_images": 60}]


@pytest.fixture
def made(tmp_path):
    """A function: model, records -> a Run with these in its folder."""

    def make(model, records=RECORDS, **options):
        config = Config(model=model, parameters=130_000, **options)
        network, params = build_model(model, in_shape=(42, 42, 1), transform=config.transform, parameters=130_000)
        run = loop.Run(config, tmp_path, network, params, None, {})
        for record in records:
            loop.log(run, record)
        return run

    return make


def labels_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def data_of(ax):
    return [line.get_xydata().tolist() for line in ax.lines]


def tick_labels(ax):
    assert [tick.get_text() for tick in ax.get_yticklabels(minor=True)] == []
    return [tick.get_text() for tick in ax.get_yticklabels()]


def test_curves_show_the_records(made):
    figure = draw_curves(made("cnn", seed=3))
    left, right = figure.axes
    assert data_of(left) == [[[1, 2.5], [2, 2.0]]]
    training, validation, test = right.lines
    assert data_of(right)[:2] == [[[1, 90], [2, 40]], [[2, 50]]]
    assert list(test.get_ydata()) == [1.25, 1.25] and list(test.get_xdata()) == [0, 1]  # all across
    assert labels_of(figure) == ["training batches", "validation digits", "test digits, at the end: 1.25 %"]
    assert figure.get_suptitle() == "cnn on RTS, seed 3"
    assert (left.get_yscale(), right.get_yscale()) == ("log", "log")
    assert tick_labels(left) == ["2", "5"] and tick_labels(right) == ["1", "2", "5", "10", "20", "50", "100"]
    for ax in (left, right):
        low, high = ax.get_ylim()
        assert low < ax.get_yticks()[0] and ax.get_yticks()[-1] < high


def test_title_of_a_transformer(made):
    figure = draw_curves(made("st-cnn", transform="tps", data="none"))
    assert figure.get_suptitle() == "st-cnn (tps) on undistorted digits, seed 0"


@pytest.mark.parametrize("name", ["2st-cnn", "parts-cnn"])
def test_title_where_there_is_no_choice_of_a_transformation(made, name):
    assert draw_curves(made(name, data="fine-grained")).get_suptitle() == f"{name} on FINE-GRAINED, seed 0"


def test_an_error_of_zero_stands_at_zero(made):
    """0 has no logarithm: it gets a place of its own, with its label, below the smallest error that there was."""
    records = [{"step": k, "loss": 1.0, "error": error} for k, error in enumerate((30.0, 0.0, 0.3))]
    figure = draw_curves(made("cnn", records=[*records, {"step": 2, "test_error": 0.0}]))
    left, right = figure.axes
    assert data_of(right)[0] == [[0, 30], [1, 0], [2, 0.3]]
    assert tick_labels(right) == ["0", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]
    assert left.get_yscale() == "log" and left.get_ylabel() == "cross-entropy"
    assert right.get_ylabel() == "error, % (linear in the grey)"
    # the band reaches from below 0 to the first label of the logarithmic part, and 0 is inside the picture
    band = right.patches[0].get_extents().transformed(right.transData.inverted())
    assert band.y0 < 0 and band.y1 == pytest.approx(0.2) and right.get_ylim()[0] < 0
    heights = right.transData.transform([[0, y] for y in (0, 0.1, 0.2, 0.4, 0.8)])[:, 1]
    steps = np.diff(heights)
    assert steps[0] == pytest.approx(steps[1]) and steps[2] == pytest.approx(steps[3])


@pytest.mark.parametrize("low, high, expected", [
    (2.1, 2.3, [2, 5]), (1, 1, [1, 2]), (0.66, 86, [0.5, 1, 2, 5, 10, 20, 50, 100]), (5, 100, [5, 10, 20, 50, 100]),
    (0.0009, 1, [0.0001, 0.001, 0.01, 0.1, 1]), (3e-9, 4e-9, [2e-9, 5e-9])])
def test_ticks(low, high, expected):
    assert _ticks(low, high) == expected


def rated(*rates):
    return [{"step": 10 * k, "loss": 1.0, "error": 1.0, "rate": rate} for k, rate in enumerate(rates, start=1)]


def test_marks_where_the_rate_was_divided(made):
    # the last record's rate is that of a step that was not taken
    figure = draw_curves(made("cnn", records=rated(0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001)))
    left, right = figure.axes
    for ax in (left, right):
        assert [list(line.get_xdata()) for line in ax.lines[1:]] == [[30, 30], [50, 50]]
    texts = [(text.get_position()[0], text.get_text().strip()) for text in left.texts]
    assert texts == [(30, "rate 0.01"), (50, "rate 0.001")]
    assert labels_of(figure) == ["training batches", "learning rate divided"]


def test_many_divisions_are_not_all_named(made):
    figure = draw_curves(made("cnn", records=rated(*(0.5 ** k for k in range(12)))))
    left, _ = figure.axes
    assert len(left.lines) == 1 + 10 and list(left.texts) == []


def test_a_rate_that_falls_in_every_step_has_no_marks(made):
    figure = draw_curves(made("cnn", decay="cosine", records=rated(0.1, 0.09, 0.06, 0.02, 0.001, 0.0)))
    assert [len(ax.lines) for ax in figure.axes] == [1, 1] and "learning rate divided" not in labels_of(figure)


@pytest.mark.parametrize("records, expected", [
    ([], []), (RECORDS[:1], ["training batches"]), (RECORDS[2:3], ["validation digits"])],
    ids=["none", "no validation", "no training"])
def test_curves_of_few_records(made, records, expected):
    """A run that was stopped early has a picture, too, drawn without a warning; it names only what it shows."""
    figure = draw_curves(made("cnn", records=records))
    figure.draw_without_rendering()
    assert labels_of(figure) == expected
