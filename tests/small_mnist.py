"""A miniature MNIST: four files as the real ones are, but small, and what may be wrong with one of them."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np

from stn_scratch.data import mnist

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = mnist.FILES
# where the complete MNIST may be; STN_DATA is read now, for the tests run without it
SHARED = Path(__file__).parents[2] / "shared" / "data" / "mnist"
FULL = SHARED if SHARED.is_dir() or not os.environ.get("STN_DATA") else Path(os.environ["STN_DATA"])


def idx(array):
    """uint8 array -> IDX bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def miniature(monkeypatch):
    """{file name: unpacked bytes} of 12 training and 5 test digits; their checksums stand in for the real ones."""
    rng = np.random.default_rng(5)
    files = {}
    for (images, labels), count in zip([(IMAGES, LABELS), (TEST_IMAGES, TEST_LABELS)], [12, 5], strict=True):
        files[images] = idx(rng.integers(0, 256, (count, 28, 28)).astype(np.uint8))
        files[labels] = idx(rng.integers(0, 10, count).astype(np.uint8))
    monkeypatch.setattr(mnist, "FILES", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    return files


def pack(raw):
    return {name: gzip.compress(content) for name, content in raw.items()}


def write(folder, packed):
    folder.mkdir(parents=True)
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    return folder


def alone(monkeypatch, tmp_path):
    """A cache folder of the test's own (not there yet), and no proxy and no STN_DATA from outside -> that folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("STN_DATA", raising=False)
    return tmp_path / "cache" / "stn_scratch" / "mnist"


def check_miniature(digits, raw):
    for array, name in zip(digits, raw, strict=False):
        expected = mnist.read_idx(raw[name], name)
        if expected.ndim == 3:
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, expected[..., None].astype(np.float32) / np.float32(255))
        else:
            assert array.dtype == np.int64
            np.testing.assert_array_equal(array, expected)


def sentence(error):
    """The message, which must be one line."""
    text = str(error.value)
    assert text and "\n" not in text and "Traceback" not in text
    return text


def _damaged_middle(content):
    middle = len(content) // 2
    return content[:middle] + bytes(b ^ 255 for b in content[middle:middle + 40]) + content[middle + 40:]


# kind -> (packed, raw) -> a bad file, and what is said of it
BAD_FILES = {
    "truncated": (lambda packed, raw: packed[:len(packed) // 2], "is cut short"),
    "no trailer": (lambda packed, raw: packed[:-3], "is cut short"),
    "head only": (lambda packed, raw: packed[:2], "is cut short"),
    "damaged": (lambda packed, raw: _damaged_middle(packed), "is a damaged gzip file"),
    "wrong crc": (lambda packed, raw: packed[:-8] + bytes(4) + packed[-4:], "is a damaged gzip file"),
    "not gzip": (lambda packed, raw: b"<html>log in</html>", "is not a gzip file: it begins with b'<html>lo'"),
    "unpacked": (lambda packed, raw: raw, "is not a gzip file"),
    "empty": (lambda packed, raw: b"", "is not a gzip file: it is empty"),
    "gzip of nothing": (lambda packed, raw: gzip.compress(b""), "magic number must be .* not nothing"),
    "wrong magic": (lambda packed, raw: gzip.compress(b"\0\0\x0d\x03" + raw[4:]), "magic number must be .* 00000d03"),
    "short": (lambda packed, raw: gzip.compress(raw[:-1]), "as many values as its sizes"),
    "another content": (lambda packed, raw: gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1])), "is not MNIST's"),
}
