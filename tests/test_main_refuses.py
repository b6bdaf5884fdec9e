"""What the command line refuses: one sentence that speaks of its options, exit status 2, and nothing is lost."""

import gzip
import shutil

import pytest
from command_line import TINY, figure, files, refused, succeeds
from strict import strict

from stn_scratch import backend
from stn_scratch.data import mnist
from stn_scratch.models import MODELS


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["train", "--iterations", "0"], "--iterations must be a positive whole number, not 0"),
    (["train", "--seed", "-1"], "--seed must be a whole number, 0 or more, not -1"),
    (["train", "--validation", "1"], "--validation must be a part of the digits, between 0 and 1, not 1.0"),
    (["train", "--decay", "cosine", "--decay-every", "0"], "--decay-every must be a positive whole number, not 0"),
    (["train", "--validate-every", "0"], "--validate-every must be a positive whole number, not 0"),
    (["train", "--lr", "nan", "--digits", "embedded"], "--lr must be a finite number, 0 or more, not nan"),
    (["train", "--digits", "embedded", "--data-dir", "here"],
     "--data-dir must be left out with the embedded digits, not 'here'"),
    (["train", "--data-dir", "nowhere"], "nowhere/train-images-idx3-ubyte.gz is missing: the data folder must hold "
                                         f"{', '.join(mnist.FILES)}"),
    (["train", "--model", "cnn", "--transform", "tps"], "--transform must be left out, for it has no effect on cnn"),
    (["train", "--localisation-downsample", "0"], "--localisation-downsample must be a positive whole number, not 0"),
    (["train", "--model", "cnn", "--localisation-downsample", "2"],
     "--localisation-downsample must be left out, for it has no effect on cnn"),
    (["train", "--model", "2st-cnn", "cnn", "--kernel", "bicubic"],
     "--kernel must be left out, for it has no effect on 2st-cnn or cnn"),
    (["train", "--resume", "--out", "nowhere"], "nowhere holds no run: there is no such folder"),
    (["evaluate", "nowhere"], "nowhere holds no run: there is no such folder"),
    (["evaluate", "."], ". holds no run: there is no config.json in it"),
])
def test_bad_value(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STN_DATA", raising=False)
    assert refused(*arguments) == f"stn_scratch: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["evaluate"], ["train", "--resume", "--out"]])
def test_a_folder_that_holds_runs_names_them(trained, arguments):
    folder = trained[0]
    text = refused(*arguments, folder.parent)
    assert text == f"stn_scratch: {folder.parent} holds no run, but folders of runs: {folder}; name one of them\n"


@pytest.mark.parametrize(("arguments", "words"), [
    (["train", "--iterations", "many"], "--iterations: invalid int value: 'many'"),
    (["train", "--model", "vgg"], "--model: invalid choice: 'vgg' (choose from "),
    (["train", "--recipe", "long"], "--recipe: invalid choice: 'long' (choose from "),
    (["train", "--resume", "--overwrite"], "--overwrite: not allowed with argument --resume"),
    (["train", "--colour"], "unrecognized arguments: --colour"),
    (["evaluate"], "the following arguments are required: run"),
    ([], "the following arguments are required: COMMAND"),
    (["fly"], "COMMAND: invalid choice: 'fly' (choose from "),
])
def test_what_the_parser_refuses(arguments, words):
    text = refused(*arguments)
    assert text.startswith(f"stn_scratch: {words}") and text.endswith(" --help\n")


def test_a_misspelt_model_lists_them_all_and_where_to_look():
    text = refused("train", "--model", "vgg")
    assert all(name in text for name in MODELS)
    assert text.endswith("; see python -m stn_scratch train --help\n")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_no_gpu(trained, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "_cupy", lambda: None)
    arguments = [*TINY, "--model", "fcn"] if command == "train" else [trained[0]]
    assert "--device gpu: there is none here" in refused(command, *arguments, "--device", "gpu")
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_from_the_command_line(trained, few, monkeypatch):
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    assert figure(succeeds("evaluate", trained[0], "--device", "gpu")) == figure(trained[1])


def test_a_data_file_that_is_cut_short(tmp_path):
    for name in mnist.FILES:
        (tmp_path / name).write_bytes(gzip.compress(b"\0\0\x08\x01" + bytes(400), mtime=0)[:20])
    text = refused("train", "--data-dir", tmp_path, "--out", tmp_path / "run")
    assert f"{tmp_path / 'train-images-idx3-ubyte.gz'} is cut short" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["checkpoint.npz", "config.json"])
@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_a_damaged_run(trained, few, tmp_path, name, command):
    for file, content in files(trained[0]).items():
        (tmp_path / file).write_bytes(content[:len(content) // 2] if file == name else content)
    before = files(tmp_path)
    text = refused(*(["evaluate", tmp_path] if command == "evaluate" else ["train", "--resume", "--out", tmp_path]))
    assert str(tmp_path / name) in text
    assert files(tmp_path) == before


@pytest.mark.parametrize("mistake", [["--lr", "-1"], ["--clip-norm", "0"], ["--data-dir", "nowhere"],
                                     ["--iterations", "0"], ["--model", "cnn", "--parameters", "-5"]])
def test_a_mistake_in_an_option_does_not_cost_the_old_run(trained, tmp_path, monkeypatch, mistake):
    monkeypatch.delenv("STN_DATA", raising=False)
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    given = [] if mistake[0] == "--data-dir" else TINY
    refused("train", *given, "--out", tmp_path, "--overwrite", *mistake)
    assert files(tmp_path) == files(trained[0])
