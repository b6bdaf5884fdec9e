"""CUB-200-2011: photographs of 200 species of birds (Wah et al. 2011), from the folder that its archive unpacks to.

    images.txt               1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
    image_class_labels.txt   1 1
    train_test_split.txt     1 0        (1: for training)
    bounding_boxes.txt       1 60.0 27.0 325.0 304.0        (x, y, width, height; only read if asked for)
    images/                  the photographs, of any size, a few of them grey
"""

from math import ceil, floor
from pathlib import Path

import numpy as np
from matplotlib.image import imread

from stn_scratch.data.photographs import Photographs, existing
from stn_scratch.data.stretch import stretched

SIDE = 128  # of the images that a network is given; the paper's are 448
SPECIES = 200


def load_birds(data_dir, *, source="auto", side=SIDE, boxes=False):
    """Read the training and the test photographs -> Photographs of side x side pixels.

    data_dir: the folder with the three lists and images/. boxes=True crops each photograph to its bird first (the paper
    uses class labels only, and so do we by default). source is that of `load_digits`; there is nothing to choose. All
    11,788 photographs of 128x128 pixels fill 580 MB; reading them takes some minutes.

    Raises FileNotFoundError, TypeError or ValueError, one sentence, for a list or a photograph that is missing, or is
    not what it should be.
    """
    folder = existing(data_dir, "the folder of CUB-200-2011, with images.txt and images/", source)
    names = _column(folder / "images.txt", {})
    labels = {k: _whole(text, folder, 1, SPECIES) - 1 for k, text in
              _column(folder / "image_class_labels.txt", names).items()}
    for_training = {k: _whole(text, folder, 0, 1) for k, text in
                    _column(folder / "train_test_split.txt", names).items()}
    found = _column(folder / "bounding_boxes.txt", names) if boxes else {}
    arrays = []
    for part in (1, 0):
        chosen = [k for k in names if for_training[k] == part]
        if not chosen:
            raise ValueError(f"{folder / 'train_test_split.txt'} must name photographs for training (1) and test (0)")
        images = np.empty((len(chosen), side, side, 3), dtype=np.uint8)
        for image, k in zip(images, chosen, strict=True):
            photograph = _read(folder / "images" / names[k])
            image[...] = resized(_bird(photograph, found[k], folder) if boxes else photograph, side)
        arrays += [images, np.array([labels[k] for k in chosen])]
    counts = f"{len(arrays[1])}/{len(arrays[3])}"
    # no two are frames of one film, so each is a group of its own
    return Photographs(*arrays, f"CUB-200-2011 ({counts}) from {folder}", np.arange(len(arrays[1])))


def _column(path, names):
    """A list of the archive: {number of the photograph: the rest of its line}. It must name those in `names`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the folder of CUB-200-2011 must hold it")
    found = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if len(line.split()) > 1)
    if not found or (names and found.keys() != names.keys()):
        raise ValueError(f"{path} must have one line for each photograph of images.txt, its number first")
    return found


def _whole(text, folder, least, most):
    if not text.strip().isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"the lists in {folder} must hold whole numbers from {least} to {most} here, not {text!r}")
    return int(text)


def _bird(photograph, text, folder):
    """The pixels of a photograph (H, W, 3) that its line x, y, width, height covers."""
    try:
        x, y, width, height = (float(number) for number in text.split())
        bird = photograph[max(0, floor(y)):max(0, ceil(y + height)), max(0, floor(x)):max(0, ceil(x + width))]
    except (ValueError, OverflowError):  # not four numbers; or one is infinite
        bird = photograph[:0]
    if bird.size == 0:
        raise ValueError(f"{folder / 'bounding_boxes.txt'} must hold x, y, width and height of a part of each "
                         f"photograph, in pixels, not {text!r} of one of {photograph.shape[1]}x{photograph.shape[0]}")
    return bird


def _read(path):
    """A photograph as (H, W, 3) float32 from 0 to 255; a grey one three times."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing: images.txt names it")
    try:
        pixels = imread(path)
    except (OSError, SyntaxError, ValueError):
        raise ValueError(f"{path} is no photograph that can be read") from None
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    # matplotlib gives a PNG, whatever its name, as floats up to 1
    scale = 1 if pixels.dtype == np.uint8 else 255
    return pixels[..., :3].astype(np.float32) * np.float32(scale)


def resized(image, side):
    """An image (H, W, C), 0 to 255, stretched to side x side: uint8."""
    H, W, _ = image.shape
    return np.rint(stretched(image, (0, 0, W, H), side)).astype(np.uint8)
