"""The digits: what is embedded, which source is taken, what is said when a file or a mirror is wrong."""

import gzip
import hashlib
import http.server
import os
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from stn_scratch.data import Digits, download, hold_out, load_digits, mnist

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = mnist.FILES
SHARED = Path(__file__).parents[2] / "shared" / "data" / "mnist"
STN_DATA = os.environ.get("STN_DATA", "")  # taken now: the tests run without it


def idx(array):
    """uint8 array -> IDX bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def raw(monkeypatch):
    """A miniature MNIST, {file name: unpacked bytes}, its checksums in place of the real ones."""
    rng = np.random.default_rng(5)
    files = {}
    for (images, labels), count in zip([(IMAGES, LABELS), (TEST_IMAGES, TEST_LABELS)], [12, 5], strict=True):
        files[images] = idx(rng.integers(0, 256, (count, 28, 28)).astype(np.uint8))
        files[labels] = idx(rng.integers(0, 10, count).astype(np.uint8))
    monkeypatch.setattr(mnist, "FILES", {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    return files


@pytest.fixture
def packed(raw):
    return {name: gzip.compress(content) for name, content in raw.items()}


@pytest.fixture
def folder(packed, tmp_path):
    """A data folder that holds the miniature."""
    path = tmp_path / "data"
    path.mkdir()
    for name, content in packed.items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def offline(monkeypatch):
    """Every mirror is a local port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/again/"))


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache folder of the test's own (not there yet), and no proxy and no STN_DATA from outside."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("STN_DATA", raising=False)
    return tmp_path / "cache" / "stn_scratch" / "mnist"


@pytest.fixture
def mirror(monkeypatch):
    """A real HTTP server on this machine, and the only mirror: `.answers` {path: bytes}, `.asked` [path]."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            body = self.server.answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.end_headers()
            self.wfile.write(body or b"<html>not here</html>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked, server.url = {}, [], f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(mnist, "MIRRORS", (server.url,))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def serve(mirror, packed, prefix="/"):
    mirror.answers.update({prefix + name: content for name, content in packed.items()})


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


# The embedded digits


def test_embedded_digits_are_balanced_and_in_range(offline, capsys):
    digits = load_digits(source="embedded")
    assert isinstance(digits, Digits) and digits.source == "embedded digits (4000/1000)"
    assert digits.train_images.shape == (4000, 28, 28, 1) and digits.test_images.shape == (1000, 28, 28, 1)
    for images in (digits.train_images, digits.test_images):
        assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    np.testing.assert_array_equal(np.bincount(digits.train_labels), [400] * 10)
    np.testing.assert_array_equal(np.bincount(digits.test_labels), [100] * 10)
    # Shuffled: every stretch that one may hold out has all classes.
    assert set(digits.train_labels[-100:]) == set(range(10))
    assert "".join(capsys.readouterr()) == ""


def test_no_embedded_image_occurs_twice():
    digits = load_digits(source="embedded")
    images = np.concatenate([digits.train_images, digits.test_images])
    assert len({image.tobytes() for image in images}) == 5000


def test_embedded_asks_neither_network_nor_environment(mirror, monkeypatch):
    monkeypatch.setenv("STN_DATA", "/nowhere")
    assert load_digits(source="embedded").source.startswith("embedded")
    assert mirror.asked == []


def test_embedded_file_is_small_and_has_no_pickle():
    assert mnist.EMBEDDED.stat().st_size < 2**20
    with np.load(mnist.EMBEDDED, allow_pickle=False) as file:
        assert sorted(file) == sorted(mnist.EMBEDDED_ARRAYS)
        assert all(file[name].dtype == np.uint8 for name in file)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04 cut short"])
def test_damaged_embedded_file(content, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "EMBEDDED", tmp_path / "digits.npz")
    mnist.EMBEDDED.write_bytes(content)
    with pytest.raises(ValueError, match="digits.npz is damaged") as error:
        load_digits(source="embedded")
    sentence(error)


def test_changed_embedded_file(tmp_path, monkeypatch):
    with np.load(mnist.EMBEDDED) as file:
        arrays = dict(file)
    arrays["test_labels"][0] ^= 1
    monkeypatch.setattr(mnist, "EMBEDDED", tmp_path / "digits.npz")
    np.savez(mnist.EMBEDDED, **arrays)
    with pytest.raises(ValueError, match="does not hold the digits that were shipped"):
        load_digits(source="embedded")


# A folder that the user names


def test_full_mnist_has_the_content_that_is_pinned():
    folder = SHARED if SHARED.is_dir() or not STN_DATA else Path(STN_DATA)
    if not folder.is_dir():
        pytest.skip("full MNIST is neither in ../shared/data/mnist nor in a folder named by STN_DATA")
    digits = load_digits(folder)
    assert digits.source == f"mnist (60000/10000) from {folder}"
    assert digits.train_images.shape == (60000, 28, 28, 1) and digits.test_images.shape == (10000, 28, 28, 1)
    assert abs(digits.train_images.mean(dtype=np.float64) * 255 - 33.3184) < 1e-4
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(digits.test_labels), counts)


def test_folder_by_argument_and_by_environment(folder, raw, mirror, monkeypatch, tmp_path, capsys):
    check_miniature(load_digits(str(folder)), raw)
    monkeypatch.setenv("STN_DATA", str(folder))
    digits = load_digits()
    check_miniature(digits, raw)
    assert digits.source == f"mnist (12/5) from {folder}"
    # The argument goes before the environment.
    monkeypatch.setenv("STN_DATA", str(tmp_path / "nowhere"))
    check_miniature(load_digits(folder), raw)
    assert mirror.asked == [] and "".join(capsys.readouterr()) == ""


def test_folder_name_with_braces(folder, raw, tmp_path):
    odd = folder.rename(tmp_path / "{counts} {0}")
    assert load_digits(odd).source == f"mnist (12/5) from {odd}"


def test_other_packing_of_the_same_content_is_taken(folder, raw):
    (folder / IMAGES).write_bytes(gzip.compress(raw[IMAGES], 1))
    check_miniature(load_digits(folder), raw)


@pytest.mark.parametrize("name", [IMAGES, LABELS, TEST_IMAGES, TEST_LABELS])
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_missing_file_is_named_and_nothing_else_is_tried(name, source, folder, mirror):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_digits(folder, source=source)
    assert sentence(error).startswith(f"{folder / name} is missing: data_dir must name a folder with")
    assert mirror.asked == []


def test_missing_folder_from_the_environment(monkeypatch, tmp_path, offline):
    monkeypatch.setenv("STN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="STN_DATA must name a folder") as error:
        load_digits()
    assert str(tmp_path / "nowhere") in sentence(error)


def damaged_middle(content):
    middle = len(content) // 2
    return content[:middle] + bytes(b ^ 255 for b in content[middle:middle + 40]) + content[middle + 40:]


BAD_FILES = {
    "truncated": (lambda packed, raw: packed[:len(packed) // 2], "is cut short"),
    "no trailer": (lambda packed, raw: packed[:-3], "is cut short"),
    "head only": (lambda packed, raw: packed[:2], "is cut short"),
    "damaged": (lambda packed, raw: damaged_middle(packed), "is a damaged gzip file"),
    "wrong crc": (lambda packed, raw: packed[:-8] + bytes(4) + packed[-4:], "is a damaged gzip file"),
    "not gzip": (lambda packed, raw: b"<html>log in</html>", "is not a gzip file: it begins with b'<html>lo'"),
    "unpacked": (lambda packed, raw: raw, "is not a gzip file"),
    "empty": (lambda packed, raw: b"", "is not a gzip file: it is empty"),
    "gzip of nothing": (lambda packed, raw: gzip.compress(b""), "magic number must be .* not nothing"),
    "wrong magic": (lambda packed, raw: gzip.compress(b"\0\0\x0d\x03" + raw[4:]), "magic number must be .* 00000d03"),
    "short": (lambda packed, raw: gzip.compress(raw[:-1]), "as many values as its sizes"),
    "another content": (lambda packed, raw: gzip.compress(raw[:-1] + bytes([raw[-1] ^ 1])), "is not MNIST's"),
}


@pytest.mark.parametrize("name", [IMAGES, TEST_LABELS])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_in_a_named_folder_is_one_sentence(kind, name, folder, raw, packed, mirror):
    make, words = BAD_FILES[kind]
    (folder / name).write_bytes(make(packed[name], raw[name]))
    with pytest.raises(ValueError, match=words) as error:
        load_digits(folder)
    assert sentence(error).startswith(str(folder / name))
    assert error.value.__cause__ is None and (error.value.__suppress_context__ or not error.value.__context__)
    assert mirror.asked == []


def test_wrong_content_says_what_was_found(folder, raw):
    other = idx(np.zeros((12, 28, 28), np.uint8))
    (folder / IMAGES).write_bytes(gzip.compress(other))
    with pytest.raises(ValueError) as error:
        load_digits(folder)
    text = sentence(error)
    assert mnist.FILES[IMAGES] in text and hashlib.sha256(other).hexdigest() in text and "(12, 28, 28)" in text


def test_file_that_unpacks_to_far_too_much_is_read_only_in_part(folder, monkeypatch):
    monkeypatch.setattr(mnist, "LONGEST_CONTENT", 10_000)
    (folder / LABELS).write_bytes(gzip.compress(idx(np.zeros(2**24, np.uint8))))
    with pytest.raises(ValueError, match=r"sizes \(16777216,\) say, at least one, not 9992"):
        mnist._parse((folder / LABELS).read_bytes(), LABELS, LABELS)


# The download


def test_download_fills_the_cache_and_is_not_repeated(mirror, packed, raw, cache, capsys):
    serve(mirror, packed)
    digits = load_digits()
    check_miniature(digits, raw)
    assert digits.source == f"mnist (12/5) from {cache}"
    assert mirror.asked == ["/" + name for name in packed]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == packed  # and so no .part
    check_miniature(load_digits(source="mnist"), raw)
    assert len(mirror.asked) == 4
    assert "".join(capsys.readouterr()) == ""


def test_only_what_is_missing_is_downloaded(mirror, packed, raw, cache):
    serve(mirror, packed)
    load_digits()
    (cache / TEST_LABELS).unlink()
    check_miniature(load_digits(), raw)
    assert mirror.asked[4:] == ["/" + TEST_LABELS]


@pytest.mark.parametrize("kind", [*BAD_FILES, "absent"])
def test_second_mirror_when_the_first_gives_rubbish(kind, mirror, packed, raw, cache, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.url + "first/", mirror.url + "second/"))
    serve(mirror, packed, "/second/")
    if kind != "absent":
        serve(mirror, {name: BAD_FILES[kind][0](packed[name], raw[name]) for name in packed}, "/first/")
    check_miniature(load_digits(source="mnist"), raw)
    assert mirror.asked == [f"/{which}/{name}" for name in packed for which in ("first", "second")]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == packed


def test_rubbish_from_every_mirror_leaves_nothing(mirror, packed, cache, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", (mirror.url + "first/", mirror.url + "second/"))
    serve(mirror, {IMAGES: b"<html>log in</html>"}, "/first/")
    with pytest.raises(OSError) as error:
        load_digits(source="mnist")
    text = sentence(error)
    assert f"{IMAGES} could not be downloaded" in text and "STN_DATA" in text
    assert "is not a gzip file: it begins with b'<html>lo'; 127.0.0.1: HTTP 404" in text
    assert list(cache.iterdir()) == []


def test_answer_without_end_is_given_up(mirror, packed, cache, monkeypatch):
    monkeypatch.setattr(download, "LONGEST_ANSWER", 1000)
    serve(mirror, packed)
    with pytest.raises(OSError, match="is longer than 1000 bytes"):
        load_digits(source="mnist")
    assert list(cache.iterdir()) == []


def test_corrupt_cached_file_is_said_and_downloaded_again(mirror, packed, raw, cache, capsys):
    serve(mirror, packed)
    load_digits()
    (cache / LABELS).write_bytes(packed[LABELS][:20])
    check_miniature(load_digits(), raw)
    assert mirror.asked[4:] == ["/" + LABELS]
    assert (cache / LABELS).read_bytes() == packed[LABELS]
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert str(cache / LABELS) in said.err and "is cut short" in said.err and "downloading it again" in said.err


def test_good_cached_files_stay_when_another_cannot_be_had(mirror, packed, cache):
    serve(mirror, packed)
    load_digits()
    (cache / TEST_IMAGES).unlink()
    serve(mirror, dict.fromkeys(packed, b"rubbish"))
    with pytest.raises(OSError, match=TEST_IMAGES):
        load_digits(source="mnist")
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {
        name: packed[name] for name in (IMAGES, LABELS, TEST_LABELS)}


def test_part_file_is_gone_after_an_interruption(mirror, packed, cache):
    serve(mirror, packed)

    def interrupted(_):
        assert [path.suffix for path in cache.iterdir()] == [".part"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.download(IMAGES, cache, mirrors=mnist.MIRRORS, check=interrupted)
    assert list(cache.iterdir()) == []


# Without a network


def test_offline_takes_the_embedded_digits_and_says_so_on_one_line(offline, cache, capsys):
    digits = load_digits()
    assert digits.source == "embedded digits (4000/1000)"
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.endswith("\n")
    assert all(word in said.err for word in ("embedded", "4000", "--data-dir", "STN_DATA", IMAGES, "refused"))
    assert list(cache.iterdir()) == []


def test_offline_with_a_full_cache_needs_no_network(offline, folder, raw, cache, capsys):
    cache.parent.mkdir(parents=True)
    folder.rename(cache)
    check_miniature(load_digits(), raw)
    assert "".join(capsys.readouterr()) == ""


def test_offline_mnist_is_an_error(offline, capsys):
    with pytest.raises(OSError) as error:
        load_digits(source="mnist")
    assert "no MNIST" in sentence(error) and "--data-dir or STN_DATA" in sentence(error)
    assert "".join(capsys.readouterr()) == ""


def test_cache_that_cannot_be_made_is_said(tmp_path, monkeypatch, offline, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_digits().source.startswith("embedded")
    assert capsys.readouterr().err.count("\n") == 1


def test_cache_is_under_home_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mnist._cache_folder() == tmp_path / ".cache" / "stn_scratch" / "mnist"


# Arguments, IDX, held-out digits


def test_wrong_arguments(folder):
    with pytest.raises(ValueError, match="source must be one of 'auto', 'mnist', 'embedded', not 'web'"):
        load_digits(source="web")
    with pytest.raises(ValueError, match="data_dir must be left out with source='embedded'"):
        load_digits(folder, source="embedded")
    with pytest.raises(TypeError, match="data_dir must be a path, not int"):
        load_digits(3)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4)])
def test_read_idx(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.testing.assert_array_equal(mnist.read_idx(idx(array), "here"), array)


@pytest.mark.parametrize(("raw_bytes", "words"), [
    (b"", "not nothing"),
    (b"\0\0\x08", "not 000008"),
    (b"\x08\0\0\x01\0\0\0\x01\0", "not 08000001"),
    (idx(np.zeros((2, 2), np.uint8)), "not 00000802"),
    (b"\0\0\x0b\x01\0\0\0\x01\0\0", "not 00000b01"),
    (b"\0\0\x08\x03\0\0\0\x01", "an IDX header of 16 bytes, not 8 bytes in all"),
    (idx(np.zeros(3, np.uint8))[:-1], r"its sizes \(3,\) say, at least one, not 2"),
    (idx(np.zeros(3, np.uint8)) + b"\0", r"its sizes \(3,\) say, at least one, not 4"),
    (b"\0\0\x08\x03" + b"\xff" * 12 + b"\0", "4294967295, 4294967295, 4294967295.* not 1"),
    (idx(np.zeros((0, 28, 28), np.uint8)), r"\(0, 28, 28\) say, at least one, not 0"),
])
def test_read_idx_refuses(raw_bytes, words):
    with pytest.raises(ValueError, match=words) as error:
        mnist.read_idx(raw_bytes, "here.idx")
    assert sentence(error).startswith("here.idx ")


def test_hold_out_takes_the_last_training_digits(folder):
    digits = load_digits(folder)
    images, labels, held_images, held_labels = hold_out(digits, validation=5)
    assert images.shape == (7, 28, 28, 1) and held_images.shape == (5, 28, 28, 1)
    np.testing.assert_array_equal(np.concatenate([images, held_images]), digits.train_images)
    np.testing.assert_array_equal(np.concatenate([labels, held_labels]), digits.train_labels)
    np.testing.assert_array_equal(held_labels, digits.train_labels[7:])


@pytest.mark.parametrize("validation", [0, -1, 12, 13, 0.1, True, None, "5"])
def test_hold_out_refuses(validation, folder):
    with pytest.raises(ValueError, match="validation must be a whole number between 1 and 11, not"):
        hold_out(load_digits(folder), validation=validation)
