"""Networks with parts: of one size, what each reads, the gradient of a whole one, and their pictures."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from small_networks import gradient_error

from stn_scratch.backend import host_generator
from stn_scratch.data import fine_grained
from stn_scratch.data.tasks import TASKS
from stn_scratch.models import build_model, count_parameters, make_network
from stn_scratch.models.parts import MODELS
from stn_scratch.training import loop
from stn_scratch.training.config import Config
from stn_scratch.training.looks import look_at
from stn_scratch.training.report import write_report
from stn_scratch.transformer import looks


@pytest.mark.parametrize("data", ["fine-grained", "gtsrb"])
@pytest.mark.parametrize("budget", [60_000, 400_000])
def test_all_are_of_one_size(data, budget):
    counts = [count_parameters(build_model(name, in_shape=TASKS[data].in_shape, classes=TASKS[data].classes,
                                           parameters=budget)[1]) for name in MODELS]
    assert all(abs(n - budget) <= 0.02 * budget for n in counts)


def test_parameters_by_hand():
    """64x64, width 7, 9 classes. A descriptor: 26 w + (25 w + 1) w + (4 w + 1) w; the localisation network of N parts:
    26 * 16 + (25 * 16 + 1) * 16 + (25 * 16 + 1) * 32 + 33 * 2N."""
    w = 7
    descriptor, localisation = 26 * w + (25 * w + 1) * w + (4 * w + 1) * w, 26 * 16 + 401 * 16 + 401 * 32
    for name, parts in (("parts-cnn", 1), ("2st-cnn", 2), ("4st-cnn", 4)):
        network = make_network(name, in_shape=(64, 64, 1), width=w, classes=9)
        params, shape = network.init(host_generator(0), (64, 64, 1))
        where = 0 if parts == 1 else localisation + 33 * 2 * parts
        assert shape == (9,) and count_parameters(params) == parts * descriptor + where + (parts * w + 1) * 9


@pytest.mark.parametrize("name, slices", [
    ("2st-cnn", [(16, 0), (16, 32)]), ("4st-cnn", [(0, 0), (0, 32), (32, 0), (32, 32)])])
def test_at_the_start_the_crops_tile_the_image_at_full_resolution(name, slices):
    network, params = build_model(name, in_shape=(64, 64, 1), parameters=60_000, dtype="float64")
    ramp = np.arange(64.0)
    x = np.stack([ramp[None] + 0 * ramp[:, None], ramp[:, None] + 0 * ramp[None]], axis=0)[..., None]  # columns, rows
    _, seen = looks(network, params, x)
    for look, (top, left) in zip(seen, slices, strict=True):
        # from edge to edge of half the image, whose outer pixels' centres are 63 / 2 apart
        reach = np.linspace(0, 31.5, 32)
        np.testing.assert_allclose(look.V[0, :, :, 0], np.tile(left * 63 / 64 + reach, (32, 1)), rtol=0, atol=1e-12)
        np.testing.assert_allclose(look.V[1, :, 0, 0], top * 63 / 64 + reach, rtol=0, atol=1e-12)


def test_the_plain_network_reads_half_the_resolution():
    """What has no mean in any 2x2 window is nothing to it."""
    network, params = build_model("parts-cnn", in_shape=(64, 64, 1), parameters=20_000)
    stripes = np.where(np.arange(64) % 2, 1, -1) * np.ones((64, 1))
    logits, _ = network.forward(params, np.stack([0 * stripes, stripes])[..., None].astype("float32"))
    np.testing.assert_array_equal(logits[1], logits[0])


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_a_whole_network(name):
    assert gradient_error(make_network(name, in_shape=(28, 30, 1), width=2), (28, 30, 1)) <= 1e-7


@pytest.mark.parametrize("name, parts", [("2st-cnn", 2), ("4st-cnn", 4)])
def test_pictures_show_every_part(name, parts, monkeypatch, tmp_path):
    monkeypatch.setattr(fine_grained, "TRAINING", 18)
    monkeypatch.setattr(fine_grained, "TEST", 18)
    run, _ = loop.prepare(Config(model=name, data="fine-grained", parameters=60_000), tmp_path)
    shown = look_at(run)
    assert [look.theta.shape for look in shown.seen] == [(12, 3)] * parts
    assert len({tuple(look.theta[0]) for look in shown.seen}) == parts
    loop.log(run, {"step": 1, "loss": 2.0, "error": 90.0})
    paths = write_report(run)
    assert [path.name for path in paths] == ["curves.png", "grids.png", "looks.png"]
    height, width, _ = plt.imread(paths[-1]).shape
    assert (width, height) == pytest.approx((110 * 13, 110 * (1.12 * (1 + 2 * parts) + 0.5)), abs=1)
