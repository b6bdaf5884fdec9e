"""MNIST addition: two digits, each distorted by itself, on two channels; the label is their sum."""

import numpy as np
import pytest
from small_runs import SMALL, few_digits, fixed_set

from stn_scratch.backend import to_host
from stn_scratch.data import Digits, load_digits, tasks
from stn_scratch.data.addition import draw_addition
from stn_scratch.data.distort import distort
from stn_scratch.data.tasks import TASKS
from stn_scratch.models import build_model, count_parameters
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config
from stn_scratch.transformer import SpatialTransformer, looks


@pytest.fixture(scope="module")
def pairs():
    """65 pairs of test digits (65, 2, 28, 28, 1), and their labels (65, 2)."""
    digits = load_digits(source="embedded")
    return digits.test_images[:130].reshape(65, 2, 28, 28, 1), digits.test_labels[:130].reshape(65, 2)


def test_what_is_drawn(xp, pairs):
    x, sums = draw_addition(np.random.default_rng(0), *map(xp.asarray, pairs))
    assert x.shape == (65, *TASKS["addition"].in_shape) == (65, 42, 42, 2) and x.dtype == "float32"
    assert to_host(sums).tolist() == [a + b for a, b in pairs[1].tolist()]
    expected, _ = draw_addition(np.random.default_rng(0), *pairs)
    np.testing.assert_allclose(to_host(x), expected, rtol=0, atol=1e-6)


def test_each_channel_is_an_rts_digit_of_its_own(pairs):
    """The first channel holds the first digits as RTS draws them, the second the second ones by the next numbers."""
    images, labels = pairs
    x, _ = draw_addition(np.random.default_rng(5), images, labels)
    rng = np.random.default_rng(5)
    for k in (0, 1):
        np.testing.assert_array_equal(x[..., k], distort("rts", rng, images[:, k])[..., 0])
    # the same digit twice is not turned, scaled or placed twice in the same way
    x, sums = draw_addition(np.random.default_rng(5), images[:, [0, 0]], labels[:, [0, 0]])
    assert (x[..., 0] != x[..., 1]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(sums, 2 * labels[:, 0])


def test_a_seed_fixes_the_images(pairs):
    first, again, other = (draw_addition(np.random.default_rng(seed), *pairs)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2)).all()


def bright(numbers):
    """Digits of one brightness each, 1/32 of their number, with the number as their label."""
    return np.broadcast_to(numbers[:, None, None, None] / np.float32(32), (len(numbers), 28, 28, 1)).astype("float32")


@pytest.fixture
def splits():
    training, test = np.arange(1, 11), np.arange(20, 31)
    digits = Digits(bright(training), training, bright(test), test, "numbered")
    return batches.splits(digits, "addition", validation=0.2, device="cpu")


NUMBERS = {batches.TRAINING: range(1, 9), batches.VALIDATION: range(9, 11), batches.TEST: range(20, 31)}


def said_by(x):
    """The two numbers of each image, by the brightness of its channels."""
    numbers = 32 * x.max(axis=(1, 2))
    np.testing.assert_allclose(numbers, numbers.round(), rtol=0, atol=1e-3)
    return numbers.round().astype(int)


@pytest.mark.parametrize("purpose", [batches.VALIDATION, batches.TEST])
def test_a_fixed_set_has_the_digits_of_its_split_alone(splits, purpose):
    """Each digit once as the first one, in its order; the second at random; no training digit in either."""
    x, sums = fixed_set(splits[purpose], "addition", seed=0, purpose=purpose)
    numbers = said_by(x)
    np.testing.assert_array_equal(numbers[:, 0], NUMBERS[purpose])
    assert set(numbers[:, 1]) <= set(NUMBERS[purpose])
    np.testing.assert_array_equal(sums, numbers.sum(axis=1))
    again, _ = fixed_set(splits[purpose], "addition", seed=0, purpose=purpose)
    other, _ = fixed_set(splits[purpose], "addition", seed=1, purpose=purpose)
    np.testing.assert_array_equal(x, again)
    assert (x != other).any(axis=(1, 2, 3)).all()


def test_training_batches_pair_every_digit_with_every_other(splits):
    stream = batches.training_batches(splits[batches.TRAINING], "addition", batch=1000,
                                      rng=batches.generator(0, batches.TRAINING))
    batch = next(stream)
    stream.close()
    numbers = said_by(batch.x)
    np.testing.assert_array_equal(batch.labels, numbers.sum(axis=1))
    assert {tuple(pair) for pair in numbers} == {(a, b) for a in range(1, 9) for b in range(1, 9)}


def test_sums_of_all_digits_are_the_classes():
    digits = load_digits(source="embedded")
    split = batches.Split(digits.test_images, digits.test_labels)
    _, sums = fixed_set(split, "addition", seed=0, purpose=batches.TEST)
    counts = np.bincount(sums, minlength=19)
    assert len(counts) == TASKS["addition"].classes
    # 1000 pairs; of 100 equally frequent ones 1, 2, ..., 10, ..., 2, 1 have the sum 0, 1, ..., 9, ..., 17, 18
    expected = 10.0 * (10 - abs(np.arange(19) - 9))
    assert (abs(counts - expected) < 5 * expected ** 0.5).all()


# Two transformers side by side


def test_each_transformer_takes_and_transforms_both_channels(rng):
    """By hand: the outputs of the two, the one's channels behind the other's, pooled; then the FCN."""
    network, params = build_model("2st-fcn", in_shape=(42, 42, 2), classes=19, dtype="float64")
    assert abs(count_parameters(params) - 400_000) < 1000
    first, second = transformers = network.networks["0 Parallel"].networks.values()
    assert [type(part) for part in transformers] == [SpatialTransformer] * 2
    params.flat[...] += rng.normal(scale=0.02, size=params.flat.size)  # each looks elsewhere
    x = rng.uniform(0, 1, (3, 42, 42, 2))
    own = params["0 Parallel"].values()
    V, W = (part.forward(p, x)[0] for part, p in zip(transformers, own, strict=True))
    assert V.shape == W.shape == x.shape and abs(V - W).max() > 0.1
    pooled = np.concatenate([V, W], axis=-1).reshape(3, 21, 2, 21, 2, 4).mean(axis=(2, 4))
    logits, _ = network.forward(params, x)
    by_hand = pooled.reshape(3, -1)
    for name in ("3 Dense", "5 Dense", "7 Dense"):
        by_hand = np.maximum(by_hand, 0) @ params[name]["W"] + params[name]["b"]
    np.testing.assert_allclose(logits, by_hand, rtol=1e-12)
    _, seen = looks(network, params, x)
    assert [look.transformer for look in seen] == [first, second]
    np.testing.assert_array_equal(seen[1].V, W)


@pytest.mark.parametrize("transform, parameters", [("affine", 6), ("projective", 8), ("tps", 32)])
def test_both_start_as_the_identity(transform, parameters, rng):
    network, params = build_model("2st-fcn", in_shape=(42, 42, 2), classes=19, transform=transform)
    x = rng.uniform(0, 1, (2, 42, 42, 2)).astype("float32")
    _, seen = looks(network, params, x)
    assert [look.theta.shape for look in seen] == [(2, parameters)] * 2
    for look in seen:
        np.testing.assert_allclose(look.V, x, rtol=0, atol=1e-4)
    # but their localisation networks differ from the start
    a, b = (p["localisation"]["hidden"].flat for p in params["0 Parallel"].values())
    assert (a != b).mean() > 0.9


@pytest.mark.parametrize("model, parameters, lr", [
    ("fcn", 60_000, 0.1), ("cnn", 30_000, 0.02), ("st-fcn", 130_000, 0.1), ("2st-fcn", 250_000, 0.1)])
def test_networks_learn_it(model, parameters, lr, monkeypatch, tmp_path):
    """Zeros and ones alone: the sums 0, 1, 2 are a quarter, a half, a quarter; to say so costs 1.04 nats."""
    few = few_digits()
    chosen = few.train_labels < 2
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: few._replace(
        train_images=few.train_images[chosen], train_labels=few.train_labels[chosen]))
    options = {"iterations": 100, "parameters": parameters, "batch": 32, "lr": lr, "decay_every": 100, "shard": 32,
               "validate_every": 100, "checkpoint_every": 100}
    _, _, images = loop.start(Config(**SMALL | options, data="addition", model=model), tmp_path, progress=False)
    losses = [record["loss"] for record in run_folder.read_metrics(tmp_path) if "loss" in record]
    assert images == 60 and np.mean(losses[-20:]) < 0.8
