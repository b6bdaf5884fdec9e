"""Runs that turn NaN or infinite: stopped with a sentence that says where, the last good checkpoint kept."""

import threading

import numpy as np
import pytest
from small_runs import SMALL, at_step, checkpoint, ctrl_c, find_few, step_saved
from strict import strict

from stn_scratch import backend
from stn_scratch.parameters import leaves
from stn_scratch.training import loop, run_folder
from stn_scratch.training.config import Config


@pytest.fixture(scope="module", autouse=True)
def digits():
    with pytest.MonkeyPatch.context() as patch:
        find_few(patch)
        yield


def poison(patch, name, value=np.nan):
    """Let `prepare` put one bad number into the parameter array `name`, "layer/W"."""
    prepare = loop.prepare

    def poisoned(config, folder):
        run, source = prepare(config, folder)
        {"/".join(path): a for path, a in leaves(run.params)}[name][..., 0] = value
        return run, source

    patch.setattr(loop, "prepare", poisoned)


@pytest.mark.parametrize("layer", [
    "0 SpatialTransformer/localisation/hidden/1 Conv2D", "0 SpatialTransformer/localisation/regression", "2 Conv2D",
    "9 Dense"])
@pytest.mark.parametrize("name", ["W", "b"])
def test_a_poisoned_parameter_is_found(tmp_path, monkeypatch, layer, name):
    poison(monkeypatch, f"{layer}/{name}")
    with pytest.raises(loop.NotFinite) as error:
        loop.start(Config(**SMALL), tmp_path, progress=False)
    text = str(error.value)
    assert text.startswith("step 1: ") and "there is no checkpoint yet" in text and "\n" not in text
    assert f"layer {layer} " in text
    assert not (tmp_path / run_folder.CHECKPOINT).exists()


def test_a_run_that_stops_leaves_no_thread_behind(tmp_path, monkeypatch):
    """Not even while its error, and with it the loop's frame, is still held: a collector could wait for it anywhere."""
    poison(monkeypatch, "9 Dense/W")
    with pytest.raises(loop.NotFinite) as error:
        loop.start(Config(**SMALL), tmp_path, progress=False)
    assert error.traceback
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_the_last_good_checkpoint_is_named_and_kept(tmp_path, monkeypatch):
    """Poisoned after the fifth record, when step 4 is saved: the sixth step finds it."""
    started = []
    prepare = loop.prepare
    monkeypatch.setattr(loop, "prepare", lambda *arguments: started.append(prepare(*arguments)) or started[-1])
    at_step(monkeypatch, 5, lambda: started[0][0].params["9 Dense"]["W"].fill(np.nan))
    with pytest.raises(loop.NotFinite, match="^step 6: the loss is nan .* layer 9 Dense ") as error:
        loop.start(Config(**SMALL), tmp_path, progress=False)
    assert f"the last good checkpoint is {tmp_path / run_folder.CHECKPOINT}" in str(error.value)
    assert step_saved(tmp_path) == 4
    assert np.isfinite(checkpoint(tmp_path)["params"]).all()


@pytest.mark.parametrize("lr", [1e30, 1e39])
def test_a_run_that_blows_up_stops_with_its_checkpoint_finite(tmp_path, lr):
    """No warnings either: the sentence says it all (pytest turns them into errors)."""
    with pytest.raises(loop.NotFinite, match=r"^step \d: the loss is .* layer \d .* Begin anew with a smaller --lr"):
        loop.start(Config(**SMALL | {"lr": lr, "checkpoint_every": 1}), tmp_path, progress=False)
    if (tmp_path / run_folder.CHECKPOINT).exists():
        assert np.isfinite(checkpoint(tmp_path)["params"]).all()


def test_an_interrupted_gpu_run_saves_nothing_that_is_not_finite(tmp_path, monkeypatch):
    """Between two records nobody looks at a GPU's values, but a checkpoint must not be written unseen."""
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    poison(monkeypatch, "9 Dense/W")
    read = loop.batches.training_batches

    def interrupting(*arguments, **options):
        for number, batch in enumerate(read(*arguments, **options), start=1):
            if number == 3:
                ctrl_c()
            yield batch

    monkeypatch.setattr(loop.batches, "training_batches", interrupting)
    rare = SMALL | {"device": "gpu", "log_every": 100, "checkpoint_every": 100, "validate_every": 100}
    with pytest.raises(loop.NotFinite, match="^step 3: the loss is nan"):
        loop.start(Config(**rare), tmp_path, progress=False)
    assert not (tmp_path / run_folder.CHECKPOINT).exists()
