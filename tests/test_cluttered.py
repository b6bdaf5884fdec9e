"""Cluttered MNIST, drawn: digits where they should be, clutter of the right size, and no training digit in a test."""

import numpy as np
import pytest
from small_runs import SMALL, few_digits, fixed_set

from stn_scratch.backend import to_host
from stn_scratch.data import Digits, distort, load_digits, tasks
from stn_scratch.data.tasks import TASKS
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config

DRAWN = {"cluttered-40": (40, 5), "cluttered-60": (60, 11)}  # canvas, pieces


def draw(data, seed, images, labels):
    return TASKS[data].draw(np.random.default_rng(seed), images, labels)


@pytest.fixture(scope="module")
def pairs():
    """70 test digits as sources (70, 1, 28, 28, 1) and (70, 1)."""
    digits = load_digits(source="embedded")
    return digits.test_images[:70, None], digits.test_labels[:70, None]


@pytest.mark.parametrize("data", DRAWN)
def test_the_task_says_what_it_draws(xp, pairs, data):
    side, _ = DRAWN[data]
    x, labels = draw(data, 0, *map(xp.asarray, pairs))
    assert x.shape == (70, *TASKS[data].in_shape) == (70, side, side, 1) and x.dtype == "float32"
    np.testing.assert_array_equal(to_host(labels), pairs[1][:, 0])
    x = to_host(x)
    assert x.min() >= 0 and 0.9 < x.max() <= 1
    expected, _ = draw(data, 0, *pairs)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("data", DRAWN)
def test_a_seed_fixes_the_images(pairs, data):
    first, again, other = (draw(data, seed, *pairs)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("data", DRAWN)
def test_every_place_is_drawn_as_often(data, monkeypatch):
    """The digit is one bright pixel in its upper left corner: it says where the digit was put."""
    side, _ = DRAWN[data]
    monkeypatch.setattr(distort, "add_clutter", lambda rng, images, digits, **_: images)
    count = 8000
    images = np.zeros((count, 1, 28, 28, 1), "float32")
    images[:, :, 0, 0] = 1
    x, _ = draw(data, 0, images, np.zeros((count, 1), int))
    np.testing.assert_allclose(x.sum(axis=(1, 2, 3)), 1, atol=1e-4)
    _, row, column, _ = np.nonzero(x > 0.5)
    places = side - 28 + 1
    for position in (row, column):
        counts = np.bincount(position, minlength=places)
        assert len(counts) == places
        # five standard deviations of a fair die with so many sides
        assert abs(counts - count / places).max() < 5 * (count / places) ** 0.5
    assert abs(np.corrcoef(row, column)[0, 1]) < 0.05


@pytest.mark.parametrize("data", DRAWN)
def test_so_many_5x5_pieces_of_other_digits(data, monkeypatch):
    """Without the digits themselves: what is bright came from other digits, 25 pixels a piece."""
    side, pieces = DRAWN[data]
    monkeypatch.setattr(distort, "place", lambda digits, **_: np.zeros((len(digits), side, side, 1), "float32"))
    # digit k is all of brightness 2 ** -(4 + 4 k): the sums of up to 15 pieces of each are told apart
    brightness = np.float32(2.0) ** -(4 + 4 * np.arange(4, dtype="float32"))
    images = np.broadcast_to(brightness[:, None, None, None, None], (4, 1, 28, 28, 1)).copy()
    x, _ = draw(data, 1, images, np.zeros((4, 1), int))
    for k, image in enumerate(x.astype("float64")):
        levels = np.round(image[..., None] * 2 ** 16).astype(int) >> (12 - 4 * np.arange(4)) & 15
        ink = levels.sum(axis=(0, 1, 2))
        assert ink.sum() == 25 * pieces and ink[k] == 0
        assert (ink % 25 == 0).all()


@pytest.mark.parametrize("data", DRAWN)
def test_no_training_digit_is_in_the_test_images(data):
    """Every bright pixel of an image, of its digit and of its clutter, tells whether it came from a test digit."""
    def images(level, count):
        return np.full((count, 28, 28, 1), level, "float32")

    digits = Digits(images(1 / 1024, 200), np.arange(200) % 10, images(1 / 16, 100), np.arange(100) % 10, "levels")
    splits = batches.splits(digits, data, validation=0.2, device="cpu")
    for purpose, level in ((batches.TEST, 1 / 16), (batches.VALIDATION, 1 / 1024)):
        x, labels = fixed_set(splits[purpose], data, seed=0, purpose=purpose)
        np.testing.assert_array_equal(labels, splits[purpose].labels)
        # whole multiples of the one level: what overlaps adds
        multiples = x / level
        np.testing.assert_allclose(multiples, multiples.round(), rtol=0, atol=1e-4)
        assert 1 <= multiples.max() < 16
    batch = next(batches.training_batches(splits[batches.TRAINING], data, batch=70,
                                          rng=batches.generator(0, batches.TRAINING)))
    assert 0 < batch.x.max() < 16 / 1024


@pytest.mark.parametrize("data, parameters", [("cluttered-40", 24_000), ("cluttered-60", 50_000)])
@pytest.mark.parametrize("model", ["cnn", "st-cnn", "mst-cnn"])
def test_networks_learn_it(data, parameters, model, monkeypatch, tmp_path):
    """Zeros and ones alone, for speed: to guess costs 0.69 nats."""
    few = few_digits()
    chosen = few.train_labels < 2
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: few._replace(
        train_images=few.train_images[chosen], train_labels=few.train_labels[chosen]))
    options = {"iterations": 56, "parameters": parameters, "batch": 32, "lr": 0.02, "decay_every": 100, "shard": 32,
               "validate_every": 56, "checkpoint_every": 56}
    _, _, images = loop.start(Config(**SMALL | options, data=data, model=model), tmp_path, progress=False)
    losses = [record["loss"] for record in run_folder.read_metrics(tmp_path) if "loss" in record]
    assert images == 60 and np.mean(losses[-10:]) < 0.5
