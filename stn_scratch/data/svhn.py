"""Street View House Numbers, in their own full format (format 1), cropped as the paper has them (Sec. 4.2).

A folder with `train/`, `test/` and, if there is room for it, `extra/`; in each of them 1.png, 2.png, ... and
digitStruct.mat, which says for every image where its digits are and which. That file is MATLAB's of version 7.3, an
HDF5 file: reading it needs h5py, the only place that does.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.image import imread
from tqdm import tqdm

from stn_scratch.data.house import CANVAS, LONGEST, NULL
from stn_scratch.data.mnist import Digits
from stn_scratch.data.photographs import existing
from stn_scratch.data.stretch import stretched
from stn_scratch.validate import check_arrays

EXPANSION = 1.3  # of the digits' common box: 30 % more in width and in height
BOXES = "digitStruct.mat"
FIELDS = ("label", "left", "top", "width", "height")


class House(NamedTuple):
    """One photograph's digits, from left to right."""

    name: str  # of the image's file
    labels: np.ndarray  # (n,) 0..9
    # (n, 4): left, top, width, height, in pixels from the image's upper left corner: SVHN's own see_bboxes.m shows the
    # columns left + 1 to left + width, counted from 1
    boxes: np.ndarray


def load_svhn(data_dir, *, source="auto", progress=True):
    """Read SVHN's folders -> Digits: images (N, 64, 64, 3) uint8, labels (N, 5), `NULL` behind the last digit.

    data_dir: the folder that holds train/, test/ and perhaps extra/, whose images come before those of train/. Numbers
    of more than five digits are left out; `source` of the result says how many. source is that of `load_digits`, but
    here is nothing to choose: "embedded" is refused.

    Raises TypeError, FileNotFoundError, ValueError or, without h5py, RuntimeError, one sentence each.
    """
    folder = existing(data_dir, "the folder with SVHN's train and test", source)
    extra = ["extra"] if (folder / "extra").is_dir() else []
    parts = {name: _load_part(folder / name, progress) for name in (*extra, "train", "test")}
    images, labels = (np.concatenate([parts[name][k] for name in (*extra, "train")]) for k in (0, 1))
    left_out = sum(part[2] for part in parts.values())
    where = (f"svhn ({len(labels)}/{len(parts['test'][1])}) from {folder}, {left_out} of more than {LONGEST} digits "
             "left out")
    return Digits(images, labels, *parts["test"][:2], where)


def _load_part(folder, progress):
    """Images, labels, and how many were left out, of one of the folders."""
    houses = read_boxes(folder / BOXES)
    short = [house for house in houses if len(house.labels) <= LONGEST]
    images = np.empty((len(short), CANVAS, CANVAS, 3), np.uint8)
    labels = np.full((len(short), LONGEST), NULL)
    for k, house in enumerate(tqdm(short, desc=str(folder), disable=None if progress else True)):
        labels[k, :len(house.labels)] = house.labels
        images[k] = np.floor(255 * crop(_read_image(folder / house.name), house.boxes) + 0.5)
    return images, labels, len(houses) - len(short)


def _read_image(path):
    """A PNG's pixels (H, W, 3), float32 in [0, 1]."""
    try:
        return imread(path)[..., :3].astype("float32")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: {BOXES} beside it names it") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a PNG image: {error}") from None


def crop(image, boxes, *, size=CANVAS):
    """The digits' common box, expanded by 30 %, as an image of size x size pixels: see `stretched`.

    image (H, W, C) float, boxes (n, 4): see `House` -> (size, size, C).
    """
    check_arrays(boxes=(boxes, "n 4"))
    first = boxes[:, :2].min(axis=0)
    last = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    wider = (EXPANSION - 1) * (last - first) / 2
    return stretched(image, [*(first - wider), *(last - first + 2 * wider)], size)


def read_boxes(path):
    """The houses of a digitStruct.mat, in their order.

    Raises RuntimeError without h5py, FileNotFoundError, or ValueError if it is another file.
    """
    try:
        import h5py
    except ImportError:
        raise RuntimeError(f"reading SVHN's {BOXES}, an HDF5 file, needs h5py: python -m pip install h5py") from None
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: SVHN's folders train and test must each hold one")
    try:
        with h5py.File(path, "r") as file:
            struct = file["digitStruct"]
            return [_house(file, *pointers)
                    for pointers in zip(struct["name"][:, 0], struct["bbox"][:, 0], strict=True)]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not SVHN's {BOXES}: {error}") from None


def _house(file, name, bbox):
    """One element of the struct array: a reference to its name, letters as numbers, and to its boxes."""
    name = "".join(map(chr, file[name][:, 0]))
    label, left, top, width, height = (_numbers(file, file[bbox][field]) for field in FIELDS)
    if not min(width.min(), height.min()) > 0:
        raise ValueError(f"{name} has a box of {width.min():g} x {height.min():g} pixels")
    # SVHN's class of the digit 0 is 10
    return House(name, label.astype(np.int64) % 10, np.stack([left, top, width, height], axis=1))


def _numbers(file, values):
    """A field of all boxes (n,): a number where there is one box, else a reference to each number."""
    return np.array([file[v][0, 0] if values.dtype.kind == "O" else v for v in values[:, 0]])
