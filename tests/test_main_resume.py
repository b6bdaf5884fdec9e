"""Ctrl-C for real, and how a run goes on."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import PROGRESS, TINY, call, figure, files, refused, succeeds

from stn_scratch.data import tasks
from stn_scratch.training import loop, run_folder

SECONDS = 90  # the longest wait for another process


def test_ctrl_c_and_resume_give_the_run_never_interrupted(tmp_path):
    """SIGINT to a real process while it trains; the folder then goes on as if nothing had happened."""
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    endless = [*TINY, "--validate-every", "1", "--validation", "0.01", "--iterations", "1000000"]
    process = subprocess.Popen([sys.executable, "-m", "stn_scratch", "train", *endless, "--out", stopped],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + SECONDS
        while len(run_folder.read_metrics(stopped)) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    *shown, last = err.splitlines()
    assert [line for line in shown if not PROGRESS.fullmatch(line)] == []
    said = re.fullmatch(r"stopped after step (\d+) of 1000000, saved in (.*)\. Go on with .* --resume\.", last)
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
    steps = [record["step"] for record in run_folder.read_metrics(stopped) if "validation_error" in record]
    assert steps == list(range(1, step + 4))


@pytest.mark.parametrize("where", ["load_digits", "build_model", "error_on"])
def test_ctrl_c_before_and_after_the_training(tmp_path, few, monkeypatch, where):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks if where == "load_digits" else loop, where, pressed)
    status, _, err = call("train", *TINY, "--model", "fcn", "--iterations", 2, "--out", tmp_path / "run")
    said = [line for line in err.splitlines() if not PROGRESS.fullmatch(line)]
    assert (status, said) == (130, ["stn_scratch: stopped; a run goes on from its last checkpoint with the "
                                   "same command and --resume"])
    status, _, err = call("train", *TINY, "--model", "fcn", "--iterations", 2, "--out", tmp_path / "run", "--overwrite")
    assert status == 130 and err.endswith("with the same command, with --resume for --overwrite\n")


def test_ctrl_c_where_nothing_can_be_gone_on_with(trained, few, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "error_on", pressed)
    assert call("evaluate", trained[0]) == (130, "", "stn_scratch: stopped\n")


def test_a_run_goes_on_with_the_digits_that_it_found(tmp_path, few, monkeypatch):
    """Started with the embedded digits for want of others, it must not go on with all of MNIST's."""
    options = [*TINY[2:], "--model", "fcn", "--iterations", 1, "--out", tmp_path]
    succeeds("train", *options)
    asked, load = [], tasks.load_digits
    monkeypatch.setattr(tasks, "load_digits", lambda *given, source: asked.append(source) or load())
    succeeds("train", *options, "--resume")
    succeeds("train", *options, "--resume", "--digits", "auto")
    succeeds("evaluate", tmp_path)
    assert asked == ["embedded"] * 3
    assert refused("train", *options, "--resume", "--digits", "mnist") == (
        "stn_scratch: --digits must stay 'embedded', as the run was started, not 'mnist'\n")


def test_a_run_that_was_stopped_before_its_first_checkpoint(tmp_path, few):
    """By itself it is a sentence; as one of several models it begins again."""
    options = [*TINY, "--iterations", 1, "--out", tmp_path]
    succeeds("train", *options, "--model", "fcn", "cnn")
    (tmp_path / "cnn" / "checkpoint.npz").unlink()
    text = refused("train", *options[:-1], tmp_path / "cnn", "--resume")
    assert text == (f"stn_scratch: {tmp_path / 'cnn'} holds a run that was stopped before its first checkpoint: begin "
                    "again with --overwrite\n")
    succeeds("train", *options, "--model", "fcn", "cnn", "--resume")
    assert (tmp_path / "cnn" / "checkpoint.npz").exists()


def test_resume_refuses_other_options(trained, few):
    before = files(trained[0])
    text = refused("train", *TINY, "--seed", 3, "--iterations", 9, "--out", trained[0], "--resume", "--lr", "0.5")
    assert text == "stn_scratch: --lr must stay 0.05, as the run was started, not 0.5\n"
    assert files(trained[0]) == before


def test_a_resumed_run_keeps_its_recipe(tmp_path, few):
    paper = [*TINY, "--model", "fcn", "--recipe", "paper", "--iterations", 1, "--out", tmp_path]
    succeeds("train", *paper)
    for again in (paper, ["--out", tmp_path]):
        succeeds("train", *again, "--resume")
        config = json.loads((tmp_path / "config.json").read_text())["config"]
        assert (config["lr"], config["clip_norm"], config["iterations"]) == (0.01, None, 1)
    text = refused("train", "--recipe", "short", "--batch", 16, "--out", tmp_path, "--resume")
    assert text == "stn_scratch: --lr must stay 0.01, as the run was started, not 0.05\n"


def test_more_iterations_keep_the_schedule_and_say_so(tmp_path, few):
    options = [*TINY[:-2], "--model", "fcn", "--out", tmp_path]
    out = succeeds("train", *options, "--iterations", 3)
    assert "divided by ten" not in out
    assert "divided by ten" not in succeeds("train", "--out", tmp_path, "--resume")
    out = succeeds("train", *options, "--iterations", 5, "--resume")
    assert out.splitlines()[0] == ("5 steps, where the run was started for 3: "
                                   "the learning rate still is divided by ten every 1")
    assert json.loads((tmp_path / "config.json").read_text())["config"]["decay_every"] == 1


def test_more_iterations_than_a_cosine(tmp_path, few):
    options = [*TINY[:-2], "--model", "fcn", "--decay", "cosine", "--out", tmp_path]
    succeeds("train", *options, "--iterations", 3)
    out = succeeds("train", *options, "--iterations", 5, "--resume")
    assert out.splitlines()[0].endswith("the learning rate still falls to 0 in the first 3")
