"""MNIST: from a folder, the user's cache, a checked download or, without a network, 5,000 embedded digits."""

import gzip
import hashlib
import io
import math
import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stn_scratch.data.download import download
from stn_scratch.user_cache import cache_folder
from stn_scratch.validate import check_choice

# sha256 of the unpacked content: the same digits are in circulation in several .gz packings.
FILES = {
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
LONGEST_CONTENT = 64 * 2**20  # bytes; the largest file unpacks to 47 million

EMBEDDED = Path(__file__).with_name("digits.npz")  # its recipe is in DIGITS.md
EMBEDDED_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
# sha256 of the bytes of these four arrays, one after another.
EMBEDDED_SHA256 = "7b857ab2722557ad80cdbd906b15ce27ab83504b65c5b2913980ea7b05049274"


class Digits(NamedTuple):
    """Labelled images of two splits, and where they are from. MNIST: (N, 28, 28, 1) float32 in [0, 1]; labels (N,)."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str


def load_digits(data_dir=None, *, source="auto", progress=True):
    """Load MNIST -> Digits.

    data_dir (or, without it, the environment variable STN_DATA): a folder with the four files of `FILES`. With
    neither: the user's cache, filled by a checked download. When that fails, source="auto" takes the embedded digits
    and says so on one line of stderr, source="mnist" raises OSError. source="embedded" takes them at once, silently.
    progress: a bar on a terminal for each file that is downloaded.

    Raises FileNotFoundError or ValueError, one sentence that names the file, when one of a given folder is missing or
    does not have MNIST's content.
    """
    check_choice("source", source, ("auto", "mnist", "embedded"))
    if source == "embedded":
        if data_dir is not None:
            raise ValueError(f"data_dir must be left out with the embedded digits, not {str(data_dir)!r}")
        return _embedded()
    if data_dir is not None:
        if not isinstance(data_dir, str | os.PathLike):
            raise TypeError(f"data_dir must be a path, not {type(data_dir).__name__}")
        return _from_folder(Path(data_dir).expanduser(), "the data folder")
    if os.environ.get("STN_DATA"):
        return _from_folder(Path(os.environ["STN_DATA"]).expanduser(), "the folder named by STN_DATA")
    try:
        return _from_cache(progress)
    except OSError as error:
        if source == "mnist":
            raise OSError(f"no MNIST: {error}; name a folder that has it by --data-dir or STN_DATA") from None
        print("stn_scratch: NO FULL MNIST, using the embedded 4000 training and 1000 test digits; for full MNIST name"
              f" a folder with its four .gz files by --data-dir or STN_DATA ({error})", file=sys.stderr)
        return _embedded()


def hold_out(digits, *, validation):
    """Hold the last `validation` training digits out, so that the test digits stay unseen while one chooses.

    Returns (train_images, train_labels, validation_images, validation_labels), views into `digits`.
    Raises ValueError unless 0 < validation < the number of training digits.
    """
    count = len(digits.train_labels)
    if not isinstance(validation, int) or isinstance(validation, bool) or not 0 < validation < count:
        raise ValueError(f"validation must be a whole number between 1 and {count - 1}, not {validation!r}")
    images, labels = digits.train_images, digits.train_labels
    return images[:-validation], labels[:-validation], images[-validation:], labels[-validation:]


def read_idx(raw_bytes, name):
    """Parse unpacked IDX bytes -> uint8 array (read-only) of rank 1 (labels) or 3 (images).

    Layout: two zero bytes, the type (8: unsigned byte), the rank, one big-endian 32-bit size an axis, the values.
    Raises ValueError, one sentence that begins with `name`, when magic number, sizes and length do not fit.
    """
    magic = raw_bytes[:4]
    if magic not in (b"\0\0\x08\x01", b"\0\0\x08\x03"):
        raise ValueError(f"{name} is not an IDX file of labels or images: its magic number must be 00000801 or"
                         f" 00000803, not {magic.hex() or 'nothing'}")
    header = 4 + 4 * magic[3]
    if len(raw_bytes) < header:
        raise ValueError(f"{name} must have an IDX header of {header} bytes, not {len(raw_bytes)} bytes in all")
    shape = struct.unpack(f">{magic[3]}I", raw_bytes[4:header])
    if 0 in shape or math.prod(shape) != len(raw_bytes) - header:
        raise ValueError(f"{name} must have as many values as its sizes {shape} say, at least one,"
                         f" not {len(raw_bytes) - header}")
    return np.frombuffer(raw_bytes, np.uint8, offset=header).reshape(shape)


def _unpack(packed, where):
    """Gunzip; ValueError in one sentence for whatever is wrong with the packing."""
    if packed[:2] != b"\x1f\x8b":
        raise ValueError(f"{where} is not a gzip file: it {f'begins with {packed[:8]!r}' if packed else 'is empty'}")
    try:
        # A bounded read: a small file that unpacks to terabytes fails the content check instead of the machine.
        return gzip.GzipFile(fileobj=io.BytesIO(packed)).read(LONGEST_CONTENT)
    except EOFError:
        raise ValueError(f"{where} is cut short: its gzip stream stops after {len(packed)} bytes") from None
    except (gzip.BadGzipFile, zlib.error):
        raise ValueError(f"{where} is a damaged gzip file of {len(packed)} bytes") from None


def _parse(packed, name, where):
    """The bytes of the file `name` -> its uint8 array, every check done; `where` is what an error calls it."""
    raw = _unpack(packed, where)
    array = read_idx(raw, where)
    found = hashlib.sha256(raw).hexdigest()
    if found != FILES[name]:
        raise ValueError(f"{where} is not MNIST's: its content, sizes {array.shape}, must have the sha256"
                         f" {FILES[name]}, not {found}")
    return array


def _digits(arrays, kind, where=""):
    """Four uint8 arrays in the order of `FILES` -> Digits."""
    images = [np.divide(a, np.float32(255), dtype=np.float32)[..., None] for a in arrays[::2]]
    labels = [a.astype(np.int64) for a in arrays[1::2]]
    source = f"{kind} ({len(labels[0])}/{len(labels[1])}){where}"
    return Digits(images[0], labels[0], images[1], labels[1], source)


def _from_folder(folder, called):
    """Read the four files of a folder that the user named: what is wrong there is an error, never passed over."""
    paths = [folder / name for name in FILES]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {called} must hold {', '.join(FILES)}")
    return _digits([_parse(path.read_bytes(), path.name, path) for path in paths], "mnist", f" from {folder}")


def _cache_folder():
    """Where downloads are kept."""
    try:
        return cache_folder("mnist")
    except RuntimeError:
        raise OSError("there is no home folder to keep a download in") from None


def _from_cache(progress):
    """Read the four files of the cache; one that is missing or bad is downloaded. Raises OSError when it cannot be."""
    folder, arrays = _cache_folder(), []
    for name in FILES:
        path = folder / name
        try:
            arrays.append(_parse(path.read_bytes(), name, path))
            continue
        except FileNotFoundError:
            pass
        except ValueError as error:
            print(f"stn_scratch: {error}; downloading it again", file=sys.stderr)
        arrays.append(download(name, folder, mirrors=MIRRORS, progress=progress,
                               check=lambda packed, name=name: _parse(packed, name, name)))
    return _digits(arrays, "mnist", f" from {folder}")


def _embedded():
    """The digits of digits.npz, checked -> Digits. Raises ValueError when the file is not the one that was shipped."""
    try:
        # Opened here: np.load, given a path, leaves a file that is cut short open.
        with open(EMBEDDED, "rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = [members[name] for name in EMBEDDED_ARRAYS]
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{EMBEDDED} is damaged: install the package again") from None
    if hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest() != EMBEDDED_SHA256:
        raise ValueError(f"{EMBEDDED} does not hold the digits that were shipped: install the package again")
    return _digits(arrays, "embedded digits")
