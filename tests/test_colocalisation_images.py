"""The images of a co-localisation, the boxes in them and their overlap."""

import numpy as np
import pytest
from sentences import raises
from small_runs import few_digits

from stn_scratch.backend import to_host
from stn_scratch.colocalisation.images import DIGIT, boxes_of, draw_scene, overlap
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.sampling import sample_forward
from stn_scratch.training import batches


@pytest.fixture(scope="module")
def digits():
    return few_digits()


def split(xp, images, labels):
    return batches.Split(xp.asarray(images), xp.asarray(labels))


def scene(xp, digits, seed=0, *, clutter, images=5):
    return draw_scene(np.random.default_rng(seed), split(xp, digits.test_images, digits.test_labels),
                      split(xp, digits.train_images, digits.train_labels), label=3, images=images, clutter=clutter)


def cut(image, box):
    """The 28x28 pixels of a digit's frame."""
    left, top = (round(v - (DIGIT - 1) / 2) for v in box[:2])
    return image[top:top + DIGIT, left:left + DIGIT]


def test_t_has_a_digit_of_its_class_in_the_box_and_nothing_else(xp, digits):
    drawn = scene(xp, digits, clutter=False)
    images = to_host(drawn.images)
    threes = digits.test_images[digits.test_labels == 3]
    found = set()
    assert images.shape == (5, 84, 84, 1) and images.dtype == np.float32
    for image, box in zip(images, drawn.boxes, strict=True):
        inside = cut(image, box)
        apart = abs(threes - inside).max(axis=(1, 2, 3))
        assert apart.min() < 1e-5 and box[2] == 28
        found.add(int(apart.argmin()))
        assert abs(image.sum() - inside.sum()) < 1e-3
    assert len(found) == 5


def test_tc_adds_clutter_outside_too(xp, digits):
    plain, cluttered = (scene(xp, digits, clutter=clutter) for clutter in (False, True))
    np.testing.assert_array_equal(plain.boxes, cluttered.boxes)
    a, b = to_host(plain.images), to_host(cluttered.images)
    assert (b >= a).all() and b.max() <= 1
    touched = (b > a).sum(axis=(1, 2, 3))
    assert (touched > 40).all() and (touched <= 16 * 36).all()


def test_the_digits_may_be_anywhere(digits):
    boxes = np.concatenate([scene(np, digits, seed, clutter=False).boxes for seed in range(200)])
    for places in boxes[:, :2].T:
        assert set(places) == {k + 13.5 for k in range(57)}


def test_a_seed_gives_the_same_images_everywhere(xp, digits):
    first, again = scene(np, digits, clutter=True), scene(xp, digits, clutter=True)
    np.testing.assert_allclose(to_host(again.images), first.images, atol=1e-6)
    np.testing.assert_array_equal(again.boxes, first.boxes)
    assert (scene(np, digits, 1, clutter=True).images != first.images).any()


def test_too_few_digits(digits):
    count = int((digits.test_labels == 3).sum())
    with raises(ValueError, f"images must be at most {count}, the digits of class 3 that there are, not {count + 1}"):
        scene(np, digits, clutter=False, images=count + 1)


def test_a_window_on_the_box_cuts_out_the_digit(digits):
    drawn = scene(np, digits, clutter=False)
    p = np.concatenate([np.full((5, 1), 27 / 83), (drawn.boxes[:, :2] - 41.5) / 41.5], axis=1)
    np.testing.assert_allclose(boxes_of(p), drawn.boxes, rtol=1e-12)
    grid, _ = TRANSFORMATIONS["attention"].forward(p.astype("float32"), size=(28, 28), align_corners=True)
    V, _ = sample_forward(drawn.images, grid)
    for image, box, v in zip(drawn.images, drawn.boxes, V, strict=True):
        np.testing.assert_allclose(v, cut(image, box), atol=1e-4)


def test_boxes_of_other_windows():
    # at s = 1 the samples run from pixel 0 to 83, 83/27 apart, so the box is 28 of those wide; s < 0 mirrors it
    np.testing.assert_allclose(boxes_of(np.array([[1, 0, 0], [-0.5, 1, -1]])),
                               [[41.5, 41.5, 28 * 83 / 27], [83, 0, 14 * 83 / 27]], rtol=1e-12)


def test_overlap_by_counting_pixels(rng):
    a, b = (np.concatenate([rng.integers(10, 20, (20, 2)), 2 * rng.integers(1, 6, (20, 1))], axis=1) for _ in range(2))
    y, x = np.mgrid[:40, :40] + 0.5

    def mask(box):
        return (abs(x - box[0]) < box[2] / 2) & (abs(y - box[1]) < box[2] / 2)

    expected = [(mask(u) & mask(v)).sum() / (mask(u) | mask(v)).sum() for u, v in zip(a, b, strict=True)]
    assert 0 in expected and max(expected) > 0.5
    np.testing.assert_allclose(overlap(a, b), expected, rtol=1e-12)
