"""A run's configuration: bad values, the way to the file and back, what may change in a resumed run."""

import json
import re
from dataclasses import asdict, fields

import pytest
from mishaps import a_small_disk

from stn_scratch.data.tasks import TASKS
from stn_scratch.models import MODELS
from stn_scratch.training.config import RECIPES, Config, load_config, resume_config, save_config, versions

WHOLE = "must be a positive whole number, not"


def one_line(error):
    text = str(error.value)
    assert text and "\n" not in text
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.json"


@pytest.mark.parametrize(("name", "value", "words"), [
    ("model", "stn", f"must be one of {', '.join(map(repr, MODELS))}, not 'stn'"),
    ("model", None, "must be one of"),
    ("model", ["cnn"], "must be one of"),
    ("transform", "fold", "must be one of 'affine', "),
    ("data", "RTS", f"must be one of {', '.join(map(repr, TASKS))}, not 'RTS'"),
    ("digits", "web", "must be one of 'auto', 'mnist', 'embedded', not 'web'"),
    ("device", "cuda", "must be one of 'cpu', 'gpu', not 'cuda'"),
    ("kernel", "tent", "must be one of 'integer', 'bilinear', 'bicubic', 'gaussian', 'triangle', not 'tent'"),
    ("lattice", "left", "must be one of 'right', 'central', not 'left'"),
    *((name, value, WHOLE)
      for name in ("iterations", "batch", "parameters", "validate_every", "checkpoint_every", "log_every", "shard",
                   "threads", "decay_every")
      for value in (0, -1, 1.5, "8", True)),
    *((name, None, WHOLE)
      for name in ("iterations", "batch", "parameters", "validate_every", "checkpoint_every", "log_every")),
    ("decay", "line", "must be one of 'steps', 'cosine', not 'line'"),
    *(("warmup", value, "must be a whole number, 0 or more, not") for value in (-1, 1.5, "8", None)),
    ("seed", -1, "must be a whole number, 0 or more, not -1"),
    ("seed", 1.0, "must be a whole number, 0 or more, not 1.0"),
    ("seed", "1", "must be a whole number, 0 or more, not '1'"),
    *(("validation", value, "must be a part of the digits, between 0 and 1, not")
      for value in (0, 1, -0.1, 1.5, float("nan"), "0.5", None)),
    *((name, value, "must be") for name in ("lr", "momentum", "localisation_factor", "weight_decay")
      for value in (-0.1, float("nan"), float("inf"), "0.1", None)),
    ("momentum", 1.0, "must be below 1"),
    *(("clip_norm", value, "must be") for value in (0, -1.0, float("nan"), "5")),
    ("data_dir", 3, "must be"),
])
def test_bad_value(name, value, words):
    with pytest.raises(ValueError, match=f"^{name} {re.escape(words)}") as error:
        Config(**{name: value})
    one_line(error)


def test_defaults_of_a_third_of_the_iterations_and_of_the_machine():
    assert [Config(iterations=n).decay_every for n in (1, 2, 3, 3000)] == [1, 1, 1, 1000]
    assert Config(iterations=3000, decay_every=7).decay_every == 7
    # a cosine falls over all of them
    assert Config(iterations=3000, decay="cosine").decay_every == 3000
    # chosen where the run goes on, which may be another machine
    assert Config().threads is None and Config().shard is None and Config(threads=2).threads == 2


def test_recipes():
    """The paper's numbers (App. A.4); and the short recipe is what one gets without asking."""
    paper = Config(**RECIPES["paper"])
    assert (paper.iterations, paper.batch, paper.lr, paper.decay_every) == (150_000, 256, 0.01, 50_000)
    assert (paper.localisation_factor, paper.clip_norm) == (1, None)
    short = Config(**RECIPES["short"])
    assert (short.iterations, short.batch, short.lr, short.decay_every) == (3000, 256, 0.05, 1000)
    assert (short.localisation_factor, short.clip_norm) == (0.2, 5)
    assert short == Config() and RECIPES["short"].keys() == RECIPES["paper"].keys()


# The file


@pytest.mark.parametrize("config", [
    Config(),
    Config(model="cnn", transform="attention", data="tc", digits="mnist", data_dir="somewhere", iterations=7, batch=8,
           seed=9, device="gpu", parameters=10, downsample=3, localisation_downsample=2, kernel="bicubic",
           lattice="central", lr=0.5, momentum=0.0, decay="cosine", decay_every=11, warmup=2, localisation_factor=0.25,
           clip_norm=6.0, weight_decay=0.001, validation=0.5, validate_every=12, checkpoint_every=13, log_every=14,
           threads=15, shard=16)], ids=["defaults", "everything else"])
def test_file_round_trip(path, config):
    save_config(path, config, digits="some digits (3/2)", parameters=17)
    assert load_config(path) == config
    stored = json.loads(path.read_text())
    assert stored["config"] == asdict(config)
    assert (stored["digits"], stored["parameters"]) == ("some digits (3/2)", 17)
    assert stored["versions"] == versions() and {"python", "numpy", "stn_scratch"} <= versions().keys()


def test_everything_else_is_everything():
    """The second configuration above differs from the defaults in each field."""
    other = test_file_round_trip.pytestmark[0].args[1][1]
    assert [field.name for field in fields(Config) if getattr(other, field.name) == getattr(Config(), field.name)] == []


def no_run(path):
    """What is said of a folder that holds no run."""
    with pytest.raises(FileNotFoundError) as error:
        load_config(path)
    return one_line(error)


def test_missing_file(path):
    assert no_run(path) == f"{path.parent} holds no run: there is no config.json in it"


def test_missing_folder(tmp_path):
    assert no_run(tmp_path / "no" / "config.json") == f"{tmp_path / 'no'} holds no run: there is no such folder"


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, ""), (4, " and 1 more"), (12, " and 9 more")])
def test_a_folder_of_runs(tmp_path, path, count, more):
    (tmp_path / "not a run").mkdir()
    folders = [tmp_path / f"run-{k:02}" for k in range(count)]
    for folder in folders:
        folder.mkdir()
        save_config(folder / "config.json", Config())
    named = ", ".join(map(str, folders[:3]))
    assert no_run(path) == f"{tmp_path} holds no run, but folders of runs: {named}{more}; name one of them"


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"3", b"null", b"\xff\xfe\x00", b'{"config"}', b'{"versions": {}}', b'{"config": [1]}',
    b'{"config": null}', b'{"config": {"colour": 1}}', b'{"config": {"batch": 0}}', b'{"config": {"lr": "fast"}}',
    b'{"config": {"validation": "half"}}', b'{"config": {"data_dir": 3}}',
])
def test_damaged_file(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not the configuration of a run") as error:
        load_config(path)
    assert str(path) in one_line(error)


def test_a_failed_write_leaves_the_good_file(path):
    save_config(path, Config(seed=5))
    with a_small_disk(100), pytest.raises(OSError, match="File too large") as error:
        save_config(path, Config(seed=6))
    assert str(path) in one_line(error)
    assert load_config(path) == Config(seed=5)
    assert [file.name for file in path.parent.iterdir()] == ["config.json"]


# Resumed runs


def test_what_may_change():
    stored = Config(iterations=30, threads=1, seed=3, lr=0.5)
    given = {"iterations": 60, "device": "gpu", "threads": 4, "data_dir": "elsewhere"}
    resumed = resume_config(stored, given)
    assert asdict(resumed) == asdict(stored) | given
    assert resumed.decay_every == 10  # as the run was started
    assert stored.iterations == 30
    assert resume_config(stored, {}) == stored


def test_the_same_again_is_no_change():
    stored = Config(lr=0.5, model="cnn", clip_norm=6.0)
    assert resume_config(stored, {"lr": 0.5, "model": "cnn", "seed": 0, "clip_norm": 6}) == stored


@pytest.mark.parametrize(("name", "value"), [
    ("lr", 0.1), ("model", "cnn"), ("seed", 1), ("batch", 8), ("data", "tc"), ("decay_every", 5), ("validation", 0.2),
    ("parameters", 7), ("clip_norm", 1.0), ("transform", "attention"), ("lattice", "central"),
    ("kernel", "bicubic"), ("momentum", 0.5),
    ("digits", "mnist"), ("shard", 32), ("localisation_factor", 0.5), ("weight_decay", 1e-4),
])
def test_what_may_not_change(name, value):
    stored = Config()
    expected = f"{name} must stay {getattr(stored, name)!r}, as the run was started, not {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$") as error:
        resume_config(stored, {"iterations": 5, name: value})
    one_line(error)


def test_what_may_change_is_still_checked():
    with pytest.raises(ValueError, match=f"^iterations {WHOLE} 0$"):
        resume_config(Config(), {"iterations": 0})


@pytest.mark.parametrize("data, pooled", [("rts", 2), ("tc", 2), ("r", 1), ("p", 1), ("e", 1), ("none", 1)])
def test_the_paper_downsamples_rts_and_tc_only(data, pooled):
    assert Config(data=data).downsample == pooled
    assert Config(data=data, downsample=3).downsample == 3
