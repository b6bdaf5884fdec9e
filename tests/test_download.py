"""MNIST by a checked download: the cache, mirrors that give rubbish, and what happens without a network."""

import http.server
import socket
import threading

import pytest
from small_mnist import (
    BAD_FILES,
    IMAGES,
    LABELS,
    TEST_IMAGES,
    TEST_LABELS,
    alone,
    check_miniature,
    miniature,
    pack,
    sentence,
    write,
)

from stn_scratch.data import download, load_digits, mnist


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def raw(monkeypatch):
    return miniature(monkeypatch)


@pytest.fixture
def packed(raw):
    return pack(raw)


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


@pytest.fixture
def offline(monkeypatch):
    """Every mirror is a local port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(mnist, "MIRRORS", (f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/again/"))


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


def test_offline_with_a_full_cache_needs_no_network(offline, packed, raw, cache, capsys):
    write(cache, packed)
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
