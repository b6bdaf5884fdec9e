"""Cluttered MNIST: a digit somewhere on a canvas, among pieces of other digits; drawn afresh, or read from a file.

The file, of 10,000 training, 1,000 validation and 1,000 test images of 40x40 pixels, is the one in the folder data of
github.com/daviddao/spatial-transformer-tensorflow. Its digits are moved only, most of them along x.
"""

import hashlib
import io
from typing import NamedTuple

import numpy as np

from stn_scratch.data.distort import draw_tc
from stn_scratch.data.photographs import existing

FILE = "mnist_sequence1_sample_5distortions5x5.npz"
FILE_BYTES = 3_842_026
FILE_SHA256 = "951f81b297226e1ed81a96a544ee14cbf50a5523b4f3cd45f0e99d9565425e3b"
SIDE = 40  # of the file's images


def draw_cluttered(rng, images, labels, *, canvas, patches):
    """As TC, with so many 5x5 patches.

    images (B, 1, 28, 28, 1), labels (B, 1) -> x (B, canvas, canvas, 1), labels (B,). Five pieces on 40x40 pixels make
    images as bright as the file's, 0.077 in the mean; eleven on 60x60 lie as densely.
    """
    return draw_tc(rng, images[:, 0], canvas, patches=patches, size=5), labels[:, 0]


def draw_as_is(rng, images, labels):
    """The file's images (B, 1, 40, 40, 1) with their labels (B, 1), unchanged -> (B, 40, 40, 1), (B,)."""
    return images[:, 0], labels[:, 0]


class ThreeSplits(NamedTuple):
    """Labelled images (N, 40, 40, 1) float32 in [0, 1], labels (N,) int64 in 0..9; validation images of their own."""

    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str


def load_cluttered(data_dir, *, source="auto"):
    """Read the file `FILE` -> ThreeSplits.

    data_dir: the folder that holds it, or the file itself. source is that of `load_digits`, but here is nothing to
    choose: "embedded" is refused. Raises TypeError, OSError or ValueError, one sentence each, if the file is not there,
    cannot be read or is another one.
    """
    path = existing(data_dir, f"the folder that holds {FILE}", source)
    path = path / FILE if path.is_dir() else path
    # what has the checksum has the right arrays
    with np.load(io.BytesIO(_checked(path)), allow_pickle=False) as members:
        images, labels = ([members[f"{letter}_{part}"] for part in ("train", "valid", "test")] for letter in "Xy")
    arrays = []
    for X, y in zip(images, labels, strict=True):
        arrays += [X.reshape(-1, SIDE, SIDE, 1), y.ravel().astype(np.int64)]
    counts = "/".join(str(len(y)) for y in labels)
    return ThreeSplits(*arrays, f"cluttered MNIST ({counts}) from {path.parent}")


def _checked(path):
    """The bytes of the file at `path`, if they are the right ones."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror or error}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != FILE_SHA256:
        raise ValueError(f"{path} is not the file of cluttered digits: it must have {FILE_BYTES} bytes with the sha256"
                         f" {FILE_SHA256}, not {len(content)} with {found}")
    return content


def hold_out_validation(digits, *, validation):
    """The file's own training and validation images, however many `validation` images are asked for."""
    return digits[:4]
