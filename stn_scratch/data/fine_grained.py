r"""Fine-grained images, made here: creatures told apart by two small parts, as birds are by head and tail.

Every image has a body, a head at its one end and a tail at the other, which lie anywhere in the left and in the right
half. Head and tail are striped, each in one of three directions: three kinds of head and three of tail, nine classes.
The stripes are 3 pixels apart: the mean of 2x2 pixels leaves half of their contrast, and one direction looks much like
another. Body, place and clutter say nothing of the class. It stands in for CUB-200-2011, in which 200 species differ as
little: it shows the mechanism, parallel transformers that read detail where it matters, and no figure of the paper's.

Angles are in radians, lengths in pixels of the image.
"""

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.data.clutter import add_clutter
from stn_scratch.data.distort import place
from stn_scratch.data.mnist import Digits

CANVAS = 64
KINDS = 3  # of head, and of tail
CLASSES = KINDS * KINDS
PART, STRIPE = 7, 3  # side of a part; from one stripe to the next
BODY, GREY = 16, 0.45  # side of the body's picture, in which it is 16 long and 8 high; its brightness
FINE = 3  # pixels of a part's picture to one of the image
MARGIN = 7  # from a part's middle to the edge of its half
NOISE = 0.1  # standard deviation of each pixel
TRAINING, TEST = 2000 * CLASSES, 500 * CLASSES


def _points(side):
    """x and y of the pixels of a picture, in [-1, 1] from centre to centre of the outermost."""
    axis = np.linspace(-1, 1, side)
    return np.meshgrid(axis, axis)


def _part(shape, kind):
    """A part, FINE times as large: (brightness, how much it covers), (PART FINE, PART FINE, 2)."""
    x, y = _points(PART * FINE)
    covers = np.hypot(x, y) <= 0.95 if shape == "head" else (np.abs(y) <= 0.72 + 0.25 * x) & (np.abs(x) <= 0.95)
    angle = np.pi * kind / KINDS
    along = (x * np.cos(angle) + y * np.sin(angle)) * (PART * FINE - 1) / 2
    brightness = 0.55 + 0.45 * np.cos(2 * np.pi * along / (STRIPE * FINE))
    return np.stack([brightness, covers], axis=-1)


def _body():
    """How much the body covers, an ellipse with a soft edge, (BODY, BODY, 1)."""
    x, y = _points(BODY)
    return np.clip(4 * (1 - np.hypot(x, 2 * y)), 0, 1)[..., None]


HEADS, TAILS = (np.stack([_part(shape, kind) for kind in range(KINDS)]) for shape in ("head", "tail"))


def load_kinds(data_dir=None, *, source="auto"):
    """The kinds of the images' heads and tails, (N, 2), where other sources have images; labels 3 head + tail.

    The images themselves are drawn: those for training, validation and test by generators of their own, so that no two
    of them are alike. Nothing is read: `data_dir` and `source` are those of other sources, and have no meaning here.
    """
    def all_kinds(count):
        labels = np.arange(count) % CLASSES
        return np.stack(np.divmod(labels, KINDS), axis=1), labels

    return Digits(*all_kinds(TRAINING), *all_kinds(TEST), f"made here ({TRAINING}/{TEST})")


def _add_part(rng, images, pictures, x, y):
    """Images (B, 64, 64, 1) with a part each, its middle at x, y (B,), hardly turned and scaled.

    pictures (B, S, S, 2). The part is drawn in a window of whole pixels round its middle: the rest need not be sampled.
    """
    xp = get_array_module(images)
    B, W = len(images), PART + 6
    left, top = (np.floor(a).astype(int) - W // 2 for a in (x, y))
    part = place(pictures, canvas=W, angle=rng.uniform(-0.2, 0.2, B), scale=rng.uniform(0.9, 1.1, B) / FINE,
                 x=x - left, y=y - top)
    b, n, m = np.ogrid[:B, :W, :W]
    window = tuple(xp.asarray(a) for a in (b, n + top[:, None, None], m + left[:, None, None]))
    brightness, covers = part[..., :1], part[..., 1:]
    images = images.copy()
    images[window] = images[window] * (1 - covers) + brightness * covers
    return images


def draw_creatures(rng, kinds, labels):
    """An image of each of `kinds` (B, 1, 2): (B, 64, 64, 1) float32 on its device, from 0 to 1; and labels (B,)."""
    xp = get_array_module(kinds)
    B = len(kinds)
    half = CANVAS / 2
    head, tail = (np.stack([rng.uniform(left + MARGIN, left + half - MARGIN, B),
                            rng.uniform(MARGIN, CANVAS - MARGIN, B)]) - 0.5 for left in (0, half))
    heads, tails, body = (xp.asarray(a.astype("float32")) for a in (HEADS, TAILS, _body()[None]))
    (x, y), along = (head + tail) / 2, tail - head
    images = GREY * place(xp.take(body, xp.zeros(B, dtype=xp.intp), axis=0), canvas=CANVAS, x=x, y=y,
                          angle=np.arctan2(along[1], along[0]), scale=np.hypot(*along) / BODY)
    images = _add_part(rng, images, xp.take(heads, kinds[:, 0, 0], axis=0), *head)
    images = _add_part(rng, images, xp.take(tails, kinds[:, 0, 1], axis=0), *tail)
    images = add_clutter(rng, images, images, patches=6, size=6)
    noise = NOISE * rng.standard_normal(images.shape, dtype="float32")
    return xp.clip(images + xp.asarray(noise), 0, 1), labels[:, 0]
