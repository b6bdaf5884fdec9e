"""The command line: what it prints, which files it leaves, its exit status, and Ctrl-C for real.

What it refuses is in test_main_refuses.py.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import LAST_LINE, PROGRESS, TINY, call, figure, files, refused, succeeds
from small_runs import few_digits

from stn_scratch import __main__ as command
from stn_scratch.data import tasks
from stn_scratch.data.tasks import TASKS
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import MODELS
from stn_scratch.training import loop, run_folder

SECONDS = 90  # the longest wait for another process


@pytest.fixture
def few(monkeypatch):
    digits = few_digits()
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: digits)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder after six iterations, and what `train` printed."""
    folder, digits = tmp_path_factory.mktemp("runs") / "run", few_digits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "load_digits", lambda *_, **__: digits)
        return folder, succeeds("train", *TINY, "--seed", 3, "--iterations", 6, "--out", folder)


# train and evaluate


def test_train_prints_its_test_error_last(trained):
    folder, out = trained
    assert figure(out)[1] == "60"
    pictures = re.search("^pictures: (.+)$", out, re.MULTILINE)[1].split(", ")
    assert {str(folder / "curves.png"), str(folder / "looks.png")} <= set(pictures)
    kept = [str(folder / name) for name in ("checkpoint.npz", "config.json", "metrics.jsonl")]
    assert sorted(map(str, folder.iterdir())) == sorted(kept + pictures)
    logged = run_folder.read_metrics(folder)[-1]
    assert figure(out) == (f"{logged['test_error']:.2f}", str(logged["test_images"]))


def test_config_holds_what_a_result_depends_on(trained):
    stored = json.loads((trained[0] / "config.json").read_text())
    assert {"python", "numpy", "stn_scratch"} <= stored["versions"].keys()
    assert stored["config"]["device"] == "cpu" and stored["config"]["seed"] == 3
    assert stored["config"]["model"] == "st-cnn" and stored["config"]["data"] == "rts"
    assert stored["config"]["lr"] == 0.05 and stored["config"]["clip_norm"] == 5  # the recipe's, as numbers
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
    # an FCN has no transformer that could look somewhere
    for row, model, error, looks in zip(rows, ("fcn", "st-cnn"), errors, ("-", tmp_path / "st-cnn" / "looks.png"),
                                        strict=True):
        assert re.match(rf"{model} +[\d,]+ +{error} % +\d+   {re.escape(str(looks))}$", row)
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
    assert {record["step"] for record in run_folder.read_metrics(tmp_path)} == {2}


# Recipes

SHORT = {"iterations": 3000, "batch": 256, "lr": 0.05, "localisation_factor": 0.2, "clip_norm": 5.0,
         "weight_decay": 0.0, "decay_every": 1000}
PAPER = {"iterations": 150_000, "batch": 256, "lr": 0.01, "localisation_factor": 1.0, "clip_norm": None,
         "weight_decay": 0.0, "decay_every": 50_000}


@pytest.mark.parametrize(("given", "expected"), [
    ([], SHORT),
    (["--recipe", "short"], SHORT),
    (["--recipe", "paper"], PAPER),
    (["--lr", "0.5", "--recipe", "short", "--clip-norm", "2"], SHORT | {"lr": 0.5, "clip_norm": 2.0}),
    (["--weight-decay", "0.001"], SHORT | {"weight_decay": 0.001}),
    (["--threads", "3", "--shard", "20"], SHORT | {"threads": 3, "shard": 20}),
    (["--recipe", "paper", "--iterations", "30", "--localisation-factor", "0.1"],
     PAPER | {"iterations": 30, "localisation_factor": 0.1, "decay_every": 10}),
])
def test_a_recipe_and_what_overrides_it(tmp_path, monkeypatch, given, expected):
    configs = []

    def start(config, *_, **__):
        configs.append(config)
        raise ValueError("far enough")

    monkeypatch.setattr(loop, "start", start)
    assert refused("train", "--out", tmp_path, *given) == "stn_scratch: far enough\n"
    assert {name: getattr(configs[0], name) for name in expected} == expected


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


# Ctrl-C


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


def test_a_folder_that_no_picture_can_be_written_into(trained, few, monkeypatch):
    def full(*_):
        raise OSError("cannot write curves.png: No space left on device")

    monkeypatch.setattr(command, "write_report", full)
    status, out, err = call("evaluate", trained[0])
    assert (status, err) == (2, "stn_scratch: cannot write curves.png: No space left on device\n")
    assert figure(out) == figure(trained[1])


def test_resume_refuses_other_options(trained, few):
    before = files(trained[0])
    text = refused("train", *TINY, "--seed", 3, "--iterations", 9, "--out", trained[0], "--resume", "--lr", "0.5")
    assert text == "stn_scratch: --lr must stay 0.05, as the run was started, not 0.5\n"
    assert files(trained[0]) == before


# info and help


def test_help_lists_what_there_is_to_choose_from():
    status, out, err = call("train", "--help")
    assert (status, err) == (0, "") and out.startswith("usage: python -m stn_scratch train ")
    for name, distortion in TASKS.items():
        assert re.search(rf"^  {name} +{re.escape(distortion.description)}$", out, re.MULTILINE)
    recipes = out[out.index("recipes ("):].splitlines()[1:]
    assert [line.split() for line in recipes] == [
        ["short", *"--iterations 3000 --batch 256 --lr 0.05 --localisation-factor 0.2 --clip-norm 5".split()],
        ["paper", *"--iterations 150000 --batch 256 --lr 0.01 --localisation-factor 1".split()]]


def test_info():
    lines = succeeds("info").splitlines()
    assert "numpy " in lines[0] and "stn_scratch " in lines[0] and lines[1].startswith("GPU: ")
    assert lines[2].startswith("compiled kernels: ") and len(lines) == 3


def test_info_lists_the_models():
    rows = succeeds("info", "--models").splitlines()[5:]
    names = [row.split()[0] for row in rows]
    assert set(names) == set(MODELS)
    assert [row.split()[1] for row in rows if row.startswith("st-cnn")] == list(TRANSFORMATIONS)
    # one comparison, one budget
    counts = [int(count.replace(",", "")) for row in rows for count in row.split()[-3:] if count != "-"]
    assert all(abs(count - 400_000) < 20_000 for count in counts)


@pytest.mark.parametrize("kernel", ["integer", "bicubic", "gaussian", "triangle"])
def test_a_kernel_is_chosen_and_kept(few, tmp_path, kernel):
    out = succeeds("train", *TINY, "--model", "st-fcn", "--parameters", "60000", "--kernel", kernel, "--iterations", 2,
                   "--out", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["kernel"] == kernel
    assert figure(succeeds("evaluate", tmp_path)) == figure(out)


def test_a_run_that_nobody_watches_says_how_far_it_is(tmp_path, few):
    status, out, err = call("train", *TINY, "--model", "fcn", "--iterations", 40, "--out", tmp_path)
    shown = [line.split(",")[0] for line in err.splitlines()]
    assert (status, shown) == (0, ["fcn: step 20 of 40", "fcn: step 40 of 40"]) and "step" not in out


# read


def test_read_opens_a_page(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = Path(succeeds("read", "affine_grid").strip())
    assert path.is_relative_to(tmp_path) and opened == [path.as_uri()]
    assert path.read_text().count("<table") == 2 and "affine_grid_backward" in path.read_text()


def test_read_writes_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda address: pytest.fail("a browser was opened"))
    assert succeeds("read", "paper.sample", "--out", tmp_path / "page.html").strip() == str(tmp_path / "page.html")
    assert "stn_scratch.paper.sample" in (tmp_path / "page.html").read_text()
    assert "did you mean" in refused("read", "sampel", "--out", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()
