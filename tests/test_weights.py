"""Networks that come with the package: written from a run, read back, refused when damaged or too large."""

import json

import numpy as np
import pytest
from small_mnist import FULL

from stn_scratch import load_weights
from stn_scratch import weights as shipped
from stn_scratch.data import load_digits
from stn_scratch.data.distort import distort
from stn_scratch.models import build_model, predict
from stn_scratch.training.batches import TEST, fixed_batches, splits
from stn_scratch.training.config import Config

CONFIG = Config(model="st-cnn", transform="projective", data="rts", seed=5, parameters=24_000, lattice="central")
RECORD = {"row": "rts/st-cnn-projective", "test_error": 1.5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    return tmp_path


def saved(folder, name="small"):
    """Parameters that no seed gives, in a file of that name."""
    network, params = build_model(**CONFIG.network())
    params.flat += np.float32(0.25)
    shipped.save_weights(folder / f"{name}.npz", CONFIG, params, RECORD)
    return network, params


def test_what_was_saved_is_loaded(folder, rng):
    network, params = saved(folder)
    assert shipped.names() == ["small"]
    loaded_network, loaded, facts = load_weights("small")
    np.testing.assert_array_equal(loaded.flat, params.flat, strict=True)
    assert facts == {"network": json.loads(json.dumps(CONFIG.network())), "record": RECORD}
    # the same network, with its options: the same logits to the last bit
    x = rng.random((3, 42, 42, 1)).astype("float32")
    np.testing.assert_array_equal(loaded_network.forward(loaded, x)[0], network.forward(params, x)[0], strict=True)


@pytest.mark.parametrize("name", shipped.names())
def test_what_comes_with_the_package(name):
    """On the package's own digits, from MNIST's training part: no worse by chance than on MNIST's test digits."""
    network, params, facts = load_weights(name)
    digits = load_digits(source="embedded")
    x = distort(facts["record"]["config"]["data"], np.random.default_rng(0), digits.test_images)
    error, recorded = 100 * (predict(network, params, x) != digits.test_labels).mean(), facts["record"]["test_error"]
    assert error < recorded + 4 * (recorded * (100 - recorded) / len(x)) ** 0.5
    assert facts["record"]["row"].replace("/", "-") == name
    assert (shipped.FOLDER / f"{name}.npz").stat().st_size <= shipped.LARGEST


@pytest.mark.skipif(not FULL.is_dir(), reason="the complete MNIST is not here")
@pytest.mark.parametrize("name", shipped.names())
def test_its_error_is_the_recorded_one(name):
    """On the same 10,000 test images; an image or two may stand so near a border that rounding decides."""
    network, params, facts = load_weights(name)
    config = facts["record"]["config"]
    test = splits(load_digits(FULL, source="mnist"), config["data"], validation=0.1, device="cpu")[TEST]
    parts = fixed_batches(test, config["data"], seed=config["seed"], purpose=TEST)
    wrong = sum(int((predict(network, params, x) != labels).sum()) for x, labels in parts)
    assert abs(wrong - 100 * facts["record"]["test_error"]) <= 2


def test_there_are_an_st_cnn_and_a_cnn():
    assert shipped.names() == ["rts-cnn", "rts-st-cnn-affine"]


def test_no_such_network(folder):
    saved(folder)
    with pytest.raises(ValueError, match=r"^name must be one of 'small', not 'large'$"):
        load_weights("large")


@pytest.mark.parametrize("part", [0, 10, 5000])
def test_a_damaged_file(folder, part):
    saved(folder)
    path = folder / "small.npz"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(ValueError, match=r"small\.npz is damaged: install the package again$"):
        load_weights("small")


def test_parameters_of_another_network(folder):
    saved(folder)
    with np.load(folder / "small.npz") as members:
        flat, facts = members["params"], members["facts"]
    np.savez(folder / "small.npz", params=flat[:-1], facts=facts)
    with pytest.raises(ValueError, match=r"small\.npz holds the parameters of another network"):
        load_weights("small")


def test_what_is_too_large_is_not_written(folder, monkeypatch):
    saved(folder)
    before = (folder / "small.npz").read_bytes()
    monkeypatch.setattr(shipped, "LARGEST", 10_000)
    with pytest.raises(ValueError, match=r"small\.npz must have at most 10,000 bytes, not \d"):
        saved(folder)
    assert (folder / "small.npz").read_bytes() == before and [p.name for p in folder.iterdir()] == ["small.npz"]
