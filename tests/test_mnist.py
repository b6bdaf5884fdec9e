"""The embedded digits, IDX, and held-out digits; the sources of full MNIST are in test_mnist_folder, test_download."""

import numpy as np
import pytest
from small_mnist import alone, idx, sentence

from stn_scratch.data import Digits, hold_out, load_digits, mnist


@pytest.fixture(autouse=True)
def no_download(monkeypatch, tmp_path):
    """Nothing here may ask the network, nor what this machine has in its cache."""
    alone(monkeypatch, tmp_path)
    monkeypatch.setattr(mnist, "download", None)


@pytest.fixture
def twelve():
    """Digits of which 12 are to train on."""
    digits = load_digits(source="embedded")
    return digits._replace(train_images=digits.train_images[:12], train_labels=digits.train_labels[:12])


# The embedded digits


def test_embedded_digits_are_balanced_and_in_range(capsys):
    digits = load_digits(source="embedded")
    assert isinstance(digits, Digits) and digits.source == "embedded digits (4000/1000)"
    assert digits.train_images.shape == (4000, 28, 28, 1) and digits.test_images.shape == (1000, 28, 28, 1)
    for images in (digits.train_images, digits.test_images):
        assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(digits.train_labels), [400] * 10)
    np.testing.assert_array_equal(np.bincount(digits.test_labels), [100] * 10)
    # Shuffled: every stretch that one may hold out has all classes.
    assert set(digits.train_labels[-100:]) == set(range(10))
    assert "".join(capsys.readouterr()) == ""


def test_no_embedded_image_occurs_twice():
    digits = load_digits(source="embedded")
    images = np.concatenate([digits.train_images, digits.test_images])
    assert len({image.tobytes() for image in images}) == 5000


def test_embedded_asks_neither_network_nor_environment(monkeypatch):
    monkeypatch.setenv("STN_DATA", "/nowhere")
    assert load_digits(source="embedded").source == "embedded digits (4000/1000)"


def test_embedded_file_is_small_and_has_no_pickle():
    assert mnist.EMBEDDED.stat().st_size < 2**20
    with np.load(mnist.EMBEDDED, allow_pickle=False) as file:
        assert sorted(file) == sorted(mnist.EMBEDDED_ARRAYS)
        assert all(file[name].dtype == np.uint8 for name in file)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04 cut short"])
def test_damaged_embedded_file(content, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "EMBEDDED", tmp_path / "digits.npz")
    mnist.EMBEDDED.write_bytes(content)
    with pytest.raises(ValueError, match="digits.npz is damaged") as error:
        load_digits(source="embedded")
    sentence(error)


def test_changed_embedded_file(tmp_path, monkeypatch):
    with np.load(mnist.EMBEDDED) as file:
        arrays = dict(file)
    arrays["test_labels"][0] ^= 1
    monkeypatch.setattr(mnist, "EMBEDDED", tmp_path / "digits.npz")
    np.savez(mnist.EMBEDDED, **arrays)
    with pytest.raises(ValueError, match="does not hold the digits that were shipped"):
        load_digits(source="embedded")


# Arguments, IDX, held-out digits


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="source must be one of 'auto', 'mnist', 'embedded', not 'web'"):
        load_digits(source="web")
    with pytest.raises(ValueError, match=f"^data_dir must be left out with the embedded digits, not '{tmp_path}'$"):
        load_digits(tmp_path, source="embedded")
    with pytest.raises(TypeError, match="data_dir must be a path, not int"):
        load_digits(3)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_read_idx(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(mnist.read_idx(idx(array), "here"), array)


@pytest.mark.parametrize(("raw_bytes", "words"), [
    (b"", "not nothing"),
    (b"\0\0\x08", "not 000008"),
    (b"\x08\0\0\x01\0\0\0\x01\0", "not 08000001"),
    (idx(np.zeros((2, 2), np.uint8)), "not 00000802"),
    (b"\0\0\x0b\x01\0\0\0\x01\0\0", "not 00000b01"),
    (b"\0\0\x08\x03\0\0\0\x01", "an IDX header of 16 bytes, not 8 bytes in all"),
    (idx(np.zeros(3, np.uint8))[:-1], r"its sizes \(3,\) say, at least one, not 2"),
    (idx(np.zeros(3, np.uint8)) + b"\0", r"its sizes \(3,\) say, at least one, not 4"),
    (b"\0\0\x08\x03" + b"\xff" * 12 + b"\0", "4294967295, 4294967295, 4294967295.* not 1"),
    (idx(np.zeros((0, 28, 28), np.uint8)), r"\(0, 28, 28\) say, at least one, not 0"),
])
def test_read_idx_refuses(raw_bytes, words):
    with pytest.raises(ValueError, match=words) as error:
        mnist.read_idx(raw_bytes, "here.idx")
    assert sentence(error).startswith("here.idx ")


def test_hold_out_takes_the_last_training_digits(twelve):
    images, labels, held_images, held_labels = hold_out(twelve, validation=5)
    assert images.shape == (7, 28, 28, 1) and held_images.shape == (5, 28, 28, 1)
    np.testing.assert_array_equal(np.concatenate([images, held_images]), twelve.train_images)
    np.testing.assert_array_equal(np.concatenate([labels, held_labels]), twelve.train_labels)
    np.testing.assert_array_equal(held_labels, twelve.train_labels[7:])


@pytest.mark.parametrize("validation", [0, -1, 12, 13, 0.1, True, None, "5"])
def test_hold_out_refuses(validation, twelve):
    with pytest.raises(ValueError, match="validation must be a whole number between 1 and 11, not"):
        hold_out(twelve, validation=validation)
