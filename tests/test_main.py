"""The command line: what it prints, which files it leaves, and its exit status.

What it refuses is in test_main_refuses.py, how a run goes on in test_main_resume.py.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import LAST_LINE, TINY, call, figure, files, refused, succeeds

from stn_scratch.data.tasks import TASKS
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.models import MODELS
from stn_scratch.training import command, loop, run_folder

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


def test_a_folder_that_no_picture_can_be_written_into(trained, few, monkeypatch):
    def full(*_):
        raise OSError("cannot write curves.png: No space left on device")

    monkeypatch.setattr(command, "write_report", full)
    status, out, err = call("evaluate", trained[0])
    assert (status, err) == (2, "stn_scratch: cannot write curves.png: No space left on device\n")
    assert figure(out) == figure(trained[1])


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
