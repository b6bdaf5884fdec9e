"""Creatures: one of each kind where the label says, alike on every device, nothing but the stripes to tell them by."""

import numpy as np
import pytest
from small_runs import fixed_set

from stn_scratch.backend import host_generator, to_host
from stn_scratch.data import fine_grained
from stn_scratch.data.fine_grained import CANVAS, CLASSES, MARGIN, draw_creatures, load_kinds
from stn_scratch.data.tasks import TASKS
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config

TASK = TASKS["fine-grained"]


@pytest.fixture
def kinds():
    """Kinds and labels of 18 creatures, two of each class, as `draw` gets them."""
    digits = load_kinds()
    return digits.train_images[:18, None], digits.train_labels[:18, None]


@pytest.fixture
def bare(monkeypatch):
    """Without noise and clutter."""
    monkeypatch.setattr(fine_grained, "NOISE", 0)
    monkeypatch.setattr(fine_grained, "add_clutter", lambda rng, images, digits, **_: images)


def draw(kinds, xp=np, seed=3):
    return draw_creatures(host_generator(seed), *map(xp.asarray, kinds))


# Kinds


def test_every_class_is_a_pair_of_kinds_equally_often():
    digits = load_kinds("anything", source="auto")
    for kinds, labels, each in ((digits.train_images, digits.train_labels, 2000),
                                (digits.test_images, digits.test_labels, 500)):
        np.testing.assert_array_equal(np.bincount(labels), [each] * CLASSES)
        np.testing.assert_array_equal(3 * kinds[:, 0] + kinds[:, 1], labels)
        assert kinds.shape == (len(labels), 2) and kinds.min() == 0 and kinds.max() == 2
    assert digits.source == "made here (18000/4500)"


def test_every_stretch_that_is_held_out_has_all_classes():
    _, _, _, labels = TASK.hold_out(load_kinds(), validation=9)
    assert sorted(labels.tolist()) == list(range(CLASSES))


# Parts, against their definition one pixel at a time


def stripes(shape, kind, x, y):
    """Brightness and cover of a part at x, y pixels of the image from its middle; its radius is 20/6 pixels."""
    radius = (3 * 7 - 1) / 2 / 3
    angle = (0, np.pi / 3, 2 * np.pi / 3)[kind]
    along = x * np.cos(angle) + y * np.sin(angle)
    inside = (np.hypot(x, y) <= 0.95 * radius if shape == "head" else
              abs(y) <= 0.72 * radius + 0.25 * x and abs(x) <= 0.95 * radius)
    return 0.55 + 0.45 * np.cos(2 * np.pi * along / 3), float(inside)


@pytest.mark.parametrize("shape", ["head", "tail"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_parts_are_striped_every_three_pixels(shape, kind):
    picture = {"head": fine_grained.HEADS, "tail": fine_grained.TAILS}[shape][kind]
    for n in range(21):
        for m in range(21):
            expected = stripes(shape, kind, (m - 10) / 3, (n - 10) / 3)
            np.testing.assert_allclose(picture[n, m], expected, rtol=0, atol=1e-12)


def test_the_stripes_are_all_that_tells_kinds_apart():
    for pictures in (fine_grained.HEADS, fine_grained.TAILS):
        for picture in pictures[1:]:
            np.testing.assert_array_equal(picture[..., 1], pictures[0, ..., 1])
            assert (np.abs(picture[..., 0] - pictures[0, ..., 0]) > 0.05)[picture[..., 1] == 1].mean() > 0.7


# Images


@pytest.fixture
def centres(monkeypatch):
    """Where each head and tail is put: [(x, y) of the heads, (x, y) of the tails]."""
    found, add_part = [], fine_grained._add_part
    monkeypatch.setattr(fine_grained, "_add_part", lambda rng, images, pictures, x, y: found.append((x, y))
                        or add_part(rng, images, pictures, x, y))
    return found


def test_places_and_stripes(bare, kinds, centres, monkeypatch):
    """Each part is where the generator says, and its pixels have the brightness of its kind, whatever is below."""
    place = fine_grained.place

    def upright(pictures, *, angle, scale, **options):
        part = pictures.shape[1] == 21
        return place(pictures, angle=0 * angle if part else angle, scale=0 * scale + 1 / 3 if part else scale,
                     **options)

    monkeypatch.setattr(fine_grained, "place", upright)
    images, labels = draw(kinds)
    np.testing.assert_array_equal(labels, np.tile(np.arange(CLASSES), 2))
    head, tail = np.array(centres)
    for b, (k, _) in enumerate(zip(kinds[0][:, 0], labels, strict=True)):
        for shape, kind, (x, y), left in (("head", k[0], head[:, b], 0), ("tail", k[1], tail[:, b], CANVAS / 2)):
            assert left + MARGIN - 0.5 <= x <= left + CANVAS / 2 - MARGIN - 0.5
            assert MARGIN - 0.5 <= y <= CANVAS - MARGIN - 0.5
            # well inside, where the cover is 1 and nothing else is seen
            inside = [(n, m) for n in range(CANVAS) for m in range(CANVAS) if all(
                stripes(shape, kind, m - x + dx, n - y + dy)[1] for dx in (-0.5, 0.5) for dy in (-0.5, 0.5))]
            assert len(inside) >= 8
            found = [images[b, n, m, 0] for n, m in inside]
            expected = [stripes(shape, kind, m - x, n - y)[0] for n, m in inside]
            # the sampler reads between the picture's pixels, a third of the image's: straight lines for the cosine
            np.testing.assert_allclose(found, expected, rtol=0, atol=0.03)


def test_head_and_tail_lie_everywhere_in_their_halves(bare, centres):
    draw((np.zeros((400, 1, 2), int), np.zeros((400, 1), int)))
    for (x, y), left in zip(centres, (0, 32), strict=True):
        counts, _, _ = np.histogram2d(x, y, bins=3, range=[[left + 6.5, left + 24.5], [6.5, 56.5]])
        assert counts.sum() == 400 and counts.min() > 20


def test_the_body_joins_head_and_tail(bare, kinds, centres):
    """Grey along the line from one to the other; to its sides, nothing beyond a quarter of its length and soft edge."""
    images, _ = draw(kinds)
    (heads, tails), (rows, columns) = np.array(centres), np.mgrid[:CANVAS, :CANVAS]
    for image, head, tail in zip(images[..., 0], heads.T, tails.T, strict=True):
        along, middle = tail - head, (head + tail) / 2
        length = np.hypot(*along)
        x, y = columns - middle[0], rows - middle[1]
        beside = np.abs(x * along[1] - y * along[0]) / length
        on_line = (beside < 0.5) & (np.hypot(x, y) < 0.3 * length)
        assert on_line.sum() > 5 and np.abs(image[on_line] - 0.45).max() < 1e-6
        # a pixel of the body's picture, its edge, is a 16th of the length; a turned tail reaches 6 pixels
        assert (image[beside > max(5 / 16 * length, 6.5)] == 0).all()


def test_noise_and_clutter(kinds, monkeypatch):
    """The noise is drawn last: without it the images are the same otherwise."""
    noisy, asked = draw(kinds)[0], []
    assert noisy.min() == 0 and noisy.max() == 1
    monkeypatch.setattr(fine_grained, "NOISE", 0)
    clean, _ = draw(kinds)
    noise = (noisy - clean)[(clean > 0.4) & (clean < 0.6)]  # where nothing is cut off
    assert len(noise) > 4000 and abs(noise.std() - 0.1) < 0.004 and abs(noise.mean()) < 0.004
    monkeypatch.setattr(fine_grained, "add_clutter", lambda rng, images, digits, **options: asked.append(options)
                        or images)
    bare = draw(kinds)[0]
    assert (clean >= bare).all() and (clean > bare).any(axis=(1, 2, 3)).sum() > 9  # clutter only adds
    assert asked == [{"patches": 6, "size": 6}]


def test_half_the_resolution_hides_the_stripes(bare, monkeypatch):
    """It leaves nearly all of what is coarse, such as whether there is a head; of the stripes half, as of noise."""
    def heads():
        return draw((np.zeros((64, 1, 2), int), np.zeros((64, 1), int)))[0]

    def left(whole):
        half = whole.reshape(64, 32, 2, 32, 2).mean(axis=(2, 4))
        return np.sqrt(4 * (half ** 2).sum() / (whole ** 2).sum())

    images, stripes = [], fine_grained.HEADS
    for picture in (*stripes, 0 * stripes[0], stripes.mean() * np.ones_like(stripes[0])):
        monkeypatch.setattr(fine_grained, "HEADS", picture[None])
        images.append(heads())
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert left(images[one] - images[other]) < 0.6
    assert left(images[4] - images[3]) > 0.8


# As every task


def test_seeds_and_devices(xp, kinds):
    first, again, other = (to_host(draw(kinds, xp, seed)[0]) for seed in (3, 3, 4))
    assert first.dtype == "float32" and first.shape == (18, *TASK.in_shape)
    # what the GPU scatters may differ in its last bits
    np.testing.assert_allclose(first, again, rtol=0, atol=1e-6)
    np.testing.assert_allclose(first, draw(kinds)[0], rtol=0, atol=1e-5)
    assert (first != other).any(axis=(1, 2, 3)).all()


def test_no_image_is_in_two_splits(monkeypatch):
    monkeypatch.setattr(fine_grained, "TRAINING", 45)
    monkeypatch.setattr(fine_grained, "TEST", 18)
    splits = batches.splits(load_kinds(), "fine-grained", validation=0.4, device="cpu")
    sets = [fixed_set(splits[purpose], "fine-grained", seed=0, purpose=purpose)[0]
            for purpose in (batches.TRAINING, batches.VALIDATION, batches.TEST)]
    images = {image.tobytes() for images in sets for image in images}
    assert [len(x) for x in sets] == [27, 18, 18] and len(images) == 63


def test_it_trains(monkeypatch, tmp_path):
    monkeypatch.setattr(fine_grained, "TRAINING", 45)
    monkeypatch.setattr(fine_grained, "TEST", 18)
    config = Config(model="2st-cnn", data="fine-grained", parameters=30_000, iterations=40, batch=16, threads=1,
                    log_every=20, lr=0.02, localisation_factor=0.01)
    run, _, images = loop.start(config, tmp_path, progress=False)
    first, last = (record["loss"] for record in run_folder.read_metrics(run.folder) if "loss" in record)
    assert images == 18 and last < first
