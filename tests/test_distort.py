"""Distorted digits: `place` against a scalar oracle, what all distortions share, and what R, RTS and TC draw."""

import math

import numpy as np
import pytest

from stn_scratch.backend import to_host
from stn_scratch.data import load_digits
from stn_scratch.data.distort import DISTORTIONS, distort, draw_r, draw_rts, draw_tc, place

NAMES = list(DISTORTIONS)
SIDES = {"none": 28, "r": 42, "rts": 42, "tc": 60, "p": 42, "e": 42}
RECORDED = 2000  # draws: enough to come close to both ends of every range


@pytest.fixture(scope="module")
def digits():
    """Real digits; 70 are one full part of `distort` and a part of six."""
    return load_digits(source="embedded").test_images[:70]


@pytest.fixture
def placed(monkeypatch):
    """Let `place` only note its arguments, and give black images."""
    calls = []

    def note(digits, *, canvas, **arguments):
        calls.append(arguments)
        return np.zeros((len(digits), canvas, canvas, digits.shape[3]), digits.dtype)

    monkeypatch.setattr("stn_scratch.data.distort.place", note)
    return calls


def placed_by_hand(digit, canvas, angle, scale, x, y):
    """`place` for one digit (H, W, C), number by number.

    A canvas pixel, seen from the digit's centre, is turned back (anticlockwise) and shrunk; the digit is read there.
    """
    H, W, C = digit.shape
    image = np.zeros((canvas, canvas, C))
    for row in range(canvas):
        for column in range(canvas):
            right, down = column - x, row - y
            m = (right * math.cos(angle) + down * math.sin(angle)) / scale + (W - 1) / 2
            n = (down * math.cos(angle) - right * math.sin(angle)) / scale + (H - 1) / 2
            for i in (math.floor(n), math.floor(n) + 1):
                for j in (math.floor(m), math.floor(m) + 1):
                    if 0 <= i < H and 0 <= j < W:
                        image[row, column] += digit[i, j] * (1 - abs(n - i)) * (1 - abs(m - j))
    return image


@pytest.mark.parametrize(("H", "W"), [(5, 9), (8, 6), (7, 7)])
def test_place_is_what_geometry_says(xp, rng, H, W):
    B, canvas = 4, 14
    digits = rng.uniform(0, 1, (B, H, W, 2))
    angle, scale = rng.uniform(-3, 3, B), rng.uniform(0.5, 1.8, B)
    x, y = rng.uniform(2, 11, (2, B))
    images = place(xp.asarray(digits), canvas=canvas, angle=angle, scale=scale, x=x, y=y)
    expected = [placed_by_hand(*values) for values in zip(digits, [canvas] * B, angle, scale, x, y, strict=True)]
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(to_host(images), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("quarters", "right", "down"), [(0, 3, 1), (1, -1, 3), (2, -3, -1), (3, 1, -3)])
def test_a_bright_pixel_turns_clockwise(xp, quarters, right, down):
    """Three pixels right of the centre and one below: a quarter clockwise puts it three below and one to the left."""
    digit = np.zeros((1, 7, 11, 1))
    digit[0, 3 + 1, 5 + 3] = 1
    images = place(xp.asarray(digit), canvas=20, angle=np.array([quarters * np.pi / 2]), scale=np.ones(1),
                   x=np.array([8.0]), y=np.array([11.0]))
    expected = np.zeros((1, 20, 20, 1))
    expected[0, 11 + down, 8 + right] = 1
    np.testing.assert_allclose(to_host(images), expected, rtol=0, atol=1e-12)


def test_scale_enlarges(xp):
    """Twice the size: the pixel 2 right of the centre stands 4 right of it, and its tent reaches 2 pixels."""
    digit = np.zeros((1, 7, 7, 1))
    digit[0, 3, 5] = 1
    middle = np.array([9.0])
    image = to_host(place(xp.asarray(digit), canvas=19, angle=np.zeros(1), scale=np.array([2.0]), x=middle, y=middle))
    np.testing.assert_allclose(image[0, 9, :, 0], [0] * 12 + [0.5, 1, 0.5] + [0] * 4, rtol=0, atol=1e-12)
    np.testing.assert_allclose(image[0, :, 13, 0], [0] * 8 + [0.5, 1, 0.5] + [0] * 8, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-12), ("float32", 1e-5)])
def test_identity_placement_copies(xp, rng, dtype, atol):
    digits = rng.uniform(0, 1, (3, 8, 8, 1)).astype(dtype)
    unmoved = {"angle": np.zeros(3), "scale": np.ones(3), "y": np.full(3, 3.5)}
    whole = place(xp.asarray(digits), canvas=8, x=np.full(3, 3.5), **unmoved)
    assert whole.dtype == dtype
    np.testing.assert_allclose(to_host(whole), digits, rtol=0, atol=atol)
    # in a corner of a larger canvas: a copy, and black around it
    corner = place(xp.asarray(digits), canvas=13, x=np.full(3, 8.5), **unmoved)
    expected = np.pad(digits, ((0, 0), (0, 5), (5, 0), (0, 0)))
    np.testing.assert_allclose(to_host(corner), expected, rtol=0, atol=atol)


# What is drawn


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shape_dtype_and_range(xp, digits, name, dtype):
    images = distort(name, np.random.default_rng(1), xp.asarray(digits.astype(dtype)))
    assert images.shape == (70, SIDES[name], SIDES[name], 1) and images.dtype == dtype
    images = to_host(images)
    assert images.min() >= 0 and 0.9 < images.max() <= 1 + 1e-6  # four weights may add up to 1 and a last bit
    assert (images.max(axis=(1, 2, 3)) > 0.5).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_on_every_device(xp, digits, name):
    images = distort(name, np.random.default_rng(2), xp.asarray(digits))
    expected = distort(name, np.random.default_rng(2), digits)
    np.testing.assert_allclose(to_host(images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_a_seed_fixes_the_images(digits, name):
    first, again, other = (distort(name, np.random.default_rng(seed), digits) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()
    # no two of the same digit look alike, in the same part of the batch or in another
    alike = distort(name, np.random.default_rng(3), np.repeat(digits[:1], 130, axis=0))
    assert len({image.tobytes() for image in alike}) == 130


def test_none_copies_the_digits(digits):
    np.testing.assert_array_equal(distort("none", np.random.default_rng(0), digits), digits)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 130])
def test_any_number_of_digits_in_their_order(count):
    """Digit k is a square of brightness (k + 1) / 200: distorted, it keeps its place in the batch."""
    brightness = np.arange(1, count + 1, dtype="float32") / 200
    digits = np.zeros((count, 28, 28, 1), "float32")
    digits[:, 8:20, 8:20] = brightness[:, None, None, None]
    for name in ("none", "r", "rts"):
        images = distort(name, np.random.default_rng(5), digits)
        assert images.shape[0] == count
        np.testing.assert_allclose(images.max(axis=(1, 2, 3)), brightness, rtol=1e-4)


@pytest.mark.parametrize("name", ["", "RTS", "rst", None, 3, ["r"]], ids=repr)
def test_unknown_distortion(digits, name):
    with pytest.raises(ValueError, match="^name must be one of 'none', 'r', 'rts', 'tc', 'p', 'e', not ") as error:
        distort(name, np.random.default_rng(0), digits)
    assert "\n" not in str(error.value)


def covers(values, low, high):
    """`values` lie in [low, high], come close to both ends and are spread evenly."""
    width = high - low
    assert low <= values.min() < low + 0.01 * width and high - 0.01 * width < values.max() <= high
    counts, _ = np.histogram(values, 10, (low, high))
    assert (counts > 0.5 * len(values) / 10).all()


def test_r_covers_its_range(placed):
    draw_r(np.random.default_rng(0), np.zeros((RECORDED, 28, 28, 1), "float32"), 42)
    covers(placed[0]["angle"], -np.pi / 2, np.pi / 2)
    assert (placed[0]["scale"] == 1.5).all() and (placed[0]["x"] == 20.5).all() and (placed[0]["y"] == 20.5).all()


def test_rts_covers_its_range_and_stays_in_the_canvas(placed):
    draw_rts(np.random.default_rng(0), np.zeros((RECORDED, 28, 28, 1), "float32"), 42)
    angle, scale, x, y = (placed[0][name] for name in ("angle", "scale", "x", "y"))
    covers(angle, -np.pi / 4, np.pi / 4)
    covers(scale, 0.7, 1.2)
    margin = (42 - 28 * scale) / 2
    covers((x - 20.5) / margin, -1, 1)
    covers((y - 20.5) / margin, -1, 1)
    for position in (x, y):
        # the scaled frame's outer edges, on a canvas whose own are -0.5 and 41.5
        assert (position - 14 * scale).min() >= -0.5 - 1e-9 and (position + 14 * scale).max() <= 41.5 + 1e-9
    assert abs(np.corrcoef([angle, scale, x, y]) - np.eye(4)).max() < 0.1


def test_tc_covers_whole_pixels(placed, monkeypatch):
    monkeypatch.setattr("stn_scratch.data.distort.add_clutter", lambda rng, images, digits, **options: options)
    options = draw_tc(np.random.default_rng(0), np.zeros((RECORDED, 28, 28, 1), "float32"), 60)
    assert options == {"patches": 6, "size": 6}
    for position in (placed[0]["x"], placed[0]["y"]):
        assert sorted(set(position)) == [k + 13.5 for k in range(33)]
    assert (placed[0]["angle"] == 0).all() and (placed[0]["scale"] == 1).all()


def test_rts_loses_nothing(digits, monkeypatch):
    """A digit turned in its frame keeps its ink: scale^2 times as much, but for what bilinear reading rounds."""
    scales = []

    def remember(digits, *, scale, **arguments):
        scales.extend(scale)
        return place(digits, scale=scale, **arguments)

    monkeypatch.setattr("stn_scratch.data.distort.place", remember)
    images = distort("rts", np.random.default_rng(6), digits)
    ink = images.sum(axis=(1, 2, 3)) / (digits.sum(axis=(1, 2, 3)) * np.square(scales))
    assert ink.min() > 0.94 and ink.max() < 1.06
    assert abs(ink.mean() - 1) < 0.01


def test_tc_shows_the_whole_digit(digits):
    """Without its clutter a TC image is the digit itself, somewhere: clutter only adds."""
    images = distort("tc", np.random.default_rng(7), digits[:64])
    for image, digit in zip(images[..., 0], digits[:64, ..., 0], strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(image, (28, 28))
        assert ((windows >= digit - 1e-5).all(axis=(2, 3))).any()
