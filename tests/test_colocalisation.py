"""Whole co-localisations, interrupted ones, and what is refused."""

import json
import math

import numpy as np
import pytest
from sentences import raises
from small_colocalisation import TINY, small_run
from small_runs import SMALL, checkpoint, ctrl_c, find_few, step_saved

from stn_scratch.colocalisation import Config, draw_boxes, learning
from stn_scratch.colocalisation import __main__ as command
from stn_scratch.colocalisation.checks import check_finite
from stn_scratch.colocalisation.images import boxes_of, overlap
from stn_scratch.training import config, loop, run_folder


@pytest.fixture(scope="module", autouse=True)
def digits():
    with pytest.MonkeyPatch.context() as patch:
        yield find_few(patch)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, digits):
    """The folder of a CNN, trained for some steps."""
    folder = tmp_path_factory.mktemp("encoder")
    loop.start(config.Config(**SMALL | {"model": "cnn", "data": "none", "parameters": 6000, "iterations": 40,
                                        "log_every": 40, "validate_every": 40, "checkpoint_every": 40}),
               folder, progress=False)
    return str(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, encoder):
    """A run that nobody interrupted, and its final record."""
    return learning.run(Config(encoder, **TINY), tmp_path_factory.mktemp("whole"))


def test_a_run_leaves_its_records(whole, encoder):
    run, record = whole
    records = run_folder.read_metrics(run.folder)
    assert [r["step"] for r in records] == [0, 2, 4, 6, 8, 8]
    assert records[-1] == record and record["final"] and len(record["boxes"]) == 5
    fits = overlap(boxes_of(learning.windows(run, learning.blurred(run.scene.images, records[-2]["blur"]))),
                   run.scene.boxes)
    assert records[-2]["iou"] == pytest.approx(fits.mean(), abs=1e-3)
    for r in records:
        found = overlap(np.array(r["boxes"]), run.scene.boxes)
        assert r["localised"] == 100 * (found > 0.5).mean() and r["iou"] == pytest.approx(found.mean(), abs=1e-3)
    assert records[0]["boxes"] == [[41.5, 41.5, round(1.5 * 28 * 83 / 27, 2)]] * 5
    stored = json.loads((run.folder / run_folder.CONFIG).read_text())
    assert stored["parameters"] == 100_627 and stored["config"]["encoder"] == encoder
    assert step_saved(run.folder) == 8


def at_step(patch, number, happens):
    step = learning.step

    def step_and(run, k, *rest):
        if k == number:
            happens()
        return step(run, k, *rest)

    patch.setattr(learning, "step", step_and)


def crash():
    raise MemoryError("a crash")


@pytest.mark.parametrize(("happens", "number", "error", "saved"), [
    (ctrl_c, 3, loop.Interrupted, 3), (ctrl_c, 6, loop.Interrupted, 6), (crash, 7, MemoryError, 4)])
def test_a_resumed_run_is_the_run_never_interrupted(whole, encoder, tmp_path, monkeypatch, happens, number, error,
                                                    saved):
    with monkeypatch.context() as patch:
        at_step(patch, number, happens)
        with pytest.raises(error) as stop:
            learning.run(Config(encoder, **TINY), tmp_path)
    if error is loop.Interrupted:
        assert str(stop.value) == f"stopped after step {number} of 8, saved in {tmp_path}"
    assert step_saved(tmp_path) == saved
    _, record = learning.run(Config(encoder, **TINY), tmp_path, resume=True)
    assert record == whole[1]
    for name in ("params", "velocity"):
        np.testing.assert_array_equal(checkpoint(tmp_path)[name], checkpoint(whole[0].folder)[name], strict=True)
    boxes = [[r["boxes"] for r in run_folder.read_metrics(folder) if r["step"] % 2 == 0]
             for folder in (tmp_path, whole[0].folder)]
    assert boxes[0] == boxes[1]


@pytest.mark.parametrize("number", [2, 4])
def test_ctrl_c_after_the_step_is_saved_or_heard_in_the_next(encoder, tmp_path, monkeypatch, number):
    """Between a step and its checkpoint there is work to do, too."""
    log_boxes = learning._log_boxes

    def log_and(run, k, *rest):
        log_boxes(run, k, *rest)
        if k == number:
            ctrl_c()

    monkeypatch.setattr(learning, "_log_boxes", log_and)
    with pytest.raises(loop.Interrupted, match=f"^stopped after step {number} of 8, saved in "):
        learning.run(Config(encoder, **TINY), tmp_path)
    assert step_saved(tmp_path) == number


@pytest.mark.parametrize(("number", "last"), [(1, "there is no checkpoint yet"), (6, "the last good checkpoint is {}")])
def test_a_run_that_blows_up_says_so(encoder, tmp_path, monkeypatch, number, last):
    step = learning.step
    monkeypatch.setattr(learning, "step", lambda run, k, *rest: step(run, k, *rest) * (math.nan if k == number else 1))
    last = last.format(tmp_path / run_folder.CHECKPOINT)
    with raises(loop.NotFinite, f"step {number + number % 2}: the loss is nan, or a parameter is not finite; {last}. "
                                "Begin anew with a smaller lr or clip_norm: a run that goes on keeps its own"):
        learning.run(Config(encoder, **TINY), tmp_path)
    assert (step_saved(tmp_path) == 4) if number > 4 else not (tmp_path / run_folder.CHECKPOINT).exists()


def test_what_blew_up_is_not_saved(encoder, tmp_path, monkeypatch):
    """Between two lines of the log, too."""
    step = learning.step

    def step_to_nan(run, k, *rest):
        if k == 7:
            run.params.flat[3] = math.nan
        return step(run, k, *rest)

    monkeypatch.setattr(learning, "step", step_to_nan)
    with pytest.raises(loop.NotFinite, match="^step 8: .* the last good checkpoint is "):
        learning.run(Config(encoder, **TINY | {"iterations": 12, "log_every": 12}), tmp_path)
    assert step_saved(tmp_path) == 4


def test_parameters_that_blow_up_are_found(tmp_path):
    run = small_run(np)._replace(folder=tmp_path)
    run.params.flat[7] = math.inf
    with raises(loop.NotFinite, "step 5: the loss is 0.5, or a parameter is not finite; there is no checkpoint yet. "
                                "Begin anew with a smaller lr or clip_norm: a run that goes on keeps its own"):
        check_finite(run, 5, 0.5)


def test_what_a_resumed_run_may_not_change(whole, encoder):
    with raises(ValueError, "label must stay 3, as the run was started, not 4"):
        learning.run(Config(encoder, **TINY | {"label": 4}), whole[0].folder, resume=True)
    with raises(ValueError, "iterations must stay 8, as the run was started, not 6"):
        learning.run(Config(encoder, **TINY | {"iterations": 6}), whole[0].folder, resume=True)


def test_there_is_nothing_to_resume(encoder, tmp_path):
    with raises(FileNotFoundError, f"{tmp_path} holds no run: there is no config.json in it"):
        learning.run(Config(encoder, **TINY), tmp_path, resume=True)


def test_the_rate_falls_over_the_whole_run():
    assert (Config("-").cosine, Config("-", iterations=7).cosine, Config("-", cosine=5).cosine) == (1600, 7, 5)
    sgd = Config("-", iterations=7, lr=0.8).optimiser()
    assert sgd.rate() == 0.8
    sgd.steps = 7
    assert sgd.rate() == 0


@pytest.mark.parametrize(("options", "sentence"), [
    ({"label": -1}, "label must be a whole number, 0 or more, not -1"),
    ({"pairs": 0}, "pairs must be a positive whole number, not 0"),
    ({"clutter": 1}, "clutter must be True or False, not 1"),
    ({"digits_of": "training"}, "digits_of must be one of 'test', 'validation', not 'training'"),
    ({"code_scales": (1, 2)}, "code_scales must be three numbers, one a layer of the code, not (1, 2)"),
    ({"scales": (1, 0)}, "scales must be a finite number, more than 0, not 0"),
    ({"scales": (1,)}, "scales must be two numbers, the first and the last, not (1,)"),
    ({"encoder": 3}, "encoder must be a path, as text, not 3"),
    ({"momentum": 1.0}, "momentum must be below 1, not 1.0: old gradients would never fade")])
def test_settings_that_are_none(options, sentence):
    with raises(ValueError, sentence):
        Config(**{"encoder": "-"} | options)


def test_the_picture_has_a_row_an_image_and_a_column_a_step(whole, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: drawn.append((figure, path)))
    path = draw_boxes(whole[0])
    figure, saved_as = drawn[0]
    assert path == whole[0].folder / "localised.png" and str(saved_as.name).startswith(f"{path}.")
    titles = [ax.get_title().partition("\n")[0] for ax in figure.axes]
    assert titles == ["step 0", "step 2", "step 4", "step 8"] + 16 * [""]
    frame, window = figure.axes[0].patches
    x, y, side = whole[0].scene.boxes[0]
    assert (frame.get_x(), frame.get_y(), frame.get_width()) == (x - 14, y - 14, side)
    assert window.get_width() == pytest.approx(1.5 * 28 * 83 / 27, abs=0.01)


def test_the_command(encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "run", lambda config, folder, resume: learning.run(
        Config(**vars(config) | TINY), folder, resume=resume))
    assert command.main([encoder, str(tmp_path), "--label", "3"]) == 0
    found = run_folder.read_metrics(tmp_path)[-1]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"localised: {found['localised']:.0f} % (5 images), mean IoU {found['iou']:.2f}")

    def pressed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "draw_boxes", pressed)
        assert command.main([encoder, str(tmp_path), "--label", "3", "--overwrite"]) == 130
    out, err = capsys.readouterr()
    assert out.startswith("localised: ") and err.endswith("with the same command, with --resume for --overwrite\n")
    assert command.main([encoder, str(tmp_path), "--label", "3", "--resume"]) == 0
    capsys.readouterr()
    assert (tmp_path / "localised.png").read_bytes()[:4] == b"\x89PNG"
    assert command.main([str(tmp_path / "nowhere"), str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.startswith("stn_scratch.colocalisation: ")
    # what stands there is not thrown away by mistake
    stood = checkpoint(tmp_path)
    assert command.main([encoder, str(tmp_path), "--label", "3"]) == 2
    assert capsys.readouterr().err == (f"stn_scratch.colocalisation: {tmp_path} holds a run already: go on with it by "
                                       "--resume, replace it by --overwrite, or name another folder\n")
    assert command.main([encoder, encoder, "--overwrite"]) == 2
    assert capsys.readouterr().err == (f"stn_scratch.colocalisation: OUT must be another folder than ENCODER, not "
                                       f"{encoder}\n")
    np.testing.assert_equal(checkpoint(tmp_path), stood)
    assert command.main([encoder, str(tmp_path), "--label", "3", "--overwrite"]) == 0
