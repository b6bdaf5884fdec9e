"""Files that are there whole or not at all, and the log, which grows."""

import os
from types import SimpleNamespace

import pytest
from mishaps import a_small_disk

from stn_scratch.training import run_folder
from stn_scratch.training.files import replacing


def test_of_two_writers_the_later_one_stands(tmp_path, monkeypatch):
    """Two processes, or two threads: neither writes into the other's file, nor removes it."""
    path = tmp_path / "file"
    with replacing(path) as one:
        one.write(b"A" * 10)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            with replacing(path) as other:
                other.write(b"B" * 4)
        assert path.read_bytes() == b"B" * 4
    assert path.read_bytes() == b"A" * 10 and os.listdir(tmp_path) == ["file"]


def test_a_file_stands_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="^cannot write .*file/below: Not a directory$"), replacing(
            tmp_path / "file" / "below"):
        pass


def test_a_log_on_a_full_disk(tmp_path):
    run = SimpleNamespace(folder=tmp_path)
    run_folder.log(run, {"step": 1})
    with a_small_disk(12), pytest.raises(OSError, match=r"^cannot write .*metrics\.jsonl: File too large$"):
        run_folder.log(run, {"step": 2})
