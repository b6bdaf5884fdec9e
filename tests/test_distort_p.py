"""Distortion P: the homography of four corners, `stretch` on pictures, and what is drawn."""

import math

import numpy as np
import pytest

from stn_scratch.backend import to_host
from stn_scratch.data import distort as module
from stn_scratch.data import load_digits
from stn_scratch.data.distort import FRAME, distort, draw_p, homography, place, stretch
from stn_scratch.grids.projective import projective_grid_forward

CANVAS = 42
RECORDED = 20_000


@pytest.fixture(scope="module")
def digits():
    return load_digits(source="embedded").test_images[:70]


@pytest.fixture(scope="module")
def drawn():
    """The corners (RECORDED, 4, 2) of many draws."""
    noted = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "stretch", lambda digits, *, canvas, corners: noted.append(corners))
        draw_p(np.random.default_rng(0), np.zeros((RECORDED, 28, 28, 1), "float32"), CANVAS)
    return noted[0]


def mapped(theta, x, y):
    """One point through one homography, number by number."""
    h11, h12, h13, h21, h22, h23, h31, h32 = theta
    w = h31 * x + h32 * y + 1
    return (h11 * x + h12 * y + h13) / w, (h21 * x + h22 * y + h23) / w


def corners_of(angle, side, x, y):
    """The frame, turned clockwise by `angle` about its centre (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[(x + side / 2 * (cos * u - sin * v), y + side / 2 * (sin * u + cos * v)) for u, v in FRAME]])


# The homography.

def test_points_land_on_their_images(rng):
    points, images = (FRAME + rng.normal(0, 0.2, (50, 4, 2)) for _ in range(2))
    theta = homography(points, images)
    assert theta.shape == (50, 8) and theta.dtype == "float64"
    for b in range(50):
        for point, image in zip(points[b], images[b], strict=True):
            np.testing.assert_allclose(mapped(theta[b], *point), image, rtol=0, atol=1e-9)


def test_a_known_homography_is_found_again(rng):
    theta = np.concatenate([np.eye(3)[None, :2].reshape(1, 6) + rng.normal(0, 0.2, (20, 6)),
                            rng.uniform(-0.3, 0.3, (20, 2))], axis=1)
    points = FRAME + rng.normal(0, 0.2, (20, 4, 2))
    images = np.array([[mapped(h, *point) for point in four] for h, four in zip(theta, points, strict=True)])
    np.testing.assert_allclose(homography(points, images), theta, rtol=0, atol=1e-9)


def test_the_frame_onto_itself_is_the_identity():
    np.testing.assert_allclose(homography(FRAME[None], FRAME), [(1, 0, 0, 0, 1, 0, 0, 0)], rtol=0, atol=1e-15)


# The picture.

@pytest.fixture
def grids(monkeypatch):
    """Let `stretch` note its grid."""
    noted = []

    def note(theta, **options):
        noted.append(projective_grid_forward(theta, **options))
        return noted[-1]

    monkeypatch.setattr(module, "projective_grid_forward", note)
    return noted


def test_the_canvas_corners_read_the_digit_corners(xp, rng, grids):
    """Corners on canvas pixels: those pixels read the digit's frame corners, (-1, -1) top left and on clockwise."""
    corners = np.array([[(3, 5), (36, 2), (38, 33), (6, 39)], [(0, 8), (30, 1), (41, 40), (9, 35)]])
    stretch(xp.asarray(rng.uniform(0, 1, (2, 6, 9, 1))), canvas=CANVAS, corners=corners.astype("float64"))
    grid = to_host(grids[0][0])
    for b in range(2):
        for (column, row), source in zip(corners[b], FRAME, strict=True):
            np.testing.assert_allclose(grid[b, :, row, column], source, rtol=0, atol=1e-9)


@pytest.mark.parametrize("angle", [0, 0.3, -1.2, 2.5])
def test_a_square_frame_is_place(xp, rng, angle):
    """Without perspective it is the affine placement of R and RTS: turned clockwise, scaled, moved."""
    digits = xp.asarray(rng.uniform(0, 1, (1, 8, 8, 2)))
    images = stretch(digits, canvas=20, corners=corners_of(angle, 8 * 1.4, 9.0, 11.5))
    expected = place(digits, canvas=20, angle=np.array([angle]), scale=np.array([1.4]), x=np.array([9.0]),
                     y=np.array([11.5]))
    np.testing.assert_allclose(to_host(images), to_host(expected), rtol=0, atol=1e-12)


def test_the_far_side_is_small(xp):
    """A trapezium, narrow at the top: of two equal bars the upper one is drawn narrower and thinner."""
    digits = np.zeros((1, 28, 28, 1))
    digits[0, [4, 5, 6, 21, 22, 23], 4:24] = 1
    corners = np.array([[(12.5, 4.5), (28.5, 4.5), (40.5, 36.5), (0.5, 36.5)]])
    image = to_host(stretch(xp.asarray(digits), canvas=CANVAS, corners=corners))[0, :, :, 0]
    bright = np.flatnonzero(image.max(axis=1) > 0.5)
    cut = np.diff(bright).argmax() + 1
    upper, lower = bright[:cut], bright[cut:]
    assert np.diff(bright).max() > 5 and 0 < len(upper) < 0.8 * len(lower)
    widths = [(image[rows].max(axis=0) > 0.5).sum() for rows in (upper, lower)]
    assert 0 < widths[0] < 0.7 * widths[1]


# What is drawn.

def test_scale_and_corners_have_their_distributions(drawn):
    """Opposite corners: the frame cancels in their sum, which leaves two normals; the difference gives the scale."""
    moves = (drawn[:, :2] + drawn[:, 2:] - (CANVAS - 1)) / math.sqrt(2)
    assert abs(moves.mean()) < 0.1 and abs(moves.std() - 5) < 0.05
    assert abs(np.quantile(moves, [0.1587, 0.8413]) - [-5, 5]).max() < 0.15
    scale = (drawn[:, 2:] - drawn[:, :2]).reshape(RECORDED, 4) / CANVAS * [1, 1, -1, 1]
    scale = scale.mean(axis=1)  # of four, each with noise 5 sqrt(2) / 42
    assert abs(scale.mean() - 0.875) < 0.002
    assert abs(scale.var() - (0.25 ** 2 / 12 + 2 * (5 / CANVAS) ** 2 / 4)) < 0.0006


def test_the_horizon_is_outside_the_frame(drawn):
    """All corners have w > 0; so has everything between them."""
    theta = homography((drawn - (CANVAS - 1) / 2) / (CANVAS / 2), FRAME)
    points = (drawn - (CANVAS - 1) / 2) / (CANVAS / 2)
    w = theta[:, 6:7] * points[..., 0] + theta[:, 7:] * points[..., 1] + 1
    assert w.min() > 0.05


class Scripted:
    """A generator of given moves; `asked` are the shapes."""

    def __init__(self, *moves):
        self.moves, self.asked = list(moves), []

    def uniform(self, low, high, size):
        return np.full(size, (low + high) / 2)

    def normal(self, mean, sigma, shape):
        self.asked.append((mean, sigma, shape))
        return np.broadcast_to(self.moves.pop(0), shape)


@pytest.mark.parametrize("corner, x, y, folded", [
    (0, 40, 0, True),  # over the next corner: the frame crosses itself
    (2, -25, -25, True),  # through the middle: a dart
    (1, -17, 17, True),  # nearly on the line of its neighbours
    (1, -16, 16, False),
])
def test_a_folded_frame_is_drawn_again(monkeypatch, corner, x, y, folded):
    """It alone, until it is not folded; its scale stays."""
    noted = []
    monkeypatch.setattr(module, "stretch", lambda digits, *, canvas, corners: noted.append(corners))
    moves = np.zeros((3, 4, 2))
    moves[1, corner] = x, y
    rng = Scripted(moves, moves[1:2], np.ones((1, 4, 2)))
    draw_p(rng, np.zeros((3, 28, 28, 1)), CANVAS)
    assert rng.asked == [(0, 5, (3, 4, 2))] + [(0, 5, (1, 4, 2))] * (2 * folded)
    frame = 20.5 + 0.875 * 21 * FRAME
    np.testing.assert_allclose(noted[0], [frame, frame + (1 if folded else moves[1]), frame], rtol=0, atol=1e-12)


def test_a_mirrored_frame_and_one_beside_the_middle_are_drawn_again(monkeypatch):
    monkeypatch.setattr(module, "stretch", lambda *args, **options: None)
    mirrored = 2 * 0.875 * 21 * np.array([(1, 0), (-1, 0), (-1, 0), (1, 0)])
    rng = Scripted(np.stack([mirrored, np.tile([30, 0], (4, 1)), np.zeros((4, 2))]), np.zeros((2, 4, 2)))
    draw_p(rng, np.zeros((3, 28, 28, 1)), CANVAS)
    assert [shape for *_, shape in rng.asked] == [(3, 4, 2), (2, 4, 2)]


def test_digits_stay_on_the_canvas_upright_and_unmirrored(digits):
    """Most ink stays; and a digit resembles its plain enlargement more than the mirrored or turned ones."""
    images = distort("p", np.random.default_rng(8), digits)[..., 0]
    whole = corners_of(0, CANVAS, 20.5, 20.5).repeat(70, axis=0)
    plain = stretch(digits, canvas=CANVAS, corners=whole)[..., 0]
    likeness = [(images * view).sum() for view in (plain, plain[:, :, ::-1], plain[:, ::-1], plain[:, ::-1, ::-1])]
    assert likeness[0] == max(likeness)
    assert images.sum() > 0.6 * plain.sum()
