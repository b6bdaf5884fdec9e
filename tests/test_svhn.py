"""SVHN's own format, on a miniature that is written here as MATLAB writes the real one."""

import re
import sys

import numpy as np
import pytest
from matplotlib.image import imsave
from sentences import raises
from small_runs import SMALL

from stn_scratch.data import svhn
from stn_scratch.data.house import NULL
from stn_scratch.data.svhn import crop, load_svhn, read_boxes
from stn_scratch.training import loop, run_folder
from stn_scratch.training.config import Config

# a photograph's number and the box of each digit: left, top, width, height
BOXES = {1: [(5, 3, 8, 20)], 2: [(4, 6, 7, 15), (12, 5, 8, 16)], 3: [(2, 4, 5, 9), (7, 4, 5, 9), (12, 5, 5, 9)],
         6: [(2 + 6 * k, 4, 5, 9) for k in range(6)], 5: [(1 + 6 * k, 4 + k, 5, 9) for k in range(5)]}
TRAIN = [(7,), (1, 0), (2, 3, 9), (1, 2, 3, 4, 5, 6), (0, 0, 8, 1, 5), *[(k, k + 1) for k in range(9)]]
EXTRA = [(4, 4, 4)]
TEST = [(5, 9), (8,), (6, 5, 4, 3, 2, 1)]


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py")


def write_struct(h5py, path, houses):
    """MATLAB's struct array digitStruct(i).name, .bbox(j).label, ...: everything behind references; but the fields of a
    single box are numbers, not references to numbers. The digit 0 is class 10."""
    with h5py.File(path, "w", userblock_size=512) as file:
        held, struct = file.create_group("#refs#"), file.create_group("digitStruct")

        def reference(values):
            return held.create_dataset(str(len(held)), data=np.array(values)[:, None]).ref

        names, boxes = [], []
        for number, labels in enumerate(houses, start=1):
            names.append(reference([ord(c) for c in f"{number}.png"]))
            box = held.create_group(str(len(held)))
            boxes.append(box.ref)
            rows = BOXES[len(labels)]
            for field, values in {"label": [k or 10 for k in labels], "left": [r[0] for r in rows],
                                  "top": [r[1] for r in rows], "width": [r[2] for r in rows],
                                  "height": [r[3] for r in rows]}.items():
                values = [float(v) for v in values]
                if len(values) == 1:
                    box[field] = np.array([values])
                else:
                    box.create_dataset(field, data=[[reference([v])] for v in values], dtype=h5py.ref_dtype)
        for field, references in (("name", names), ("bbox", boxes)):
            struct.create_dataset(field, data=[[r] for r in references], dtype=h5py.ref_dtype)


def photograph(number):
    """A photograph of its own for each number, (30, 44, 3) uint8."""
    return np.random.default_rng(number).integers(0, 256, (30, 44, 3)).astype(np.uint8)


@pytest.fixture
def miniature(h5py, tmp_path):
    for part, (name, houses) in enumerate({"extra": EXTRA, "train": TRAIN, "test": TEST}.items()):
        folder = tmp_path / name
        folder.mkdir()
        write_struct(h5py, folder / "digitStruct.mat", houses)
        for k in range(1, len(houses) + 1):
            imsave(folder / f"{k}.png", photograph(100 * part + k))
    return tmp_path


# The file


def test_boxes_are_read_as_matlab_wrote_them(h5py, tmp_path):
    write_struct(h5py, tmp_path / "digitStruct.mat", TRAIN)
    houses = read_boxes(tmp_path / "digitStruct.mat")
    assert [house.name for house in houses] == [f"{k}.png" for k in range(1, len(TRAIN) + 1)]
    assert [tuple(house.labels) for house in houses] == TRAIN
    for house, labels in zip(houses, TRAIN, strict=True):
        np.testing.assert_array_equal(house.boxes, BOXES[len(labels)])


# The crop


def read_at(image, x, y):
    """The colour at x, y in pixels from the upper left corner, between pixels' centres; the border goes on outside."""
    H, W, _ = image.shape
    x, y = min(max(x - 0.5, 0), W - 1), min(max(y - 0.5, 0), H - 1)
    m, n = min(int(x), W - 2), min(int(y), H - 2)
    a, b = x - m, y - n
    return ((1 - b) * ((1 - a) * image[n, m] + a * image[n, m + 1])
            + b * ((1 - a) * image[n + 1, m] + a * image[n + 1, m + 1]))


@pytest.mark.parametrize("size", [4, 7])
def test_crop_by_hand(rng, size):
    """Two boxes: together 3.5 to 9.5 by 2 to 12; with 30 % more 2.6 to 10.4 by 0.5 to 13.5, two samples a side."""
    image = rng.uniform(size=(17, 14, 3))
    boxes = np.array([[3.5, 4, 2, 8], [6, 2, 3.5, 5]])
    finer = {4: 4, 7: 2}[size]
    expected = np.zeros((size, size, 3))
    for row in range(size * finer):
        for column in range(size * finer):
            x, y = 2.6 + 7.8 * (column + 0.5) / (size * finer), 0.5 + 13 * (row + 0.5) / (size * finer)
            expected[row // finer, column // finer] += read_at(image, x, y) / finer ** 2
    np.testing.assert_allclose(crop(image, boxes, size=size), expected, rtol=0, atol=1e-12)


def test_a_crop_as_large_as_the_image_copies_and_twice_as_large_averages(rng):
    for side, average in ((64, 1), (128, 2)):
        image = rng.uniform(size=(side, side + 9, 3))
        box = np.array([[side * 0.15 / 1.3, side * 0.15 / 1.3, side / 1.3, side / 1.3]])
        expected = image[:, :side].reshape(64, average, 64, average, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(crop(image, box), expected, rtol=0, atol=1e-12)


def test_outside_the_photograph_its_border_goes_on(rng):
    image = rng.uniform(size=(10, 12, 3))
    cropped = crop(image, np.array([[-20.0, 2, 10, 5]]))
    # all of it left of the photograph: each row one colour, between those of the first column
    np.testing.assert_allclose(cropped, np.broadcast_to(cropped[:, :1], cropped.shape), rtol=0, atol=1e-12)
    expected = [read_at(image, 0, 4.5 + 6.5 * ((row + 0.5) / 64 - 0.5)) for row in range(64)]
    np.testing.assert_allclose(cropped[:, 0], expected, rtol=0, atol=1e-12)


# The folders


def test_the_miniature(miniature):
    digits = load_svhn(str(miniature), progress=False)
    train = [*EXTRA, *(labels for labels in TRAIN if len(labels) < 6)]
    assert digits.source == f"svhn ({len(train)}/2) from {miniature}, 2 of more than 5 digits left out"
    for houses, images, labels in ((train, digits.train_images, digits.train_labels),
                                   (TEST[:2], digits.test_images, digits.test_labels)):
        assert images.shape == (len(houses), 64, 64, 3) and images.dtype == np.uint8 and labels.dtype == np.int64
        np.testing.assert_array_equal(labels, [[*house, *[NULL] * (5 - len(house))] for house in houses])
    # the images are the crops of the right photographs, extra's before train's, to the nearest of 256 steps
    for image, number, house in ((digits.train_images[0], 1, EXTRA[0]), (digits.train_images[1], 101, TRAIN[0]),
                                 (digits.train_images[4], 105, TRAIN[4]), (digits.test_images[1], 202, TEST[1])):
        expected = crop(photograph(number) / 255, np.array(BOXES[len(house)], float))
        assert abs(image - 255 * expected).max() < 0.51


def test_extra_is_not_needed(miniature):
    (miniature / "extra").rename(miniature / "elsewhere")
    digits = load_svhn(miniature, progress=False)
    np.testing.assert_array_equal(digits.train_labels[0], [7, NULL, NULL, NULL, NULL])


def test_a_run_on_the_miniature(miniature, tmp_path):
    small = SMALL | {"digits": "auto", "data_dir": str(miniature), "iterations": 8, "lr": 0.02, "validate_every": 100,
                     "parameters": 100_000, "decay_every": 100}
    _, _, images = loop.start(Config(model="house-cnn", data="svhn", **small), tmp_path / "run", progress=False)
    losses = [record["loss"] for record in run_folder.read_metrics(tmp_path / "run") if "loss" in record]
    assert images == 2 and losses[0] > 10 and losses[-1] < 0.9 * losses[0]


# What may be wrong


def test_without_h5py(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with raises(RuntimeError, "reading SVHN's digitStruct.mat, an HDF5 file, needs h5py: python -m pip install h5py"):
        load_svhn(tmp_path)


def test_no_folder(tmp_path):
    with raises(ValueError, "data_dir must name the folder with SVHN's train and test, which is not downloaded"):
        load_svhn(None)
    where = tmp_path / "nowhere"
    with raises(FileNotFoundError, f"{where} is missing: data_dir must name the folder with SVHN's train and test"):
        load_svhn(where)
    with raises(ValueError, "digits must not be 'embedded': the images are those of the folder with SVHN's train and "
                            "test"):
        load_svhn("anywhere", source="embedded")


def test_a_missing_struct(h5py, tmp_path):
    path = tmp_path / "train" / svhn.BOXES
    with raises(FileNotFoundError, f"{path} is missing: SVHN's folders train and test must each hold one"):
        load_svhn(tmp_path)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"<html>"])
def test_a_struct_that_is_no_hdf5(h5py, tmp_path, content):
    path = tmp_path / "digitStruct.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is not SVHN's digitStruct.mat: [^\n]+$"):
        read_boxes(path)


@pytest.mark.parametrize("field", ["digitStruct", "digitStruct/bbox", "digitStruct/name"])
def test_an_hdf5_file_of_something_else(h5py, tmp_path, field):
    path = tmp_path / "digitStruct.mat"
    write_struct(h5py, path, TRAIN[:2])
    with h5py.File(path, "a") as file:
        del file[field]
        if "/" in field:
            file[field] = np.zeros((2, 1))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is not SVHN's digitStruct.mat: [^\n]+$"):
        read_boxes(path)


def test_missing_and_damaged_images(miniature):
    photo = miniature / "train" / "2.png"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"^{re.escape(str(photo))} is not a PNG image: [^\n]+$"):
        load_svhn(miniature, progress=False)
    photo.unlink()
    with raises(FileNotFoundError, f"{photo} is missing: digitStruct.mat beside it names it"):
        load_svhn(miniature, progress=False)


def test_boxes_without_a_size_are_refused(h5py, miniature, monkeypatch):
    monkeypatch.setitem(BOXES, 1, [(5, 3, 0, 20)])
    write_struct(h5py, miniature / "train" / svhn.BOXES, TRAIN)
    path = miniature / "train" / svhn.BOXES
    with raises(ValueError, f"{path} is not SVHN's digitStruct.mat: 1.png has a box of 0 x 20 pixels"):
        load_svhn(miniature, progress=False)


def test_what_cannot_be_cropped(rng):
    image, boxes = rng.uniform(size=(9, 8, 3)), np.ones((2, 4))
    with raises(ValueError, "image must have shape (H, W, C), not (9, 8)"):
        crop(image[..., 0], boxes)
    with raises(TypeError, "image must be float32 or float64, not uint8"):
        crop(image.astype(np.uint8), boxes)
    with raises(ValueError, "boxes must have shape (n, 4), not (2, 3)"):
        crop(image, boxes[:, :3])
