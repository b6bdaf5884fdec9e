"""Photographs of one size with a label each: how they are held, split and drawn; and traffic signs, from a file.

The signs are those of the German Traffic Sign Recognition Benchmark (Stallkamp et al., Neural Networks 32, 2012).
"""

import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_whole

SIGNS = (32, 32, 3)
SIGN_CLASSES = 43
SIGN_ARRAYS = ("x_train", "y_train", "track_train", "x_test", "y_test")


class Photographs(NamedTuple):
    """Labelled photographs: images (N, H, W, 3) uint8, labels (N,) int64, and what belongs together.

    Photographs of one class that have one number in `train_groups` (N,) are nearly alike, as the frames of a film are:
    they stay on one side when some are held out.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    train_groups: np.ndarray


def draw_photographs(rng, images, labels):
    """images (B, 1, H, W, 3) uint8 -> (B, H, W, 3) float32 from 0 to 1, as they are; labels (B, 1) -> (B,)."""
    return images[:, 0].astype("float32") / get_array_module(images).float32(255), labels[:, 0]


def hold_out_groups(photographs, *, validation):
    """Hold whole groups out, of every class the last ones: about `validation` of the training photographs in all.

    Returns (train_images, train_labels, validation_images, validation_labels), as `hold_out` does. A class has at least
    one group on each side. Raises ValueError for a number that is none, and if a class has only one group.
    """
    check_whole("validation", validation)
    labels, groups = photographs.train_labels, photographs.train_groups
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        found = np.unique(groups[labels == label])
        if len(found) < 2:
            raise ValueError(f"class {label} must have at least two groups of training photographs, one to hold out")
        count = min(max(1, round(len(found) * validation / len(labels))), len(found) - 1)
        held |= (labels == label) & np.isin(groups, found[-count:])
    images = photographs.train_images
    return images[~held], labels[~held], images[held], labels[held]


def existing(data_dir, what, source):
    """`data_dir` as a Path. Raises ValueError, TypeError or FileNotFoundError if it names nothing; what: the data.

    source is that of `load_digits`, where here is nothing to choose: ValueError for "embedded".
    """
    if source == "embedded":
        raise ValueError(f"digits must not be 'embedded': the images are those of {what}")
    if data_dir is None:
        raise ValueError(f"data_dir must name {what}, which is not downloaded")
    if not isinstance(data_dir, str | os.PathLike):
        raise TypeError(f"data_dir must be a path, not {type(data_dir).__name__}")
    path = Path(data_dir).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: data_dir must name {what}")
    return path


def load_signs(data_dir, *, source="auto"):
    """Read an .npz of traffic signs -> Photographs.

    data_dir: the file, or a folder that holds no other .npz. Its arrays: x_train, x_test (N, 32, 32, 3) uint8; y_train,
    y_test (N,), classes 0 to 42; track_train (N,), the number that a sign has within its class: of each there are
    several frames. A frame for training that is a test image too is left out: the benchmark has such. source is that of
    `load_digits`; there is nothing to choose.

    Raises FileNotFoundError, TypeError or ValueError, one sentence each.
    """
    what = "the .npz of traffic signs, or its folder"
    path = existing(data_dir, what, source)
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        if len(files) != 1:
            raise FileNotFoundError(f"{path} must hold one .npz, of traffic signs, not {len(files)}")
        path = files[0]
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = {name: members[name] for name in SIGN_ARRAYS}
    except KeyError as error:
        raise ValueError(f"{path} must hold the arrays {', '.join(SIGN_ARRAYS)}; {error.args[0]}") from None
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path} is no .npz file that can be read") from None
    for part in ("train", "test"):
        _check_signs(path, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    if arrays["track_train"].shape != arrays["y_train"].shape:
        raise ValueError(f"{path}: track_train must have shape {arrays['y_train'].shape}, one number a sign, not "
                         f"{arrays['track_train'].shape}")
    tested = {x.tobytes() for x in arrays["x_test"]}
    new = np.array([x.tobytes() not in tested for x in arrays["x_train"]])
    x_train, y_train, track_train = (arrays[name][new] for name in SIGN_ARRAYS[:3])
    return Photographs(x_train, y_train.astype(np.int64), arrays["x_test"], arrays["y_test"].astype(np.int64),
                       f"traffic signs ({len(y_train)}/{len(arrays['y_test'])}) from {path}", track_train)


def _check_signs(path, part, x, y):
    if x.dtype != np.uint8 or x.shape[1:] != SIGNS or len(x) == 0:
        raise ValueError(f"{path}: x_{part} must be (N, 32, 32, 3) uint8, not {x.shape} {x.dtype}")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ValueError(f"{path}: y_{part} must be {len(x)} whole numbers, one a sign, not {y.shape} {y.dtype}")
    if y.min() < 0 or y.max() >= SIGN_CLASSES:
        raise ValueError(f"{path}: y_{part} must be classes from 0 to {SIGN_CLASSES - 1}, not {y.min()} to {y.max()}")
