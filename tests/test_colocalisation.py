"""Co-localisation: its images, boxes, encoder, gradient; whole runs, interrupted ones, and what is refused."""

import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest
from checks_of_pairs import on_device
from sentences import raises
from small_runs import SMALL, checkpoint, ctrl_c, few_digits, step_saved

from stn_scratch import build_model
from stn_scratch.backend import to_host
from stn_scratch.colocalisation import Config, draw_boxes, learning, localiser
from stn_scratch.colocalisation import __main__ as command
from stn_scratch.colocalisation.encoder import Encoder, load_encoder
from stn_scratch.colocalisation.folder import check_finite
from stn_scratch.colocalisation.images import DIGIT, Scene, boxes_of, draw_scene, overlap
from stn_scratch.data import tasks
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import count_parameters
from stn_scratch.parameters import pack, unpack
from stn_scratch.sampling import sample_forward
from stn_scratch.training import batches, config, loop

TINY = {"label": 3, "images": 5, "iterations": 8, "pairs": 4, "place": 1, "shrink": 2, "log_every": 2,
        "checkpoint_every": 4, "focus_every": 3}


@pytest.fixture(scope="module", autouse=True)
def digits():
    few = few_digits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "load_digits", lambda *_, **__: few)
        yield few


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


@pytest.fixture(autouse=True)
def as_on_a_terminal():
    """A process that was started in the background ignores Ctrl-C; here it does what it does on a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Images and boxes


def split(xp, images, labels):
    return batches.Split(xp.asarray(images), xp.asarray(labels))


def scene(xp, digits, seed=0, *, clutter, images=5):
    return draw_scene(np.random.default_rng(seed), split(xp, digits.test_images, digits.test_labels),
                      split(xp, digits.train_images, digits.train_labels), label=3, images=images, clutter=clutter)


def cut(image, box):
    """The 28x28 pixels of a digit's frame."""
    left, top = (round(v - (DIGIT - 1) / 2) for v in box[:2])
    return image[top:top + DIGIT, left:left + DIGIT]


def test_t_has_a_digit_of_its_class_in_the_box_and_nothing_else(xp, digits):
    drawn = scene(xp, digits, clutter=False)
    images = to_host(drawn.images)
    threes = digits.test_images[digits.test_labels == 3]
    found = set()
    assert images.shape == (5, 84, 84, 1) and images.dtype == np.float32
    for image, box in zip(images, drawn.boxes, strict=True):
        inside = cut(image, box)
        apart = abs(threes - inside).max(axis=(1, 2, 3))
        assert apart.min() < 1e-5 and box[2] == 28
        found.add(int(apart.argmin()))
        assert abs(image.sum() - inside.sum()) < 1e-3
    assert len(found) == 5


def test_tc_adds_clutter_outside_too(xp, digits):
    plain, cluttered = (scene(xp, digits, clutter=clutter) for clutter in (False, True))
    np.testing.assert_array_equal(plain.boxes, cluttered.boxes)
    a, b = to_host(plain.images), to_host(cluttered.images)
    assert (b >= a).all() and b.max() <= 1
    touched = (b > a).sum(axis=(1, 2, 3))
    assert (touched > 40).all() and (touched <= 16 * 36).all()


def test_the_digits_may_be_anywhere(digits):
    boxes = np.concatenate([scene(np, digits, seed, clutter=False).boxes for seed in range(200)])
    for places in boxes[:, :2].T:
        assert set(places) == {k + 13.5 for k in range(57)}


def test_a_seed_gives_the_same_images_everywhere(xp, digits):
    first, again = scene(np, digits, clutter=True), scene(xp, digits, clutter=True)
    np.testing.assert_allclose(to_host(again.images), first.images, atol=1e-6)
    np.testing.assert_array_equal(again.boxes, first.boxes)
    assert (scene(np, digits, 1, clutter=True).images != first.images).any()


def test_too_few_digits(digits):
    count = int((digits.test_labels == 3).sum())
    with raises(ValueError, f"images must be at most {count}, the digits of class 3 that there are, not {count + 1}"):
        scene(np, digits, clutter=False, images=count + 1)


def test_a_window_on_the_box_cuts_out_the_digit(digits):
    drawn = scene(np, digits, clutter=False)
    p = np.concatenate([np.full((5, 1), 27 / 83), (drawn.boxes[:, :2] - 41.5) / 41.5], axis=1)
    np.testing.assert_allclose(boxes_of(p), drawn.boxes, rtol=1e-12)
    grid, _ = TRANSFORMATIONS["attention"].forward(p.astype("float32"), size=(28, 28), align_corners=True)
    V, _ = sample_forward(drawn.images, grid)
    for image, box, v in zip(drawn.images, drawn.boxes, V, strict=True):
        np.testing.assert_allclose(v, cut(image, box), atol=1e-4)


def test_boxes_of_other_windows():
    # at s = 1 the samples run from pixel 0 to 83, 83/27 apart, so the box is 28 of those wide; s < 0 mirrors it
    np.testing.assert_allclose(boxes_of(np.array([[1, 0, 0], [-0.5, 1, -1]])),
                               [[41.5, 41.5, 28 * 83 / 27], [83, 0, 14 * 83 / 27]], rtol=1e-12)


def test_overlap_by_counting_pixels(rng):
    a, b = (np.concatenate([rng.integers(10, 20, (20, 2)), 2 * rng.integers(1, 6, (20, 1))], axis=1) for _ in range(2))
    y, x = np.mgrid[:40, :40] + 0.5

    def mask(box):
        return (abs(x - box[0]) < box[2] / 2) & (abs(y - box[1]) < box[2] / 2)

    expected = [(mask(u) & mask(v)).sum() / (mask(u) | mask(v)).sum() for u, v in zip(a, b, strict=True)]
    assert 0 in expected and max(expected) > 0.5
    np.testing.assert_allclose(overlap(a, b), expected, rtol=1e-12)


# The encoder


def small_encoder(xp, scales, dtype="float64"):
    network, params = build_model("cnn", in_shape=(28, 28, 1), parameters=900, dtype=dtype)
    return Encoder(network, on_device(xp, params), scales=scales)


def test_the_code_is_the_three_layers_side_by_side(xp, rng):
    x, encoder = xp.asarray(rng.random((2, 28, 28, 1))), small_encoder(xp, (0.5, 2.0, 3.0))
    e, _ = encoder.forward(x)
    h, parts = x, []
    for net, params in encoder.layers:
        h, _ = net.forward(params, h)
        if type(net).__name__ == "ReLU":
            parts.append(to_host(h).reshape(2, -1))
    expected = [scale * part for scale, part in zip((0.5, 2.0, 3.0), [*parts, to_host(h)], strict=True)]
    assert len(parts) == 2 and parts[0].shape[1] > parts[1].shape[1] > 10 == expected[2].shape[1]
    np.testing.assert_allclose(to_host(e), np.concatenate(expected, axis=1), rtol=1e-13)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_gradient_of_the_code(xp, rng, scales):
    encoder = small_encoder(xp, scales)
    assert check_gradients(encoder.forward, encoder.backward, (xp.asarray(rng.random((2, 28, 28, 1))),),
                           entries=20) <= 1e-7


@pytest.mark.parametrize(("other", "said"), [({"model": "fcn"}, "'fcn' on 'none'"), ({"data": "r"}, "'cnn' on 'r'")])
def test_not_such_an_encoder(tmp_path, other, said):
    config.save_config(tmp_path / loop.CONFIG, config.Config(**SMALL | {"model": "cnn", "data": "none"} | other))
    with raises(ValueError, "the encoder must be a run of the model 'cnn' on the data 'none', "
                            f"and {tmp_path} holds one of {said}"):
        load_encoder(tmp_path)


# One step


def small_run(xp, **options):
    """A Run in float64 with a localiser that has moved a little from its start, so that every gradient counts."""
    rng, settings = np.random.default_rng(0), Config("-", **TINY | options)
    network = localiser(filters=2, width=4)
    params, _ = network.init(rng, (84, 84, 1))
    params.flat[:] += 0.02 * rng.normal(size=params.flat.shape)
    images = xp.asarray(rng.random((5, 84, 84, 1)))
    return learning.Run(settings, Path("-"), small_encoder(xp, (0.3, 0.3, 0.3)), Scene(images, None), network,
                        unpack(xp.asarray(params.flat), params), settings.optimiser())


def test_the_papers_localiser_has_5947_parameters():
    params, out_shape = localiser().init(np.random.default_rng(0), (84, 84, 1))
    assert count_parameters(params) == 5947 and out_shape == (28, 28, 1)


def test_the_gradient_of_a_step_is_that_of_the_loss(xp):
    """Through encoder, sampler and localiser, by finite differences, with the same pairs and pieces each time."""
    run = small_run(xp, alpha=3.0)

    def loss(flat):
        moved = run._replace(params=unpack(flat, run.params))
        value, grads = learning.gradient(moved, run.scene.images, np.random.default_rng(4))
        return value.reshape(1), grads

    def backward(dy, grads):
        return pack(grads).flat * dy

    assert float(loss(run.params.flat)[0][0]) > 0.5
    assert check_gradients(loss, backward, (run.params.flat,), entries=12) <= 1e-6


def test_the_size_is_held_at_first_then_shrinks_then_learns(xp):
    run, rng = small_run(xp, place=1, shrink=2, alpha=9.0), np.random.default_rng(4)
    regression = run.params["localisation"]["regression"]
    before = {name: to_host(p).copy() for name, p in regression.items()}
    seen = []
    for number in range(1, 6):
        learning.step(run, number, run.scene.images, rng)
        seen.append(float(regression["b"][0]))
        still = (to_host(regression["W"])[:, 0] == before["W"][:, 0]).all()
        assert still == (number <= 3)
        assert (to_host(regression["b"])[1:] != before["b"][1:]).all()
    # from 1.5 to 0.36 by a constant factor
    np.testing.assert_allclose(seen[:3], [1.5, (1.5 * 0.36) ** 0.5, 0.36], rtol=1e-12)
    assert seen[3] != 0.36 and seen[4] != seen[3]


def test_when_windows_are_recentred():
    settings = Config("-", place=7, shrink=4)
    assert [step for step in range(30) if settings.recentred(step)] == [7, 9, 11, 13, 15]


@pytest.mark.parametrize("width", [0.2, 0.7, 2.0])
def test_blur_by_hand(xp, width):
    images = np.zeros((2, 20, 20, 1))
    images[0, 3, 12], images[1, 19, 0] = 1, 2
    bells = [[1 * math.exp(-((y - 3) ** 2 + (x - 12) ** 2) / (2 * width ** 2)) for x in range(20)] for y in range(20)]
    whole = sum(math.exp(-k ** 2 / (2 * width ** 2)) for k in range(-20, 21)) ** 2
    actual = to_host(learning.blurred(xp.asarray(images), width))
    np.testing.assert_allclose(actual[0, ..., 0], np.array(bells) / whole, rtol=1e-12)
    np.testing.assert_allclose(actual[1, 19, 0, 0], 2 / whole, rtol=1e-12)


@pytest.mark.parametrize("width", [0.05, 0.3, 1.0, 2.0])
def test_a_blur_leaves_the_brightness(width):
    """Away from the edge; a Gaussian of a third of a pixel, as its density stands, would make images brighter."""
    np.testing.assert_allclose(learning.blurred(np.ones((1, 40, 40, 1)), width)[0, 20, 20, 0], 1, rtol=1e-12)


def test_no_blur_leaves_the_images(rng):
    images = rng.random((2, 20, 20, 1))
    assert learning.blurred(images, 0) is images


def test_blur_goes_with_the_pixels_that_a_window_skips():
    run = small_run(np, blur=1.5)

    def blur(*scales):
        return learning.blur_for(run, np.array([[s, 0, 0] for s in scales]))

    assert blur(27 / 83) == 0 and blur(0.1) == 0
    assert blur(1.0, -2.0) == pytest.approx(1.5 * (1.5 * 83 / 27 - 1))
    assert blur(100.0) == 1.5 * learning.LARGEST_SKIP


def test_windows_are_moved_together_to_the_middle(xp):
    run = small_run(xp)
    before = learning.windows(run, run.scene.images)
    assert abs(before[:, 1:].mean(axis=0)).min() > 1e-3
    learning.recentre(run, before)
    after = learning.windows(run, run.scene.images)
    np.testing.assert_allclose(after[:, 1:], before[:, 1:] - before[:, 1:].mean(axis=0), atol=1e-14)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])


def test_random_pieces_are_parts_of_their_images(xp):
    images = np.zeros((300, 84, 84, 1))
    images[..., 0] = np.arange(84)  # what a pixel holds is its x
    pieces = to_host(learning.random_pieces(np.random.default_rng(0), xp.asarray(images)))
    np.testing.assert_allclose(np.diff(pieces, axis=2), 1, atol=1e-10)  # at the image's own scale
    lefts = pieces[:, 0, 0, 0]
    assert lefts.min() >= -1e-10 and lefts.max() <= 56 + 1e-10 and np.ptp(lefts) > 54


def test_descent_lowers_the_loss():
    run = small_run(np, alpha=3.0, lr=0.001, clip_norm=None, place=0, shrink=0, iterations=1600)

    def loss():
        return np.mean([learning.gradient(run, run.scene.images, np.random.default_rng(k))[0] for k in range(20)])

    before, rng = loss(), np.random.default_rng(4)
    for number in range(1, 41):
        learning.step(run, number, run.scene.images, rng)
    assert loss() < 0.5 * before


# Runs


def test_a_run_leaves_its_records(whole, encoder):
    run, record = whole
    records = loop.read_metrics(run.folder)
    assert [r["step"] for r in records] == [0, 2, 4, 6, 8, 8]
    assert records[-1] == record and record["final"] and len(record["boxes"]) == 5
    fits = overlap(boxes_of(learning.windows(run, learning.blurred(run.scene.images, records[-2]["blur"]))),
                   run.scene.boxes)
    assert records[-2]["iou"] == pytest.approx(fits.mean(), abs=1e-3)
    assert all(r["localised"] == 0 and 0 < r["iou"] < 0.5 for r in records)  # eight steps lead nowhere yet
    assert records[0]["boxes"] == [[41.5, 41.5, round(1.5 * 28 * 83 / 27, 2)]] * 5
    stored = json.loads((run.folder / loop.CONFIG).read_text())
    assert stored["parameters"] == 5947 and stored["config"]["encoder"] == encoder
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
    boxes = [[r["boxes"] for r in loop.read_metrics(folder) if r["step"] % 2 == 0]
             for folder in (tmp_path, whole[0].folder)]
    assert boxes[0] == boxes[1]


@pytest.mark.parametrize(("number", "last"), [(1, "there is no checkpoint yet"), (6, "the last good checkpoint is {}")])
def test_a_run_that_blows_up_says_so(encoder, tmp_path, monkeypatch, number, last):
    step = learning.step
    monkeypatch.setattr(learning, "step", lambda run, k, *rest: step(run, k, *rest) * (math.nan if k == number else 1))
    last = last.format(tmp_path / loop.CHECKPOINT)
    with raises(loop.NotFinite, f"step {number + number % 2}: the loss is nan, or a parameter is not finite; {last}. "
                                "A smaller lr or clip_norm may help"):
        learning.run(Config(encoder, **TINY), tmp_path)
    assert (step_saved(tmp_path) == 4) if number > 4 else not (tmp_path / loop.CHECKPOINT).exists()


def test_parameters_that_blow_up_are_found(tmp_path):
    run = small_run(np)._replace(folder=tmp_path)
    run.params.flat[7] = math.inf
    with raises(loop.NotFinite, "step 5: the loss is 0.5, or a parameter is not finite; there is no checkpoint yet. "
                                "A smaller lr or clip_norm may help"):
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
    assert path == saved_as == whole[0].folder / "localised.png"
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
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("localised: 0 % (5 images), mean IoU 0.")
    assert (tmp_path / "localised.png").read_bytes()[:4] == b"\x89PNG"
    assert command.main([str(tmp_path / "nowhere"), str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("stn_scratch.colocalisation: ")
