"""Distortion E: `warp` on pictures, against a scalar oracle and where one knows the answer; and what is drawn."""

import math

import checks_of_thin_plate
import numpy as np
import pytest

from stn_scratch.backend import to_host
from stn_scratch.data import distort as module
from stn_scratch.data import load_digits
from stn_scratch.data.distort import FRAME, distort, draw_e, place, stretch, warp

CANVAS = 42
RECORDED = 20_000


@pytest.fixture(scope="module")
def drawn():
    """The scales (RECORDED,) and displacements (RECORDED, 16, 2) of many draws."""
    noted = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "warp", lambda digits, *, canvas, **arguments: noted.update(arguments))
        draw_e(np.random.default_rng(0), np.zeros((RECORDED, 28, 28, 1), "float32"), CANVAS)
    return noted


def ramp(H, W):
    """A digit (1, H, W, 2) that says where it is read, between pixels too: column, row."""
    return np.stack(np.broadcast_arrays(np.arange(W), np.arange(H)[:, None]), axis=-1)[None].astype("float64")


def still(B, K=16):
    return np.zeros((B, K, 2))


# The picture.

def warped_by_hand(digit, canvas, scale, grid):
    """`warp` for one digit (H, W, C), number by number; grid (2, canvas, canvas): the bent canvas."""
    H, W, C = digit.shape
    image = np.zeros((canvas, canvas, C))
    for row, column in np.ndindex(canvas, canvas):
        # -1 and 1 are the frame's edges, half a pixel outside its first and last pixel
        m, n = ((u / scale + 1) * size / 2 - 0.5 for u, size in zip(grid[:, row, column], (W, H), strict=True))
        for i in (math.floor(n), math.floor(n) + 1):
            for j in (math.floor(m), math.floor(m) + 1):
                if 0 <= i < H and 0 <= j < W:
                    image[row, column] += digit[i, j] * (1 - abs(n - i)) * (1 - abs(m - j))
    return image


@pytest.mark.parametrize(("H", "W"), [(5, 9), (8, 6), (7, 7)])
def test_warp_is_what_bookstein_says(xp, rng, H, W):
    B, canvas = 3, 11
    digits, scale = rng.uniform(0, 1, (B, H, W, 2)), rng.uniform(0.5, 1.5, B)
    displacement = rng.normal(0, 1.0, (B, 16, 2))
    images = warp(xp.asarray(digits), canvas=canvas, scale=scale, displacement=displacement)
    bent = checks_of_thin_plate.dense_grid(displacement / (canvas / 2), (canvas, canvas), align_corners=False)
    expected = [warped_by_hand(digit, canvas, s, grid) for digit, s, grid in zip(digits, scale, bent, strict=True)]
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(to_host(images), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_points_that_stay_leave_an_enlargement(xp, rng, dtype, atol):
    """It is `place` in the middle, upright, and keeps the dtype."""
    digits, scale = rng.uniform(0, 1, (3, 8, 8, 2)).astype(dtype), np.array([0.75, 0.9, 1.0])
    images = warp(xp.asarray(digits), canvas=CANVAS, scale=scale, displacement=still(3))
    middle = np.full(3, (CANVAS - 1) / 2)
    expected = place(digits, canvas=CANVAS, angle=np.zeros(3), scale=scale * CANVAS / 8, x=middle, y=middle)
    assert images.dtype == dtype
    np.testing.assert_allclose(to_host(images), expected, rtol=0, atol=atol)


def test_the_frame_of_any_shape_fills_the_canvas(xp, rng):
    """Without perspective or bending `stretch` and `warp` are one, for a digit that is no square, too."""
    digits = rng.uniform(0, 1, (1, 5, 9, 2))
    images = warp(xp.asarray(digits), canvas=20, scale=np.array([0.8]), displacement=still(1))
    expected = stretch(digits, canvas=20, corners=9.5 + 0.8 * 10 * FRAME[None])
    np.testing.assert_allclose(to_host(images), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.8])
def test_all_points_alike_move_the_picture(xp, rng, scale):
    """Read 3 canvas pixels to the right and 2 further up, whatever the scale: the picture moves the other way."""
    digits, scale = xp.asarray(rng.uniform(0, 1, (1, 9, 7, 1))), np.array([scale])
    unmoved = to_host(warp(digits, canvas=CANVAS, scale=scale, displacement=still(1)))
    moved = to_host(warp(digits, canvas=CANVAS, scale=scale, displacement=still(1) + [3, -2]))
    np.testing.assert_allclose(moved[:, 2:, :-3], unmoved[:, :-2, 3:], rtol=0, atol=1e-11)
    assert abs(moved - unmoved).max() > 0.3


@pytest.mark.parametrize(("H", "W"), [(CANVAS, CANVAS), (21, 84)])
def test_one_control_point_is_read_where_it_was_moved(xp, H, W):
    """Of 5 x 5 points, four stand on pixels 10 and 31 of a canvas of 42. One of them moves, the others do not."""
    displacement = still(1, 25)
    displacement[0, 5 * 1 + 3] = 2.25, -1.5
    image = to_host(warp(xp.asarray(ramp(H, W)), canvas=CANVAS, scale=np.ones(1), displacement=displacement))[0]
    for row, column, x, y in [(10, 31, 33.25, 8.5), (10, 10, 10, 10), (31, 10, 10, 31), (31, 31, 31, 31)]:
        expected = (x + 0.5) * W / CANVAS - 0.5, (y + 0.5) * H / CANVAS - 0.5
        np.testing.assert_allclose(image[row, column], expected, rtol=0, atol=1e-10)


def test_each_image_has_its_own_scale_and_points(xp, rng):
    digits, scale = xp.asarray(rng.uniform(0, 1, (3, 6, 6, 1))), np.array([0.7, 1.0, 1.3])
    displacement = rng.normal(0, 2, (3, 16, 2))
    together = to_host(warp(digits, canvas=17, scale=scale, displacement=displacement))
    for b in range(3):
        alone = warp(digits[b:b + 1], canvas=17, scale=scale[b:b + 1], displacement=displacement[b:b + 1])
        np.testing.assert_allclose(together[b:b + 1], to_host(alone), rtol=0, atol=1e-12)


# What is drawn.

def test_the_scale_is_uniform(drawn):
    assert drawn["scale"].shape == (RECORDED,)
    quantiles = np.quantile(drawn["scale"], np.linspace(0, 1, 6))
    assert abs(quantiles - np.linspace(0.75, 1, 6)).max() < 0.004


def test_16_points_move_by_a_normal(drawn):
    displacement = drawn["displacement"]
    assert displacement.shape == (RECORDED, 16, 2)
    assert abs(displacement.mean(axis=0)).max() < 0.05 and abs(displacement.std(axis=0) - 1.5).max() < 0.04
    assert abs(np.quantile(displacement, [0.1587, 0.8413]) - [-1.5, 1.5]).max() < 0.02


def test_scale_and_points_are_independent(drawn):
    values = np.column_stack([drawn["scale"], drawn["displacement"].reshape(RECORDED, 32)])
    assert abs(np.corrcoef(values.T) - np.eye(33)).max() < 0.04


def test_digits_stay_on_the_canvas_upright_and_unmirrored():
    """Most ink stays; and a digit resembles its plain enlargement more than the mirrored or turned ones."""
    digits = load_digits(source="embedded").test_images[:70]
    images = distort("e", np.random.default_rng(8), digits)[..., 0]
    plain = warp(digits, canvas=CANVAS, scale=np.ones(70), displacement=still(70))[..., 0]
    likeness = [(images * view).sum() for view in (plain, plain[:, :, ::-1], plain[:, ::-1], plain[:, ::-1, ::-1])]
    assert likeness[0] == max(likeness)
    ink = images.sum(axis=(1, 2)) / plain.sum(axis=(1, 2))  # about the scale squared, 0.56 to 1
    assert ink.min() > 0.4 and 0.7 < ink.mean() < 0.85
