"""CUB-200-2011's folder, on a miniature: which photograph is whose, how it is resized, and what may be wrong."""

import matplotlib.image
import numpy as np
import pytest
from sentences import raises

from stn_scratch.data import birds
from stn_scratch.data.birds import load_birds, resized
from stn_scratch.data.tasks import TASKS

# number -> folder and name, class, for training, size (H, W)
BIRDS = {"1": ("001.Albatross/A_1.jpg", 1, 1, (20, 30)), "2": ("001.Albatross/A_2.jpg", 1, 0, (31, 17)),
         "3": ("001.Albatross/A_3.jpg", 1, 1, (8, 8)), "4": ("200.Yellowthroat/Y 1.jpg", 200, 1, (9, 40)),
         "5": ("200.Yellowthroat/Y 2.jpg", 200, 0, (16, 16)), "6": ("200.Yellowthroat/Y 3.jpg", 200, 1, (50, 50))}
LISTS = {"images.txt": 0, "image_class_labels.txt": 1, "train_test_split.txt": 2}


def plain(number):
    """The colour of photograph `number`."""
    return np.array([40 * int(number), 255 - 40 * int(number), 90], np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A miniature as the archive unpacks: each photograph of one colour, which JPEG keeps but for rounding."""
    for name, column in LISTS.items():
        (tmp_path / name).write_text("".join(f"{k} {bird[column]}\n" for k, bird in BIRDS.items()))
    for k, (name, _, _, size) in BIRDS.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        matplotlib.image.imsave(path, np.broadcast_to(plain(k), (*size, 3)).copy())
    return tmp_path


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_who_is_who(folder):
    read = load_birds(folder, source="auto", side=8)
    for images, labels, numbers in ((read.train_images, read.train_labels, "1346"),
                                    (read.test_images, read.test_labels, "25")):
        assert images.shape == (len(numbers), 8, 8, 3) and images.dtype == np.uint8
        assert labels.tolist() == [BIRDS[k][1] - 1 for k in numbers] and labels.dtype == np.int64
        for image, k in zip(images, numbers, strict=True):
            assert np.abs(image.astype(int) - plain(k)).max() <= 3  # JPEG's rounding
    assert read.source == f"CUB-200-2011 (4/2) from {folder}"
    # each is a group of its own, so of every class the last are held out
    _, kept, _, held = TASKS["cub"].hold_out(read, validation=2)
    assert kept.tolist() == held.tolist() == [0, 199]


def test_the_task_takes_them(folder):
    task = TASKS["cub"]
    read = task.load(str(folder), source="auto")
    x, labels = task.draw(None, read.test_images[:, None], read.test_labels[:, None])
    assert x.shape == (2, *task.in_shape) and labels.tolist() == [0, 199] and task.classes == 200


def test_a_grey_photograph(folder):
    """A few of CUB's are; matplotlib reads them as (H, W)."""
    pixels = np.full((12, 12), 200, np.uint8)
    birds_jpg = folder / "images" / BIRDS["1"][0]
    matplotlib.image.imsave(birds_jpg, pixels, cmap="gray", vmin=0, vmax=255)
    read = load_birds(folder, side=8)
    assert np.abs(read.train_images[0].astype(int) - 200).max() <= 3


def test_grey_pixels_become_three_colours(folder, monkeypatch):
    monkeypatch.setattr(birds, "imread", lambda path: np.arange(6, dtype=np.uint8).reshape(2, 3))
    pixels = birds._read(folder / "images.txt")
    np.testing.assert_array_equal(pixels, np.arange(6).reshape(2, 3, 1).repeat(3, axis=2))
    assert pixels.dtype == np.float32


def test_a_png_that_is_called_jpg(folder, rng):
    """Read without loss, so every pixel is what it was; side is its own, so none is moved."""
    pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    path = folder / "images" / BIRDS["3"][0]
    matplotlib.image.imsave(path, pixels, format="png")
    np.testing.assert_array_equal(load_birds(folder, side=8).train_images[1], pixels)


# Resizing


def test_every_pixel_counts_when_it_shrinks(rng):
    """To an even part of its size an image is averaged in windows; to another, between two pixels at a time."""
    image = rng.integers(0, 256, (12, 8, 3)).astype(np.float32)
    found = resized(image[:8], 4).astype(float)
    np.testing.assert_allclose(found, image[:8].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3)), rtol=0, atol=0.501)
    # 12x8 to 4x4: three rows a pixel, and three samples along the width, where 12 samples fall on 8 columns
    at = ((np.arange(12) + 0.5) * 8 / 12 - 0.5).clip(0, 7)
    m = np.minimum(np.floor(at).astype(int), 6)
    weight = (at - m)[:, None]
    finer = (1 - weight) * image[:, m] + weight * image[:, m + 1]
    np.testing.assert_allclose(resized(image, 4), finer.reshape(4, 3, 4, 3, 3).mean(axis=(1, 3)), rtol=0, atol=0.501)


@pytest.mark.parametrize("line, rows, columns", [
    ("6.0 2.0 3.0 5.0", (2, 7), (6, 9)), ("0.5 -1.0 2.0 3.5", (0, 3), (0, 3)), ("5 5 100 100", (5, 9), (5, 14)),
])
def test_the_pixels_of_a_box(folder, rng, line, rows, columns):
    photograph = rng.random((9, 14, 3))
    np.testing.assert_array_equal(birds._bird(photograph, line, folder), photograph[slice(*rows), slice(*columns)])


def test_nothing_beyond_the_photograph_darkens_it():
    image = np.full((7, 7, 1), 200, np.float32)
    np.testing.assert_array_equal(resized(image, 3), np.full((3, 3, 1), 200))


def test_an_enlarged_image_stays_within_its_values(rng):
    image = rng.integers(100, 200, (3, 4, 1)).astype(np.float32)
    found = resized(image, 9)
    assert found.min() >= 100 and found.max() < 200
    np.testing.assert_array_equal(found[[0, 0, -1, -1], [0, -1, 0, -1]], image[[0, 0, -1, -1], [0, -1, 0, -1]])


def test_birds_alone(folder):
    """Black but for a box of the bird's colour, which is all that is left."""
    lines = []
    for k, (name, _, _, (H, W)) in BIRDS.items():
        pixels = np.zeros((H, W, 3), np.uint8)
        pixels[2:6, 1:7] = plain(k)
        matplotlib.image.imsave(folder / "images" / name, pixels, format="png")
        lines.append(f"{k} 1.0 2.0 6.0 4.0\n")
    (folder / "bounding_boxes.txt").write_text("".join(lines))
    read = load_birds(folder, side=2, boxes=True)
    for image, k in zip(read.train_images, "1346", strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(plain(k), (2, 2, 3)))
    assert load_birds(folder, side=2).train_images.max() < 200


# What may be wrong


def test_nothing_there(tmp_path):
    what = "the folder of CUB-200-2011, with images.txt and images/"
    with raises(ValueError, f"data_dir must name {what}, which is not downloaded"):
        load_birds(None)
    with raises(FileNotFoundError, f"{tmp_path / 'none'} is missing: data_dir must name {what}"):
        load_birds(tmp_path / "none")


@pytest.mark.parametrize("name", LISTS)
def test_a_missing_list(folder, name):
    (folder / name).unlink()
    with raises(FileNotFoundError, f"{folder / name} is missing: the folder of CUB-200-2011 must hold it"):
        load_birds(folder, side=2)


@pytest.mark.parametrize("name", list(LISTS)[1:])
@pytest.mark.parametrize("old, new", [("3 1\n", ""), ("3 1\n", "7 1\n")])
def test_a_list_of_other_photographs(folder, name, old, new):
    replace(folder / name, old, new)
    with raises(ValueError, f"{folder / name} must have one line for each photograph of images.txt, its number first"):
        load_birds(folder, side=2)


@pytest.mark.parametrize("name, new, least, most", [
    ("image_class_labels.txt", "201", 1, 200), ("image_class_labels.txt", "0", 1, 200),
    ("image_class_labels.txt", "x", 1, 200), ("train_test_split.txt", "2", 0, 1)])
def test_a_number_out_of_range(folder, name, new, least, most):
    replace(folder / name, "3 1\n", f"3 {new}\n")
    with raises(ValueError, f"the lists in {folder} must hold whole numbers from {least} to {most} here, not {new!r}"):
        load_birds(folder, side=2)


def test_nothing_to_test_on(folder):
    replace(folder / "train_test_split.txt", " 0\n", " 1\n")
    with raises(ValueError, f"{folder / 'train_test_split.txt'} must name photographs for training (1) and test (0)"):
        load_birds(folder, side=2)


def test_a_missing_photograph(folder):
    path = folder / "images" / BIRDS["4"][0]
    path.unlink()
    with raises(FileNotFoundError, f"{path} is missing: images.txt names it"):
        load_birds(folder, side=2)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: b"rubbish", lambda content: content[:100]])
def test_a_damaged_photograph(folder, damage):
    path = folder / "images" / BIRDS["4"][0]
    path.write_bytes(damage(path.read_bytes()))
    with raises(ValueError, f"{path} is no photograph that can be read"):
        load_birds(folder, side=2)


@pytest.mark.parametrize("box", ["1 2 3", "1 2 0 4", "1 2 nan 4", "a b c d", "inf 2 3 4", "30 0 5 5", "-9 0 5 5"])
def test_a_box_that_is_none(folder, box):
    (folder / "bounding_boxes.txt").write_text("".join(f"{k} {box}\n" for k in BIRDS))
    with raises(ValueError, f"{folder / 'bounding_boxes.txt'} must hold x, y, width and height of a part of each "
                            f"photograph, in pixels, not {box!r} of one of 30x20"):
        load_birds(folder, side=2, boxes=True)
