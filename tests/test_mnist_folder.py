"""MNIST from a folder that the user names: taken as it is, or refused in one sentence."""

import gzip
import hashlib

import numpy as np
import pytest
from small_mnist import (
    BAD_FILES,
    FULL,
    IMAGES,
    LABELS,
    TEST_IMAGES,
    TEST_LABELS,
    alone,
    check_miniature,
    idx,
    miniature,
    pack,
    sentence,
    write,
)

from stn_scratch.data import load_digits, mnist


@pytest.fixture(autouse=True)
def no_download(monkeypatch, tmp_path):
    """Nothing here may ask the network, nor what this machine has in its cache."""
    alone(monkeypatch, tmp_path)
    monkeypatch.setattr(mnist, "download", None)


@pytest.fixture
def raw(monkeypatch):
    return miniature(monkeypatch)


@pytest.fixture
def packed(raw):
    return pack(raw)


@pytest.fixture
def folder(packed, tmp_path):
    return write(tmp_path / "data", packed)


def test_full_mnist_has_the_content_that_is_pinned():
    if not FULL.is_dir():
        pytest.skip("full MNIST is neither in ../shared/data/mnist nor in a folder named by STN_DATA")
    digits = load_digits(FULL)
    assert digits.source == f"mnist (60000/10000) from {FULL}"
    assert digits.train_images.shape == (60000, 28, 28, 1) and digits.test_images.shape == (10000, 28, 28, 1)
    assert abs(digits.train_images.mean(dtype=np.float64) * 255 - 33.3184) < 1e-4
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(digits.test_labels), counts)


def test_folder_by_argument_and_by_environment(folder, raw, monkeypatch, tmp_path, capsys):
    check_miniature(load_digits(str(folder)), raw)
    monkeypatch.setenv("STN_DATA", str(folder))
    digits = load_digits()
    check_miniature(digits, raw)
    assert digits.source == f"mnist (12/5) from {folder}"
    # The argument goes before the environment.
    monkeypatch.setenv("STN_DATA", str(tmp_path / "nowhere"))
    check_miniature(load_digits(folder), raw)
    assert "".join(capsys.readouterr()) == ""


def test_folder_name_with_braces(folder, raw, tmp_path):
    odd = folder.rename(tmp_path / "{counts} {0}")
    assert load_digits(odd).source == f"mnist (12/5) from {odd}"


def test_other_packing_of_the_same_content_is_taken(folder, raw):
    (folder / IMAGES).write_bytes(gzip.compress(raw[IMAGES], 1))
    check_miniature(load_digits(folder), raw)


@pytest.mark.parametrize("name", [IMAGES, LABELS, TEST_IMAGES, TEST_LABELS])
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_missing_file_is_named_and_nothing_else_is_tried(name, source, folder):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_digits(folder, source=source)
    assert sentence(error).startswith(f"{folder / name} is missing: the data folder must hold {IMAGES}, ")


def test_missing_folder_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("STN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="the folder named by STN_DATA must hold ") as error:
        load_digits()
    assert str(tmp_path / "nowhere") in sentence(error)


@pytest.mark.parametrize("name", [IMAGES, TEST_LABELS])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_in_a_named_folder_is_one_sentence(kind, name, folder, raw, packed):
    make, words = BAD_FILES[kind]
    (folder / name).write_bytes(make(packed[name], raw[name]))
    with pytest.raises(ValueError, match=words) as error:
        load_digits(folder)
    assert sentence(error).startswith(str(folder / name))
    assert error.value.__cause__ is None and (error.value.__suppress_context__ or not error.value.__context__)


def test_wrong_content_says_what_was_found(folder, raw):
    other = idx(np.zeros((12, 28, 28), np.uint8))
    (folder / IMAGES).write_bytes(gzip.compress(other))
    with pytest.raises(ValueError) as error:
        load_digits(folder)
    text = sentence(error)
    assert mnist.FILES[IMAGES] in text and hashlib.sha256(other).hexdigest() in text and "(12, 28, 28)" in text


def test_file_that_unpacks_to_far_too_much_is_read_only_in_part(folder, monkeypatch):
    monkeypatch.setattr(mnist, "LONGEST_CONTENT", 10_000)
    (folder / LABELS).write_bytes(gzip.compress(idx(np.zeros(2**24, np.uint8))))
    with pytest.raises(ValueError, match=r"sizes \(16777216,\) say, at least one, not 9992"):
        mnist._parse((folder / LABELS).read_bytes(), LABELS, LABELS)
