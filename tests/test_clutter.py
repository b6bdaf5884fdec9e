"""Clutter: exact pieces of other digits, never of the image's own, and no more of them than asked for."""

import numpy as np
import pytest

from stn_scratch.backend import to_host
from stn_scratch.data.clutter import add_clutter
from stn_scratch.data.distort import distort

UNIT = 2.0 ** -20  # float32 holds whole multiples of it, and sums of six of them, exactly


def coded(count, side):
    """Digits whose every pixel has a value of its own: 1 + the pixel's number in the batch, in units."""
    return ((1 + np.arange(count * side * side)) * UNIT).reshape(count, side, side, 1).astype("float32")


def peel(clutter, digits, size):
    """Take the pieces off `clutter` (S, S) one by one -> [(digit, row, column of its piece, row, column on it)].

    The first bright pixel, row by row, is the upper left corner of a piece: its value says of which one. (No two
    pieces may begin on one pixel: the seeds here see to it.)
    """
    clutter, pieces = clutter.copy(), []
    while clutter.any():
        top, left = np.unravel_index(np.flatnonzero(clutter)[0], clutter.shape)
        b, row, column = np.unravel_index(round(float(clutter[top, left] / UNIT)) - 1, digits.shape[:3])
        piece = digits[b, row:row + size, column:column + size, 0]
        assert piece.shape == (size, size) and top + size <= len(clutter) and left + size <= len(clutter)
        clutter[top:top + size, left:left + size] -= piece
        assert clutter.min() >= 0
        pieces.append((b, row, column, top, left))
    return np.array(pieces)


@pytest.mark.parametrize("patches", [1, 2, 6])
def test_pieces_are_exact_and_of_other_digits(xp, patches):
    digits = coded(5, 9)
    black = np.zeros((5, 31, 31, 1), "float32")
    images = add_clutter(np.random.default_rng(1), xp.asarray(black), xp.asarray(digits), patches=patches, size=6)
    assert images.dtype == "float32"
    images = to_host(images)
    for b in range(5):
        pieces = peel(images[b, ..., 0], digits, 6)
        assert len(pieces) == patches
        assert b not in pieces[:, 0]


def test_pieces_come_from_everywhere_and_lie_everywhere():
    digits = coded(5, 9)
    black = np.zeros((5, 12, 12, 1), "float32")
    found = [[], [], [], []]
    for seed in range(60):
        images = add_clutter(np.random.default_rng(seed), black, digits, patches=1, size=6)
        for b in range(5):
            (other, row, column, top, left), = peel(images[b, ..., 0], digits, 6)
            for values, value in zip(found, ((b, other), (row, column), top, left), strict=True):
                values.append(value)
    assert set(found[0]) == {(b, other) for b in range(5) for other in range(5) if b != other}
    assert set(found[1]) == {(row, column) for row in range(4) for column in range(4)}
    assert set(found[2]) == set(found[3]) == set(range(7))


@pytest.mark.parametrize("size", [1, 4, 9])
def test_pieces_of_another_size(size):
    digits = coded(3, 9)
    images = add_clutter(np.random.default_rng(2), np.zeros((3, 20, 20, 1), "float32"), digits, patches=3, size=size)
    assert [len(peel(image[..., 0], digits, size)) for image in images] == [3, 3, 3]


def test_intensities_add_and_stop_at_one(xp):
    images = np.full((4, 10, 10, 1), 0.25, "float32")
    digits = np.full((4, 9, 9, 1), 0.5, "float32")
    result = to_host(add_clutter(np.random.default_rng(3), xp.asarray(images), xp.asarray(digits), patches=6, size=6))
    assert set(np.unique(result)) == {0.25, 0.75, 1.0}
    np.testing.assert_array_equal(images, np.full_like(images, 0.25))


def test_no_patches_leave_the_images(xp):
    images = np.random.default_rng(4).uniform(0, 1, (2, 10, 10, 1)).astype("float32")
    result = add_clutter(np.random.default_rng(4), xp.asarray(images), xp.asarray(coded(2, 9)), patches=0, size=6)
    np.testing.assert_array_equal(to_host(result), images)


def test_a_digit_alone_is_its_own_clutter(xp):
    digits = coded(1, 9)
    images = add_clutter(np.random.default_rng(5), xp.zeros((1, 30, 30, 1), dtype="float32"), xp.asarray(digits),
                         patches=6, size=6)
    assert len(peel(to_host(images)[0, ..., 0], digits, 6)) == 6


def test_two_digits_give_each_other(xp):
    digits = coded(2, 9)
    images = add_clutter(np.random.default_rng(6), xp.zeros((2, 30, 30, 1), dtype="float32"), xp.asarray(digits),
                         patches=4, size=6)
    for b in range(2):
        assert set(peel(to_host(images)[b, ..., 0], digits, 6)[:, 0]) == {1 - b}


@pytest.mark.parametrize("count", [2, 64, 65, 70, 129])
def test_tc_images_hold_six_pieces_of_other_digits(count, monkeypatch):
    """Through `distort`, whatever the number of digits: the digits themselves are left out, their clutter stays."""
    digits = coded(count, 28)
    black = np.zeros((count, 60, 60, 1), "float32")
    monkeypatch.setattr("stn_scratch.data.distort.place", lambda digits, **_: black[:len(digits)])
    images = distort("tc", np.random.default_rng(9), digits)
    for b in {0, count // 2, count - 1}:
        pieces = peel(images[b, ..., 0], digits, 6)
        assert len(pieces) == 6
        assert b not in pieces[:, 0], f"digit {b} of {count} is its own clutter"


def test_unclipped_clutter_differs_from_seed_to_seed():
    digits = coded(3, 9)
    black = np.zeros((3, 20, 20, 1), "float32")
    first, again, other = (add_clutter(np.random.default_rng(seed), black, digits, patches=6, size=6)
                           for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()
