"""Splits, fixed sets and training batches: who sees which digits, and that a stream can be taken up again."""

from contextlib import closing
from itertools import islice, pairwise

import numpy as np
import pytest
from small_runs import fixed_set
from strict import DeviceArray, strict

from stn_scratch import backend
from stn_scratch.backend import to_host
from stn_scratch.data import Digits, load_digits, tasks
from stn_scratch.training import batches
from stn_scratch.training.batches import TEST, TRAINING, VALIDATION, Split, generator, training_batches

DISTORTED = ["none", "r", "rts", "tc", "p", "e"]


@pytest.fixture(scope="module")
def digits():
    return load_digits(source="embedded")


@pytest.fixture
def numbered():
    """Ten training and four test digits whose brightness is their number, and so is their label."""
    def images(numbers):
        return np.broadcast_to(numbers[:, None, None, None] / np.float32(32), (len(numbers), 28, 28, 1)).copy()

    training, test = np.arange(10), np.arange(20, 24)
    return Digits(images(training.astype("float32")), training, images(test.astype("float32")), test, "numbered")


def bytes_of(images):
    return {image.tobytes() for image in images}


# Splits


@pytest.mark.parametrize(("part", "held_out"), [(0.1, 400), (0.5, 2000), (0.0001, 1), (0.9, 3600), (0.9999, 3999)])
def test_validation_digits_are_the_last_training_digits(digits, part, held_out):
    splits = batches.splits(digits, "rts", validation=part, device="cpu")
    train, validation, test = (splits[purpose] for purpose in (TRAINING, VALIDATION, TEST))
    for name in ("images", "labels"):
        every = getattr(digits, f"train_{name}")
        np.testing.assert_array_equal(getattr(train, name), every[:-held_out])
        np.testing.assert_array_equal(getattr(validation, name), every[-held_out:])
        np.testing.assert_array_equal(getattr(test, name), getattr(digits, f"test_{name}"))


def test_no_digit_is_in_two_splits(digits):
    splits = batches.splits(digits, "rts", validation=0.1, device="cpu")
    train, validation, test = (bytes_of(splits[purpose].images) for purpose in (TRAINING, VALIDATION, TEST))
    assert not train & validation and not train & test and not validation & test
    assert len(train | validation | test) == 5000


def test_splits_on_a_gpu_are_device_arrays(numbered, monkeypatch):
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    here, there = (batches.splits(numbered, "rts", validation=0.2, device=device) for device in ("cpu", "gpu"))
    for purpose in (TRAINING, VALIDATION, TEST):
        for a, b in zip(here[purpose], there[purpose], strict=True):
            assert type(a) is np.ndarray and type(b) is DeviceArray
            np.testing.assert_array_equal(to_host(b), a, strict=True)


# Fixed sets


@pytest.mark.parametrize("data", DISTORTED)
def test_fixed_set_repeats_per_seed(xp, numbered, data):
    split = Split(xp.asarray(numbered.test_images), xp.asarray(numbered.test_labels))
    first, again = (fixed_set(split, data, seed=4, purpose=TEST) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))
    # every digit once, in its order
    np.testing.assert_array_equal(to_host(first[1]), numbered.test_labels)
    assert len(first[0]) == 4


@pytest.mark.parametrize("data", DISTORTED[1:])
def test_fixed_sets_differ_by_seed_and_purpose(numbered, data):
    split = Split(numbered.test_images, numbered.test_labels)
    sets = [fixed_set(split, data, seed=seed, purpose=purpose)[0]
            for seed in (0, 1, 2) for purpose in (TRAINING, VALIDATION, TEST)]
    assert len({images.tobytes() for images in sets}) == 9


def test_generators_of_a_seed_have_streams_of_their_own():
    draws = {(seed, purpose): generator(seed, purpose).integers(0, 2**63)
             for seed in range(20) for purpose in (TRAINING, VALIDATION, TEST)}
    assert len(set(draws.values())) == 60
    assert generator(3, TEST).integers(0, 2**63) == draws[3, TEST]


# Training batches


def test_batches_hold_training_digits_only(xp, numbered):
    split = Split(xp.asarray(numbered.train_images[:8]), xp.asarray(numbered.train_labels[:8]))
    seen = []
    for batch in islice(training_batches(split, "none", batch=50, rng=generator(0, TRAINING)), 4):
        assert batch.x.shape == (50, 28, 28, 1) and batch.x.dtype == "float32" and batch.labels.shape == (50,)
        labels = to_host(batch.labels)
        # the image says by its brightness which digit it is: labels and images stay together
        np.testing.assert_array_equal(to_host(batch.x)[:, 14, 14, 0] * 32, labels)
        seen.extend(labels)
    counts = np.bincount(seen)
    assert len(counts) == 8 and counts.min() > 10


@pytest.mark.parametrize("data", DISTORTED)
def test_a_restored_generator_goes_on_with_the_same_stream(xp, numbered, data):
    split = Split(xp.asarray(numbered.train_images), xp.asarray(numbered.train_labels))
    whole = list(islice(training_batches(split, data, batch=5, rng=generator(7, TRAINING)), 6))
    for stopped_after in (1, 4):
        rng = generator(99, TEST)
        rng.bit_generator.state = whole[stopped_after - 1].generator_state
        resumed = islice(training_batches(split, data, batch=5, rng=rng), 6 - stopped_after)
        for a, b in zip(whole[stopped_after:], resumed, strict=True):
            np.testing.assert_array_equal(to_host(a.x), to_host(b.x))
            np.testing.assert_array_equal(to_host(a.labels), to_host(b.labels))
            assert a.generator_state == b.generator_state


@pytest.mark.parametrize("data", DISTORTED)
@pytest.mark.parametrize("cuts", [[0, 65, 150], [0, 50, 100, 150], [0, 64, 128, 150], [0, 149, 150], [0, 1, 150]])
def test_parts_of_a_batch_are_the_batch(xp, numbered, data, cuts):
    """Whoever draws only a part has the same images, to the last bit, and the same generator afterwards."""
    split = Split(xp.asarray(numbered.train_images), xp.asarray(numbered.train_labels))

    def second(**options):
        with closing(training_batches(split, data, batch=150, rng=generator(3, TRAINING), **options)) as stream:
            return list(islice(stream, 2))[1]

    whole, parts = second(), [second(part=range(*cut)) for cut in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([to_host(part.x) for part in parts]), to_host(whole.x), strict=True)
    np.testing.assert_array_equal(np.concatenate([to_host(part.labels) for part in parts]), to_host(whole.labels))
    assert all(part.generator_state == whole.generator_state for part in parts)


def test_blocks_are_distorted_differently(numbered):
    """The same digit 192 times, in three blocks: no two images are the same."""
    split = Split(numbered.train_images[5:6], numbered.train_labels[5:6])
    with closing(training_batches(split, "rts", batch=192, rng=generator(0, TRAINING))) as stream:
        assert len(bytes_of(next(stream).x)) == 192


def test_a_part_needs_no_other_blocks(numbered, monkeypatch):
    """Of 150 images in blocks of 64 the images 70 to 129 are in the last two; the others are never distorted."""
    distorted = []
    monkeypatch.setattr(tasks, "distort", lambda name, rng, digits: distorted.append(len(digits)) or digits)
    with closing(training_batches(Split(numbered.train_images, numbered.train_labels), "rts", batch=150,
                                  rng=generator(0, TRAINING), part=range(70, 130))) as stream:
        assert len(next(stream).x) == 60
    assert distorted[:2] == [64, 22]


def test_the_stream_is_the_same_on_every_device(xp, numbered):
    def stream(xp):
        split = Split(xp.asarray(numbered.train_images), xp.asarray(numbered.train_labels))
        return islice(training_batches(split, "rts", batch=5, rng=generator(1, TRAINING)), 3)

    for a, b in zip(stream(np), stream(xp), strict=True):
        np.testing.assert_array_equal(a.labels, to_host(b.labels))
        np.testing.assert_allclose(a.x, to_host(b.x), rtol=0, atol=1e-6)


def test_batches_differ_from_one_another(numbered):
    split = Split(numbered.train_images, numbered.train_labels)
    stream = islice(training_batches(split, "rts", batch=5, rng=generator(0, TRAINING)), 20)
    assert len({batch.x.tobytes() for batch in stream}) == 20


def test_a_failed_draw_is_raised_where_batches_are_taken(numbered, monkeypatch):
    draws = []

    def fails(*arguments):
        draws.append(arguments)
        raise MemoryError("no room for a batch")

    monkeypatch.setattr(tasks, "distort", fails)
    stream = training_batches(Split(numbered.train_images, numbered.train_labels), "rts", batch=5,
                              rng=generator(0, TRAINING))
    with pytest.raises(MemoryError, match="^no room for a batch$"):
        next(stream)
    assert draws
