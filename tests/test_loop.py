"""Runs: whole, interrupted and taken up again, in a folder that cannot be used, and on the stand-in for a GPU."""

import errno
import json
import math
import shutil
import signal
import threading

import numpy as np
import pytest
from small_runs import SMALL, at_step, checkpoint, ctrl_c, find_few, held, step_saved
from strict import DeviceArray, strict
from threadpoolctl import threadpool_info

from stn_scratch import backend
from stn_scratch.layers import convolution
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config, load_config
from stn_scratch.training.step import Gradient


@pytest.fixture(scope="module", autouse=True)
def digits():
    with pytest.MonkeyPatch.context() as patch:
        find_few(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, digits):
    """The folder of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    loop.start(Config(**SMALL), folder, progress=False)
    return folder


def test_where_the_digits_are_is_known_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, _ = loop.prepare(Config(**SMALL | {"data_dir": "some/digits"}), tmp_path / "run")
    assert run.config.data_dir == str(tmp_path / "some" / "digits")


def test_what_is_no_training_does_not_count(monkeypatch):
    """Neither what passes before the meter is read nor what passes after it."""
    now = 100.0
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    meter = loop.Meter(8)

    def train(seconds):
        nonlocal now
        now += seconds
        meter.add(Gradient(0.5, 2, None))

    train(2.0)
    with meter.stopped():
        now += 50
        assert meter.read() == {"loss": 0.5, "error": 25.0, "images_per_s": 8 / 2}
        now += 7
    train(4.0)
    with meter.stopped():
        now += 30
    train(4.0)
    with meter.stopped():
        assert meter.read()["images_per_s"] == 2 * 8 / 8


def crash():
    raise MemoryError("a crash")


def same_checkpoints(folder, other):
    a, b = checkpoint(folder), checkpoint(other)
    for name in ("params", "velocity"):
        np.testing.assert_array_equal(a[name], b[name], strict=True)
    assert json.loads(str(a["state"])) == json.loads(str(b["state"]))


def steps(folder, key):
    return [record["step"] for record in run_folder.read_metrics(folder) if key in record]


def timeless(folder):
    return [{k: v for k, v in record.items() if k != "images_per_s"} for record in run_folder.read_metrics(folder)]


# A whole run


def test_a_run_leaves_its_records(whole):
    assert steps(whole, "loss") == list(range(1, 9))
    assert steps(whole, "validation_error") == [4, 8]
    assert steps(whole, "test_error") == [8]
    for record in run_folder.read_metrics(whole):
        assert all(math.isfinite(value) for value in record.values())
    rates = [record["rate"] for record in run_folder.read_metrics(whole) if "rate" in record]
    assert rates == pytest.approx([0.05] * 4 + [0.005] * 4)
    assert step_saved(whole) == 8
    assert load_config(whole / run_folder.CONFIG) == Config(**SMALL)
    assert {path.name for path in whole.iterdir()} == {run_folder.CONFIG, run_folder.METRICS, run_folder.CHECKPOINT}


def test_the_same_again_on_another_number_of_threads(whole, tmp_path):
    run, error, images = loop.start(Config(**SMALL | {"threads": 1}), tmp_path, progress=False)
    same_checkpoints(tmp_path, whole)
    assert timeless(tmp_path) == timeless(whole)
    assert images == 60 and error == run_folder.read_metrics(whole)[-1]["test_error"]
    np.testing.assert_array_equal(run.params.flat, checkpoint(whole)["params"])


@pytest.mark.parametrize("threads", [1, 3])
def test_the_error_is_found_by_the_threads_of_the_run(tmp_path, monkeypatch, threads):
    """All of them at once, and BLAS adds none of its own."""
    run, _ = loop.prepare(Config(**SMALL | {"threads": threads}), tmp_path)
    monkeypatch.setattr(batches, "BLOCK", 7)  # nine parts of the 60 test digits
    errors, together, seen = loop.step.errors, threading.Barrier(threads), set()

    def noted_errors(*of):
        together.wait(timeout=60)
        seen.add((threading.get_ident(), *(pool["num_threads"] for pool in threadpool_info()
                                           if pool["user_api"] == "blas")))
        return errors(*of)

    monkeypatch.setattr(loop.step, "errors", noted_errors)
    parts = batches.fixed_batches(run.splits[batches.TEST], "rts", seed=0, purpose=batches.TEST)
    wrong = sum(int(errors(run.network.forward(run.params, x)[0], labels)) for x, labels in parts)
    assert loop.error_on(run, batches.TEST) == (100 * wrong / 60, 60)
    assert len(seen) == threads and {n for _, *blas in seen for n in blas} == {1}


# Interrupted


@pytest.mark.parametrize(("happens", "step", "error", "saved"), [
    (ctrl_c, 3, loop.Interrupted, 3), (ctrl_c, 4, loop.Interrupted, 4), (ctrl_c, 7, loop.Interrupted, 7),
    (crash, 6, MemoryError, 4), (crash, 5, MemoryError, 4)])
def test_a_resumed_run_is_the_run_never_interrupted(whole, tmp_path, monkeypatch, happens, step, error, saved):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        at_step(patch, step, happens)
        with pytest.raises(error) as stop:
            loop.start(Config(**SMALL), tmp_path, progress=False)
    if error is loop.Interrupted:
        assert str(stop.value) == f"stopped after step {step} of 8, saved in {tmp_path}"
    assert signal.getsignal(signal.SIGINT) is before
    assert step_saved(tmp_path) == saved
    loop.start(Config(**SMALL), tmp_path, resume=True, progress=False)
    same_checkpoints(tmp_path, whole)
    assert [r for r in timeless(tmp_path) if "loss" not in r] == [r for r in timeless(whole) if "loss" not in r]
    assert steps(tmp_path, "loss") == steps(whole, "loss")
    assert [r["loss"] for r in timeless(tmp_path) if "loss" in r] == [r["loss"] for r in timeless(whole) if "loss" in r]


def test_ctrl_c_in_the_last_step_lets_the_run_end(whole, tmp_path, monkeypatch):
    at_step(monkeypatch, 8, ctrl_c)
    loop.start(Config(**SMALL), tmp_path, progress=False)
    same_checkpoints(tmp_path, whole)


def test_ctrl_c_twice_breaks_and_keeps_the_last_checkpoint(whole, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: (ctrl_c(), ctrl_c()))
        with pytest.raises(KeyboardInterrupt):
            loop.start(Config(**SMALL), tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert step_saved(tmp_path) == 4
    loop.start(Config(**SMALL), tmp_path, resume=True, progress=False)
    same_checkpoints(tmp_path, whole)


@pytest.fixture
def copied(whole, tmp_path):
    """A copy of the run, to do with as one likes."""
    return shutil.copytree(whole, tmp_path / "copy")


def test_a_half_written_record_does_not_stop_a_resumed_run(whole, copied):
    metrics = copied / run_folder.METRICS
    metrics.write_text(metrics.read_text()[:-30])
    loop.start(Config(**SMALL), copied, resume=True, progress=False)
    assert steps(copied, "loss") == steps(whole, "loss")


def test_resuming_a_finished_run_repeats_nothing(whole, copied):
    loop.start(Config(**SMALL), copied, resume=True, progress=False)
    assert run_folder.read_metrics(copied) == run_folder.read_metrics(whole)
    same_checkpoints(copied, whole)


def test_fewer_iterations_than_are_done_is_a_sentence(whole, copied):
    with pytest.raises(ValueError, match="iterations") as error:
        loop.start(Config(**SMALL | {"iterations": 3}), copied, resume=True, progress=False)
    assert "8" in str(error.value) and "\n" not in str(error.value)
    assert load_config(copied / run_folder.CONFIG).iterations == 8
    assert run_folder.read_metrics(copied) == run_folder.read_metrics(whole)


def test_resuming_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="^there is no checkpoint .*checkpoint.npz$"):
        loop.start(Config(**SMALL), tmp_path / "new", resume=True, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_an_older_run_stays(copied):
    for name in (*run_folder.PICTURES, run_folder.RECORD, "notes.txt"):
        (copied / name).write_text("old")
    loop.start(Config(**SMALL), copied, progress=False)
    assert {path.name for path in copied.iterdir()} == {run_folder.CONFIG, run_folder.METRICS, run_folder.CHECKPOINT,
                                                        "notes.txt"}


# A folder that cannot be used

def test_another_process_is_at_work_there(whole, copied):
    with held(copied), pytest.raises(RuntimeError, match="^another process is at work in .*copy$"):
        loop.start(Config(**SMALL), copied, progress=False)
    same_checkpoints(copied, whole)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_folder.fcntl, "flock", no_locks)
    with run_folder.locked(tmp_path), run_folder.locked(tmp_path):
        assert tmp_path.resolve() in run_folder._ours
    assert run_folder._ours == set()


def test_a_file_stands_where_the_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(OSError, match="^cannot write into the run folder .*run: File exists$"):
        loop.start(Config(**SMALL), tmp_path / "run", progress=False)
    assert (tmp_path / "run").read_text() == "in the way"


def test_no_permission(tmp_path, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    with pytest.raises(OSError, match="^cannot write into the run folder .*run: Permission denied$"):
        loop.start(Config(**SMALL), tmp_path / "run", progress=False)


# The stand-in for a GPU


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(backend, "_cupy", lambda: strict)


@pytest.mark.parametrize(("model", "parameters"), [("st-cnn", 24_000), ("cnn", 24_000), ("st-fcn", 60_000)])
def test_the_gpu_path_learns_the_same(tmp_path, gpu, monkeypatch, model, parameters):
    # only a CPU goes through frequencies: a sum that is rounded otherwise may decide which pixel a pooling window takes
    monkeypatch.setattr(convolution, "frequencies_pay", lambda *shapes: False)
    short = SMALL | {"model": model, "parameters": parameters, "iterations": 3, "checkpoint_every": 2}
    runs = {device: loop.start(Config(**short | {"device": device}), tmp_path / device, progress=False)
            for device in ("cpu", "gpu")}
    assert type(runs["gpu"][0].params.flat) is DeviceArray and type(runs["cpu"][0].params.flat) is np.ndarray
    cpu, gpu = (checkpoint(tmp_path / device) for device in ("cpu", "gpu"))
    np.testing.assert_allclose(gpu["params"], cpu["params"], rtol=0, atol=1e-5)
    for a, b in zip(*(run_folder.read_metrics(tmp_path / device) for device in ("cpu", "gpu")), strict=True):
        assert a.get("loss") == pytest.approx(b.get("loss"), abs=1e-5)


def test_a_cpu_run_goes_on_on_a_gpu(whole, tmp_path, monkeypatch, gpu):
    with monkeypatch.context() as patch:
        at_step(patch, 5, ctrl_c)
        with pytest.raises(loop.Interrupted):
            loop.start(Config(**SMALL), tmp_path, progress=False)
    run, _, _ = loop.start(Config(**SMALL | {"device": "gpu"}), tmp_path, resume=True, progress=False)
    np.testing.assert_allclose(run.params.flat.get(), checkpoint(whole)["params"], rtol=0, atol=1e-5)
