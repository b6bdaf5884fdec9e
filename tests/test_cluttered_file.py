"""The file of cluttered digits: read as it is, its own validation images held out, and what may be wrong with it."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from sentences import raises
from small_mnist import FULL
from small_runs import SMALL, fixed_set

from stn_scratch.backend import to_host
from stn_scratch.data import cluttered
from stn_scratch.data.cluttered import FILE, hold_out_validation, load_cluttered
from stn_scratch.data.tasks import TASKS
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config

COUNTS = {"train": 60, "valid": 12, "test": 20}
FOLDER = FULL.parent / "cluttered_mnist"


@pytest.fixture
def arrays(rng):
    """The file's arrays, but fewer images: a bright row says which digit it is."""
    made = {}
    for name, count in COUNTS.items():
        y = np.arange(count) % 10
        X = rng.uniform(0, 0.1, (count, 40, 40)).astype("float32")
        X[np.arange(count), 4 * y] = 1
        made |= {f"X_{name}": X.reshape(count, 1600), f"y_{name}": y[:, None].astype("int32")}
    return made


@pytest.fixture
def folder(arrays, tmp_path, monkeypatch):
    """A folder with a miniature of the file, whose checksum stands in for the real one."""
    np.savez(tmp_path / FILE, **arrays)
    monkeypatch.setattr(cluttered, "FILE_SHA256", hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest())
    return tmp_path


def test_arrays_are_the_files(folder, arrays):
    digits = load_cluttered(folder)
    for name, of_file in (("train", "train"), ("validation", "valid"), ("test", "test")):
        images, labels = getattr(digits, f"{name}_images"), getattr(digits, f"{name}_labels")
        expected = arrays[f"X_{of_file}"]
        assert images.shape == (len(expected), 40, 40, 1) and images.dtype == "float32" and labels.dtype == "int64"
        # row by row
        np.testing.assert_array_equal(images[:, 7, 3, 0], expected[:, 7 * 40 + 3])
        np.testing.assert_array_equal(images.reshape(len(images), -1), expected)
        np.testing.assert_array_equal(labels, arrays[f"y_{of_file}"][:, 0])
    assert digits.source == f"cluttered MNIST (60/12/20) from {folder}"


def test_a_folder_or_the_file_itself(folder, monkeypatch):
    by_folder = load_cluttered(str(folder))
    by_file = load_cluttered(folder / FILE, source="mnist")
    np.testing.assert_array_equal(by_folder.train_images, by_file.train_images)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(load_cluttered(f"~/{folder.name}").test_labels) == 20


@pytest.mark.parametrize("validation", [0.01, 0.1, 0.9])
def test_its_own_validation_images_whatever_is_asked_for(folder, validation):
    digits = load_cluttered(folder)
    splits = batches.splits(digits, "cluttered-file", validation=validation, device="cpu")
    for purpose, images, labels in ((batches.TRAINING, digits.train_images, digits.train_labels),
                                    (batches.VALIDATION, digits.validation_images, digits.validation_labels),
                                    (batches.TEST, digits.test_images, digits.test_labels)):
        np.testing.assert_array_equal(splits[purpose].images, images)
        np.testing.assert_array_equal(splits[purpose].labels, labels)
    assert all(a is b for a, b in zip(hold_out_validation(digits, validation=3), digits[:4], strict=True))


def test_the_task_shows_the_images_unchanged(xp, folder):
    digits = load_cluttered(folder)
    split = batches.Split(xp.asarray(digits.test_images), xp.asarray(digits.test_labels))
    x, labels = fixed_set(split, "cluttered-file", seed=0, purpose=batches.TEST)
    assert type(x) is type(xp.asarray(digits.test_images)) and x.shape[1:] == TASKS["cluttered-file"].in_shape
    np.testing.assert_array_equal(to_host(x), digits.test_images)
    np.testing.assert_array_equal(to_host(labels), digits.test_labels)


# What may be wrong


@pytest.mark.parametrize("content", [b"", b"rubbish", "cut short", "one bit", "one more"])
def test_another_content(folder, content):
    path = folder / FILE
    right = path.read_bytes()
    changed = {"cut short": right[:-100], "one bit": right[:-1] + bytes([right[-1] ^ 1]), "one more": right + b"\0"}
    path.write_bytes(changed.get(content, content))
    found = path.read_bytes()
    with raises(ValueError, f"{path} is not the file of cluttered digits: it must have 3842026 bytes with the sha256 "
                            f"{hashlib.sha256(right).hexdigest()}, not {len(found)} with "
                            f"{hashlib.sha256(found).hexdigest()}"):
        load_cluttered(folder)


def test_a_file_of_other_digits_is_never_unpacked(folder, monkeypatch):
    (folder / FILE).write_bytes(b"PK\x03\x04 cut short")
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(ValueError, match="is not the file of cluttered digits"):
        load_cluttered(folder)


def test_a_missing_file(tmp_path):
    nowhere = tmp_path / "nowhere"
    with raises(FileNotFoundError, f"{nowhere} is missing: data_dir must name the folder that holds {FILE}"):
        load_cluttered(nowhere)
    with raises(OSError, f"{tmp_path / FILE} cannot be read: No such file or directory"):
        load_cluttered(tmp_path)


def test_a_file_that_cannot_be_read(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with raises(OSError, f"{folder / FILE} cannot be read: Permission denied"):
        load_cluttered(folder)


def test_wrong_arguments(tmp_path):
    with raises(ValueError, f"data_dir must name the folder that holds {FILE}, which is not downloaded"):
        load_cluttered(None)
    with raises(TypeError, "data_dir must be a path, not int"):
        load_cluttered(3)
    with raises(ValueError, f"digits must not be 'embedded': the images are those of the folder that holds {FILE}"):
        load_cluttered(tmp_path, source="embedded")


def test_the_command_line_says_so():
    status, out, err = call("train", "--data", "cluttered-file", "--out", "nowhere")
    assert (status, out) == (2, "")
    assert err == f"stn_scratch: --data-dir must name the folder that holds {FILE}, which is not downloaded\n"


# Trained on


@pytest.mark.parametrize("model", ["cnn", "st-cnn", "mst-cnn"])
def test_networks_learn_it(folder, model, tmp_path):
    options = {"digits": "auto", "data_dir": str(folder), "iterations": 40, "parameters": 30_000, "decay_every": 40,
               "lr": 0.01, "shard": 32, "batch": 20, "validate_every": 40, "checkpoint_every": 40}
    _, _, images = loop.start(Config(**SMALL | options, data="cluttered-file", model=model), tmp_path / "run",
                              progress=False)
    losses = [record["loss"] for record in run_folder.read_metrics(tmp_path / "run") if "loss" in record]
    assert images == 20 and np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])


# The real file


@pytest.mark.skipif(not (FOLDER / FILE).is_file(), reason="the file of cluttered digits is not here")
def test_the_real_file():
    digits = load_cluttered(FOLDER)
    parts = digits[:6:2]
    assert [len(images) for images in parts] == [10_000, 1000, 1000]
    assert all(images.min() == 0 and images.max() == 1 for images in parts)
    np.testing.assert_allclose([images.mean() for images in parts], [0.0772, 0.0757, 0.0768], atol=5e-5)
    seen = [{image.tobytes() for image in images} for images in parts]
    # no image occurs twice, in one part or in two
    assert len(set.union(*seen)) == 12_000
    for labels in digits[1:6:2]:
        assert set(labels) == set(range(10))
