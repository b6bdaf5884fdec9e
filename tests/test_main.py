"""The command line: what it prints, which files it leaves, its exit status, and Ctrl-C for real."""

import contextlib
import gzip
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from strict import strict

from stn_scratch import backend
from stn_scratch.__main__ import main
from stn_scratch.data import load_digits, mnist
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.training import loop

TINY = ["--digits", "embedded", "--parameters", "24000", "--batch", "16", "--validation", "0.1", "--threads", "2",
        "--validate-every", "4", "--checkpoint-every", "4", "--decay-every", "100"]
LAST_LINE = re.compile(r"test error: (\d+\.\d\d) % \((\d+) images\)")
SECONDS = 90  # the longest wait for another process


def call(*arguments):
    """Run the command line in this process -> exit status, what it said on stdout, and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        except KeyboardInterrupt:
            status = "a traceback"
    return status, out.getvalue(), err.getvalue()


def refused(*arguments):
    """The command says one sentence on stderr, nothing on stdout, and ends with status 2 -> the sentence."""
    status, out, err = call(*arguments)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and err.startswith("stn_scratch: ")
    return err


def succeeds(*arguments):
    status, out, err = call(*arguments)
    assert (status, err) == (0, "")
    return out


def figure(out):
    """Test error and number of images, from the last line."""
    return LAST_LINE.fullmatch(out.splitlines()[-1]).groups()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def few_digits():
    every = load_digits(source="embedded")
    return every._replace(train_images=every.train_images[:240], train_labels=every.train_labels[:240],
                          test_images=every.test_images[:60], test_labels=every.test_labels[:60])


@pytest.fixture
def few(monkeypatch, few_digits):
    monkeypatch.setattr(loop, "load_digits", lambda *_, **__: few_digits)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, few_digits):
    """A run folder after six iterations, and what `train` printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_digits", lambda *_, **__: few_digits)
        return folder, succeeds("train", *TINY, "--seed", 3, "--iterations", 6, "--out", folder)


# train and evaluate


def test_train_prints_its_test_error_last(trained):
    folder, out = trained
    assert figure(out)[1] == "60"
    assert sorted(files(folder)) == ["checkpoint.npz", "config.json", "curves.png", "looks.png", "metrics.jsonl"]
    assert str(folder / "curves.png") in out and str(folder / "looks.png") in out
    logged = loop.read_metrics(folder)[-1]
    assert figure(out) == (f"{logged['test_error']:.2f}", str(logged["test_images"]))


def test_config_holds_what_a_result_depends_on(trained):
    stored = json.loads((trained[0] / "config.json").read_text())
    assert {"python", "numpy", "stn_scratch"} <= stored["versions"].keys()
    assert stored["config"]["device"] == "cpu" and stored["config"]["seed"] == 3
    assert stored["config"]["model"] == "st-cnn" and stored["config"]["data"] == "rts"
    assert stored["digits"] == "embedded digits (4000/1000)" and 22_000 < stored["parameters"] < 26_000


def test_evaluate_gives_the_same_figure_and_changes_no_record(trained, few):
    folder, out = trained
    before = files(folder)
    again = succeeds("evaluate", folder)
    assert figure(again) == figure(out)
    assert "st-cnn, " in again and "after step 6, on embedded digits" in again
    kept = ("checkpoint.npz", "config.json", "metrics.jsonl")
    assert {name: files(folder)[name] for name in kept} == {name: before[name] for name in kept}


def test_several_models_in_one_table(tmp_path, few):
    out = succeeds("train", *TINY, "--model", "fcn", "st-cnn", "--iterations", 2, "--out", tmp_path)
    errors = [match[0] for match in LAST_LINE.findall(out)]
    head, *rows = out.splitlines()[-3:]
    assert "parameters" in head and "test error" in head
    for row, model, error in zip(rows, ("fcn", "st-cnn"), errors, strict=True):
        assert re.match(rf"{model} +[\d,]+ +{error} % +\d+ +{re.escape(str(tmp_path / model / 'looks.png'))}$", row)
        assert (tmp_path / model / "checkpoint.npz").is_file()


def test_the_default_folder(tmp_path, few, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeeds("train", *TINY, "--model", "fcn", "--data", "none", "--seed", 7, "--iterations", 1)
    assert (tmp_path / "runs" / "fcn-none-7" / "config.json").is_file()


def test_a_run_is_not_replaced_unasked(trained, tmp_path, few):
    folder, _ = trained
    before = files(folder)
    assert "--resume" in (text := refused("train", *TINY, "--out", folder)) and "--overwrite" in text
    assert str(folder) in text and files(folder) == before
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    succeeds("train", *TINY, "--model", "fcn", "--iterations", 2, "--out", tmp_path, "--overwrite")
    assert json.loads((tmp_path / "config.json").read_text())["config"]["model"] == "fcn"
    assert {record["step"] for record in loop.read_metrics(tmp_path)} == {2}


@pytest.mark.parametrize("mistake", [["--lr", "-1"], ["--clip-norm", "0"], ["--data-dir", "nowhere"],
                                     ["--iterations", "0"], ["--model", "cnn", "--parameters", "-5"]])
def test_a_mistake_in_an_option_does_not_cost_the_old_run(trained, tmp_path, monkeypatch, mistake):
    monkeypatch.delenv("STN_DATA", raising=False)
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    given = [] if mistake[0] == "--data-dir" else TINY
    refused("train", *given, "--out", tmp_path, "--overwrite", *mistake)
    assert files(tmp_path) == files(trained[0])


# Ctrl-C


def test_ctrl_c_and_resume_give_the_run_never_interrupted(tmp_path):
    """SIGINT to a real process while it trains; the folder then goes on as if nothing had happened."""
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    endless = [*TINY, "--validate-every", "1", "--validation", "0.01", "--iterations", "1000000"]
    process = subprocess.Popen([sys.executable, "-m", "stn_scratch", "train", *endless, "--out", stopped],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + SECONDS
        while len(loop.read_metrics(stopped)) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    said = re.fullmatch(r"stopped after step (\d+) of 1000000, saved in (.*)\. Go on with .* --resume\.\n", err)
    step = int(said[1])
    assert said[2] == str(stopped) and step >= 3

    common = [*endless[:-1], str(step + 3)]
    resumed = succeeds("train", *common, "--out", stopped, "--resume")
    unbroken = succeeds("train", *common, "--out", whole)
    assert figure(resumed) == figure(unbroken)
    with np.load(stopped / "checkpoint.npz") as a, np.load(whole / "checkpoint.npz") as b:
        for name in ("params", "velocity"):
            assert np.array_equal(a[name], b[name])
        assert json.loads(str(a["state"])) == json.loads(str(b["state"]))
    steps = [record["step"] for record in loop.read_metrics(stopped) if "validation_error" in record]
    assert steps == list(range(1, step + 4))


@pytest.mark.parametrize("where", ["load_digits", "build_model", "error_on"])
def test_ctrl_c_before_and_after_the_training(tmp_path, few, monkeypatch, where):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, where, pressed)
    status, _, err = call("train", *TINY, "--model", "fcn", "--iterations", 2, "--out", tmp_path / "run")
    assert status == 130 and err.count("\n") == 1 and "Traceback" not in err


def test_resume_refuses_other_options(trained, few):
    before = files(trained[0])
    text = refused("train", *TINY, "--seed", 3, "--iterations", 9, "--out", trained[0], "--resume", "--lr", "0.5")
    assert "the run was started with lr = 0.01: it cannot be resumed with 0.5" in text
    assert files(trained[0]) == before


# info


def test_info():
    lines = succeeds("info").splitlines()
    assert "numpy " in lines[0] and "stn_scratch " in lines[0] and lines[1].startswith("GPU: ") and len(lines) == 2


def test_info_lists_the_models():
    rows = succeeds("info", "--models").splitlines()[4:]
    names = [row.split()[0] for row in rows]
    assert set(names) == {"fcn", "cnn", "st-fcn", "st-cnn"}
    assert [row.split()[1] for row in rows if row.startswith("st-cnn")] == list(TRANSFORMATIONS)
    # one comparison, one budget
    counts = [int(count.replace(",", "")) for row in rows for count in row.split()[-3:]]
    assert all(abs(count - 400_000) < 20_000 for count in counts)


# What is refused


@pytest.mark.parametrize(("arguments", "words"), [
    (["train", "--iterations", "0"], "iterations must be a positive whole number, not 0"),
    (["train", "--seed", "-1"], "seed must be a whole number, 0 or more, not -1"),
    (["train", "--validation", "1"], "validation must be a part of the digits, between 0 and 1, not 1.0"),
    (["train", "--lr", "nan", "--digits", "embedded"], "lr must be a finite number, 0 or more, not nan"),
    (["train", "--digits", "embedded", "--data-dir", "here"], "data_dir must be left out with source='embedded'"),
    (["train", "--data-dir", "nowhere"], "train-images-idx3-ubyte.gz is missing: data_dir must name a folder"),
    (["train", "--resume", "--out", "nowhere"], "nowhere holds no run: there is no config.json"),
    (["evaluate", "nowhere"], "nowhere holds no run: there is no config.json"),
])
def test_bad_value(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STN_DATA", raising=False)
    assert words in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "words"), [
    (["train", "--iterations", "many"], "--iterations: invalid int value: 'many'"),
    (["train", "--model", "vgg"], "--model: invalid choice: 'vgg'"),
    (["train", "--colour"], "unrecognized arguments: --colour"),
    (["evaluate"], "the following arguments are required: run"),
    ([], "the following arguments are required: COMMAND"),
    (["fly"], "invalid choice: 'fly'"),
])
def test_what_the_parser_refuses(arguments, words):
    status, out, err = call(*arguments)
    assert status == 2 and out == ""
    assert err.startswith("usage: ") and words in err.splitlines()[-1]


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
