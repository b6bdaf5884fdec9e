"""Checkpoints: everything comes back, and nothing that is damaged or foreign is taken, or takes a good one's place."""

import gc
import json
import os
import pickle
from functools import partial

import numpy as np
import pytest
from mishaps import a_small_disk, no_renaming

from stn_scratch.backend import to_host
from stn_scratch.network import Conv2D, Dense, Flatten, ReLU, Sequential
from stn_scratch.optimiser import SGD
from stn_scratch.parameters import leaves, unpack
from stn_scratch.training.checkpoint import ARRAYS, load_checkpoint, save_checkpoint

GENERATOR = np.random.default_rng(5).bit_generator.state
DAMAGED = "is damaged, or no checkpoint of stn_scratch"


def network(width=3, first=5):
    return Sequential(Flatten(), Dense(first), ReLU(), Dense(width))


def parameters(seed, net=None):
    return (net or network()).init(np.random.default_rng(seed), (2, 2, 1))[0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.npz"


@pytest.fixture
def saved(path):
    """A good checkpoint of step 7 at `path`, and the parameters and the optimiser in it."""
    params, optimiser = parameters(1), SGD(0.1, steps=7)
    optimiser.velocity = params.flat * 3
    save_checkpoint(path, params, optimiser, step=7, generator_state=GENERATOR)
    return params, optimiser


def refused(path, error, words):
    """Loading raises one sentence that names the file, and changes nothing."""
    params, optimiser = parameters(2), SGD(0.2, steps=1)
    optimiser.velocity = params.flat + 1
    before = params.flat.copy(), optimiser.velocity.copy()
    with pytest.raises(error) as caught:
        load_checkpoint(path, params, optimiser)
    text = str(caught.value)
    assert str(path) in text and words in text and "\n" not in text
    np.testing.assert_array_equal(params.flat, before[0])
    np.testing.assert_array_equal(optimiser.velocity, before[1])
    assert optimiser.steps == 1


def is_the_saved_one(path, saved):
    params, optimiser = parameters(3), SGD(0.1)
    assert load_checkpoint(path, params, optimiser) == (7, GENERATOR)
    np.testing.assert_array_equal(params.flat, saved[0].flat)
    np.testing.assert_array_equal(optimiser.velocity, saved[1].velocity)


# Round trips


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_velocity", [False, True])
def test_round_trip(xp, path, dtype, with_velocity):
    source = parameters(1)
    params = unpack(xp.asarray(source.flat.astype(dtype)), source)
    optimiser = SGD(0.1, steps=12)
    if with_velocity:
        optimiser.velocity = params.flat * 2
    save_checkpoint(path, params, optimiser, step=12, generator_state=GENERATOR)

    other = unpack(xp.zeros_like(params.flat), source)
    views, found = [a for _, a in leaves(other)], SGD(0.1, velocity=xp.ones(3), steps=1)
    assert load_checkpoint(path, other, found) == (12, GENERATOR)
    assert found.steps == 12 and type(other.flat) is type(params.flat)
    np.testing.assert_array_equal(to_host(other.flat), to_host(params.flat), strict=True)
    # in place: the arrays that somebody holds have the new values
    np.testing.assert_array_equal(np.concatenate([to_host(a).ravel() for a in views]), to_host(params.flat))
    if with_velocity:
        np.testing.assert_array_equal(to_host(found.velocity), to_host(optimiser.velocity), strict=True)
    else:
        assert found.velocity is None


def test_generator_goes_on(path):
    rng = np.random.default_rng(8)
    rng.integers(0, 9, 3)
    save_checkpoint(path, parameters(1), SGD(0.1), step=1, generator_state=rng.bit_generator.state)
    other = np.random.default_rng(0)
    _, other.bit_generator.state = load_checkpoint(path, parameters(2))
    np.testing.assert_array_equal(other.normal(size=9), rng.normal(size=9))


def test_without_an_optimiser_only_parameters_are_read(path, saved):
    params = parameters(2)
    assert load_checkpoint(path, params) == (7, GENERATOR)
    np.testing.assert_array_equal(params.flat, saved[0].flat)


def test_saving_changes_nothing_and_leaves_one_file(path, saved):
    np.testing.assert_array_equal(saved[0].flat, parameters(1).flat)
    save_checkpoint(path, *saved, step=8, generator_state=GENERATOR)
    assert os.listdir(path.parent) == [path.name]
    with np.load(path, allow_pickle=False) as members:
        assert sorted(members) == sorted(ARRAYS)


# What is not taken


def test_missing(path):
    refused(path, FileNotFoundError, "there is no checkpoint")


def test_a_folder_is_no_checkpoint(path):
    path.mkdir()
    refused(path, FileNotFoundError, "there is no checkpoint")


@pytest.mark.parametrize("kept", [0, 1, 30, 0.3, 0.6, 0.9, -1])
def test_cut_short(path, saved, kept):
    content = path.read_bytes()
    path.write_bytes(content[:int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(path, ValueError, DAMAGED)


@pytest.mark.parametrize("record, offset, value", [
    (b"PK\x01\x02", 8, 0x01), (b"PK\x01\x02", 10, 0x08), (b"PK\x01\x02", 6, 0xff), (b"PK\x01\x02", 16, 0xff),
    (b"\x93NUMPY", 6, 0xff), (b"\x93NUMPY", 200, 0xff),
], ids=["encryption flag", "compression", "zip version", "checksum", "npy version", "value"])
def test_flipped_bits(path, saved, record, offset, value):
    content = bytearray(path.read_bytes())
    content[content.index(record) + offset] ^= value
    path.write_bytes(content)
    refused(path, ValueError, DAMAGED)


def good_state(**changes):
    layout = [["/".join(path), list(a.shape)] for path, a in leaves(parameters(1))]
    state = {"step": 7, "steps": 7, "generator": GENERATOR, "layout": layout} | changes
    return np.array(json.dumps({key: value for key, value in state.items() if value is not None}))


def members(**changes):
    flat = parameters(1).flat
    found = {"params": flat, "velocity": flat, "state": good_state()} | changes
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("arrays", [
    {"weights": np.zeros(3)},
    members(params=None),
    members(velocity=None),
    members(state=None),
    members(state=np.array("not JSON {")),
    members(state=np.array("[1, 2]")),
    members(state=np.zeros(3)),
    members(params=np.array([{"a": 1}], dtype=object)),
    members(state=np.array({"step": 7}, dtype=object)),
    members(state=good_state(layout=None)),
    members(state=good_state(steps=None)),
    members(state=good_state(step=None)),
    members(state=good_state(generator=None)),
    members(velocity=np.zeros(2, "float32")),
], ids=["other names", "no params", "no velocity", "no state", "no JSON", "a list", "numbers", "pickled params",
        "pickled state", "no layout", "no steps", "no step", "no generator", "short velocity"])
def test_foreign_npz(path, arrays):
    np.savez(path, **arrays)
    refused(path, ValueError, DAMAGED)


def test_the_good_members_above_are_good(path):
    np.savez(path, **members())
    assert load_checkpoint(path, parameters(2), SGD(0.1)) == (7, GENERATOR)


@pytest.mark.parametrize("content", [b"rubbish", pickle.dumps({"params": 1}), b"PK\x03\x04", b"PK\x05\x06" + bytes(18)],
                         ids=["rubbish", "pickle", "zip header", "empty zip"])
def test_foreign_file(path, content):
    path.write_bytes(content)
    refused(path, ValueError, DAMAGED)


def test_npy_file(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    refused(path, ValueError, DAMAGED)


@pytest.mark.parametrize("net, words", [
    (network(width=4), "it has 3 Dense/W (5, 4) where this one has 3 Dense/W (5, 3)"),
    (network(first=6), "it has 1 Dense/W (4, 6) where this one has 1 Dense/W (4, 5)"),
    (Sequential(Conv2D(2, 2), Flatten(), Dense(3)), "it has 0 Conv2D/W (2, 2, 1, 2) where this one has 1 Dense/W"),
    (Sequential(*network().networks.values(), ReLU(), Dense(2)), "it has 6 parameter arrays, this one 4"),
    (Sequential(Flatten(), Dense(5)), "it has 2 parameter arrays, this one 4"),
], ids=["wider", "wider inside", "another kind", "longer", "shorter"])
def test_another_model(path, net, words):
    save_checkpoint(path, parameters(1, net), SGD(0.1), step=1, generator_state=GENERATOR)
    refused(path, ValueError, f"is a checkpoint of another model: {words}")


# A write that fails


@pytest.mark.parametrize("mishap, reason", [(partial(a_small_disk, 600), "File too large"),
                                            (no_renaming, "Input/output error")],
                         ids=["a full disk", "no renaming"])
def test_a_failed_write_leaves_the_good_file(path, saved, mishap, reason):
    with mishap(), pytest.raises(OSError, match=f"^cannot write .*checkpoint.npz: {reason}$") as error:
        save_checkpoint(path, parameters(4), SGD(0.1), step=8, generator_state=GENERATOR)
    assert "\n" not in str(error.value)
    gc.collect()  # what the half-written file left behind must not warn either
    is_the_saved_one(path, saved)
    assert os.listdir(path.parent) == [path.name]


def test_an_old_part_file_is_never_read(path, saved):
    for name in ("checkpoint.part", "checkpoint.npz.part"):
        (path.parent / name).write_bytes(b"left by a run that was killed")
    is_the_saved_one(path, saved)
    save_checkpoint(path, *saved, step=7, generator_state=GENERATOR)
    is_the_saved_one(path, saved)
    path.unlink()
    refused(path, FileNotFoundError, "there is no checkpoint")


def test_no_folder_to_write_into(tmp_path):
    with pytest.raises(OSError, match="^cannot write .*nowhere/checkpoint.npz: No such file or directory$"):
        save_checkpoint(tmp_path / "nowhere" / "checkpoint.npz", parameters(1), SGD(0.1), step=1,
                        generator_state=GENERATOR)
