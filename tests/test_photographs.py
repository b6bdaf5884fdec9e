"""Photographs: whole groups are held out; traffic signs are read from a file, the real one where it is at hand."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from sentences import raises

from stn_scratch.backend import host_generator, to_host
from stn_scratch.data.photographs import Photographs, draw_photographs, hold_out_groups, load_signs
from stn_scratch.data.tasks import TASKS
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config


def signs(rng, each=3, classes=4, tracks=5):
    """Arrays of a miniature: `each` frames of each track of each class, in no order; every frame is grey by its track.
    """
    y, track, frame = (a.ravel() for a in np.mgrid[:classes, :tracks, :each])
    order = rng.permutation(len(y))
    grey = (y * 40 + track * 5 + frame)[order].astype(np.uint8)
    x = np.broadcast_to(grey[:, None, None, None], (len(y), 32, 32, 3)).copy()
    test = rng.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    return {"x_train": x, "y_train": y[order].astype(np.uint8), "track_train": track[order].astype(np.int16),
            "x_test": test, "y_test": np.arange(6, dtype=np.uint8) % classes}


@pytest.fixture
def arrays(rng):
    return signs(rng)


@pytest.fixture
def path(tmp_path, arrays):
    np.savez(tmp_path / "signs.npz", **arrays)
    return tmp_path / "signs.npz"


def test_signs_are_read_as_they_are(path, arrays):
    for name in (path, path.parent, str(path)):
        read = load_signs(name, source="auto")
        for found, expected in zip(read[:4], ("x_train", "y_train", "x_test", "y_test"), strict=True):
            np.testing.assert_array_equal(found, arrays[expected])
        np.testing.assert_array_equal(read.train_groups, arrays["track_train"])
        assert read.train_labels.dtype == read.test_labels.dtype == np.int64
        assert read.source == f"traffic signs (60/6) from {path}"


def test_drawn_as_they_are(xp, path):
    read = load_signs(path)
    x, labels = draw_photographs(host_generator(0), xp.asarray(read.test_images[:5, None]),
                                 xp.asarray(read.test_labels[:5, None]))
    assert x.dtype == "float32"
    np.testing.assert_allclose(to_host(x), read.test_images[:5] / 255, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(to_host(labels), read.test_labels[:5])


def test_no_test_image_is_trained_on(path, arrays):
    arrays["x_test"][2] = arrays["x_train"][7]
    np.savez(path, **arrays)
    read = load_signs(path)
    for found, name in zip((read.train_images, read.train_labels, read.train_groups),
                           ("x_train", "y_train", "track_train"), strict=True):
        np.testing.assert_array_equal(found, np.delete(arrays[name], 7, axis=0))
    assert len(read.test_images) == 6


# Held out


@pytest.mark.parametrize("validation, tracks", [(12, 1), (24, 2), (1, 1), (48, 4), (60, 4)])
def test_the_last_tracks_of_every_class_are_held_out_whole(path, validation, tracks):
    images, labels, held_images, held_labels = hold_out_groups(load_signs(path), validation=validation)
    for of, y, numbers in ((images, labels, range(5 - tracks)), (held_images, held_labels, range(5 - tracks, 5))):
        # the grey value says which track of which class it is
        for label in range(4):
            found = sorted(of[y == label, 0, 0, 0].tolist())
            assert found == [label * 40 + track * 5 + frame for track in numbers for frame in range(3)]


def test_groups_of_different_number():
    """Of 2, 5 and 10 groups about a fifth, but one at least."""
    labels = np.repeat([0, 1, 2], [2, 5, 10])
    groups = np.concatenate([np.arange(n) for n in (2, 5, 10)])
    images = np.arange(17).astype(np.uint8)
    read = Photographs(images, labels, images[:0], labels[:0], "made", groups)
    kept, _, held, held_labels = hold_out_groups(read, validation=4)
    assert held.tolist() == [1, 6, 15, 16] and held_labels.tolist() == [0, 1, 2, 2]
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(17))


def test_a_class_of_one_group_is_refused():
    labels = np.array([0, 0, 1, 1])
    read = Photographs(labels, labels, labels, labels, "made", np.array([0, 1, 3, 3]))
    with raises(ValueError, "class 1 must have at least two groups of training photographs, one to hold out"):
        hold_out_groups(read, validation=1)
    with raises(ValueError, "validation must be a positive whole number, not 0"):
        hold_out_groups(read, validation=0)


# Files that are not right


@pytest.mark.parametrize("changes, sentence", [
    ({"x_train": np.zeros((60, 32, 32), np.uint8)}, "x_train must be (N, 32, 32, 3) uint8, not (60, 32, 32) uint8"),
    ({"x_test": np.zeros((6, 32, 32, 3))}, "x_test must be (N, 32, 32, 3) uint8, not (6, 32, 32, 3) float64"),
    ({"x_test": np.zeros((0, 32, 32, 3), np.uint8)}, "x_test must be (N, 32, 32, 3) uint8, not (0, 32, 32, 3) uint8"),
    ({"y_test": np.zeros(5, int)}, "y_test must be 6 whole numbers, one a sign, not (5,) int64"),
    ({"y_test": np.zeros(6)}, "y_test must be 6 whole numbers, one a sign, not (6,) float64"),
    ({"y_test": np.arange(6) + 38}, "y_test must be classes from 0 to 42, not 38 to 43"),
    ({"track_train": np.zeros(3, int)}, "track_train must have shape (60,), one number a sign, not (3,)"),
])
def test_wrong_arrays(path, arrays, changes, sentence):
    np.savez(path, **arrays | changes)
    with raises(ValueError, f"{path}: {sentence}"):
        load_signs(path)


def test_a_missing_array(path, arrays):
    del arrays["track_train"]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=re.escape(f"{path} must hold the arrays x_train, y_train, track_train, x_test,"
                                                   " y_test; ") + ".*track_train"):
        load_signs(path)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"rubbish", lambda content: content[:2000],
                                    lambda content: content[:-100]])
def test_a_damaged_file(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with raises(ValueError, f"{path} is no .npz file that can be read"):
        load_signs(path)


def test_damage_inside_the_file(path, arrays):
    np.savez_compressed(path, **arrays)
    whole = path.read_bytes()
    for place in range(0, len(whole) - 40, len(whole) // 20):
        path.write_bytes(whole[:place] + 40 * b"\xff" + whole[place + 40:])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))} (?:is no .npz|must)"):
            load_signs(path)


def test_an_array_of_one_file_is_not_the_archive(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with raises(ValueError, f"{path} is no .npz file that can be read"):
        load_signs(path)


def test_a_folder_with_two_files_or_none(path, tmp_path):
    (tmp_path / "empty").mkdir()
    with raises(FileNotFoundError, f"{tmp_path / 'empty'} must hold one .npz, of traffic signs, not 0"):
        load_signs(tmp_path / "empty")
    (tmp_path / "other.npz").write_bytes(b"")
    with raises(FileNotFoundError, f"{tmp_path} must hold one .npz, of traffic signs, not 2"):
        load_signs(tmp_path)


def test_no_file(tmp_path):
    what = "the .npz of traffic signs, or its folder"
    with raises(ValueError, f"data_dir must name {what}, which is not downloaded"):
        load_signs(None)
    with raises(TypeError, "data_dir must be a path, not int"):
        load_signs(3)
    with raises(FileNotFoundError, f"{tmp_path / 'none'} is missing: data_dir must name {what}"):
        load_signs(tmp_path / "none")


# As a task


def test_it_trains(path, tmp_path):
    """Grey signs that differ by their brightness."""
    config = Config(model="parts-cnn", data="gtsrb", data_dir=str(path), parameters=20_000, iterations=40, batch=16,
                    threads=1, log_every=20, lr=0.02, validation=0.2)
    run, _, images = loop.start(config, tmp_path / "run", progress=False)
    first, last = (record["loss"] for record in run_folder.read_metrics(run.folder) if "loss" in record)
    assert images == 6 and last < first
    assert len(run.splits[batches.VALIDATION].labels) == 12


def test_the_real_signs():
    folder = Path(os.environ.get("STN_SIGNS") or Path(__file__).parents[2] / "shared" / "data" / "gtsrb")
    if not folder.is_dir():
        pytest.skip("no traffic signs here")
    read = load_signs(folder)
    task = TASKS["gtsrb"]
    images, labels, held_images, held_labels = task.hold_out(read, validation=308)
    assert set(labels) == set(held_labels) == set(read.test_labels) == set(range(43)) and task.classes == 43
    assert images.shape[1:] == task.in_shape and len(images) + len(held_images) == len(read.train_labels)
    assert 250 < len(held_images) < 370
    # no sign is in two splits
    of = [{image.tobytes() for image in part} for part in (images, held_images, read.test_images)]
    assert not of[0] & of[1] and not of[0] & of[2] and not of[1] & of[2]
