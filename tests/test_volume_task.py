"""Digits in a volume: the slab, its turn and its place against sums written out, and a run on them."""

import math

import numpy as np
import pytest
from small_runs import SMALL, few_digits, fixed_set

from stn_scratch.backend import to_host
from stn_scratch.data import load_digits, tasks, volume
from stn_scratch.data.tasks import TASKS
from stn_scratch.grids.volume import affine_grid3d_forward
from stn_scratch.sampling.volume import sample3d_forward
from stn_scratch.training import batches, loop, run_folder
from stn_scratch.training.config import Config
from stn_scratch.training.grid_pictures import draw_grids
from stn_scratch.training.looks import draw_looks, look_at


@pytest.fixture
def slim(monkeypatch):
    """Slabs of three planes in volumes of 15^3, for digits of 6x6 pixels: small enough for loops."""
    monkeypatch.setattr(volume, "THICKNESS", 3)
    monkeypatch.setattr(volume, "SIDE", 15)


def small_digits(count, side=6):
    return np.random.default_rng(1).uniform(0.2, 1, (count, side, side, 1))


def some_turns(count):
    rng = np.random.default_rng(2)
    return volume.rotations(rng.normal(size=(count, 3)), rng.uniform(0, volume.LARGEST_ANGLE, count))


# Turns.

@pytest.mark.parametrize(("axis", "forward", "image"), [
    ((0, 0, 2), (1, 0, 0), (0, 1, 0)), ((0, 0, 2), (0, 1, 0), (-1, 0, 0)), ((3, 0, 0), (0, 1, 0), (0, 0, 1)),
    ((0, 1, 0), (0, 0, 1), (1, 0, 0)), ((1, 1, 1), (1, 0, 0), (0, 1, 0)), ((0, 0, 2), (0, 0, 1), (0, 0, 1))])
def test_quarter_turns_and_a_third(axis, forward, image):
    angle = 2 * math.pi / 3 if axis == (1, 1, 1) else math.pi / 2
    R, = volume.rotations(np.array([axis], dtype=float), np.array([angle]))
    np.testing.assert_allclose(R @ forward, image, atol=1e-15)


def test_rotations_are_the_exponential_of_the_cross_product():
    """R = exp(a K), by its series; so R has the axis, the angle and the sense of K."""
    rng = np.random.default_rng(0)
    axes, angles = rng.normal(size=(5, 3)), rng.uniform(-3, 3, 5)
    for axis, angle, R in zip(axes, angles, volume.rotations(axes, angles), strict=True):
        K = np.cross(axis / np.linalg.norm(axis), np.eye(3)).T
        term = series = np.eye(3)
        for k in range(1, 40):
            term = term @ K * (angle / k)
            series = series + term
        np.testing.assert_allclose(R, series, atol=1e-12)


# The turned slab.

def tent(d):
    return max(0.0, 1.0 - abs(d))


def test_a_turned_slab_against_loops(slim, xp):
    """Each voxel is looked up in the slab by the turn back, and Eq. (9) summed over all of the slab's voxels."""
    digits, R = small_digits(2), some_turns(2)
    cubes = to_host(volume.turned(xp.asarray(digits), R))
    S = volume.cube_side(6)
    assert cubes.shape == (2, S, S, S, 1)
    for b in range(2):
        for z, y, x in np.random.default_rng(3).integers(1, S - 1, (60, 3)):
            # from the cube's middle, turned back; then from the slab's first voxel
            x_p, y_p, z_p = R[b].T @ (np.array([x, y, z]) - (S - 1) / 2) + (2.5, 2.5, 1.0)
            expected = sum(digits[b, n, m, 0] / 3 * tent(x_p - m) * tent(y_p - n) * tent(z_p - l_)
                           for n in range(6) for m in range(6) for l_ in range(3))
            assert cubes[b, z, y, x, 0] == pytest.approx(expected, abs=1e-12)


def test_what_is_not_turned_is_the_digit(xp):
    digits = load_digits(source="embedded").train_images[:3]
    cubes = to_host(volume.turned(xp.asarray(digits), np.stack([np.eye(3)] * 3)))
    expected = np.zeros((3, 42, 42, 42, 1))
    expected[:, 17:25, 7:35, 7:35] = digits[:, None] / 8
    np.testing.assert_allclose(cubes, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(cubes.sum(axis=1)[:, 7:35, 7:35], digits, rtol=0, atol=1e-5)
    assert cubes.dtype == "float32"


def test_no_turn_leaves_the_cube(monkeypatch):
    """In a cube that is larger by one voxel on each side, those are empty: for a white slab, turned in many ways."""
    S = volume.cube_side(28)
    monkeypatch.setattr(volume, "cube_side", lambda side: S + 2)
    cubes = volume.turned(np.ones((8, 28, 28, 1)), some_turns(8))
    assert (cubes[:, 1:-1, 1:-1, 1:-1] > 0).sum() == (cubes > 0).sum()
    np.testing.assert_allclose(cubes.sum(axis=(1, 2, 3, 4)), 28 * 28, rtol=1e-3)  # a turn keeps it


def test_the_cube_is_not_larger_than_need_be(monkeypatch):
    """A slab whose corner points along x reaches the first and the last plane of its cube."""
    corner = np.array([29, 29, volume.THICKNESS + 1]) / 2
    axis = np.cross(corner, (1, 0, 0))
    angle = np.arccos(corner[0] / np.linalg.norm(corner))
    x_reached, = volume.rotations(axis[None], np.array([angle])) @ corner
    assert x_reached == pytest.approx([np.linalg.norm(corner), 0, 0], abs=1e-12)
    S = volume.cube_side(28)
    assert S == 42 and (S - 1) / 2 < x_reached[0] <= (S + 1) / 2


# The volumes.

def test_volumes_against_the_3d_sampler(slim, xp):
    """The whole volume sampled from the extruded digit, by one affine map: the same turns and places, drawn again."""
    digits, labels = small_digits(9), np.arange(9)
    volumes, drawn_labels = volume.draw_volume(np.random.default_rng(4), xp.asarray(digits[:, None]),
                                               xp.asarray(labels[:, None]))
    rng = np.random.default_rng(4)
    R = volume.rotations(rng.normal(size=(9, 3)), rng.uniform(0, volume.LARGEST_ANGLE, 9))
    S = volume.cube_side(6)
    places = rng.integers(0, 15 - S + 1, (9, 3)) + (S - 1) / 2
    slabs = np.repeat(digits[:, None] / 3, 3, axis=1)
    theta = np.zeros((9, 3, 4))
    for b in range(9):
        # normalised to pixels of the volume, there turned back about the slab's place, and normalised to the slab
        back = R[b].T @ np.column_stack([7 * np.eye(3), 7 - places[b]])
        theta[b] = back / np.array([[2.5], [2.5], [1.0]])
    expected, _ = sample3d_forward(slabs, affine_grid3d_forward(theta, size=(15, 15, 15))[0])
    np.testing.assert_allclose(to_host(volumes), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(to_host(drawn_labels), labels)
    assert len({tuple(place) for place in places}) > 6


def test_turns_and_places_cover_their_ranges(monkeypatch):
    """Angles up to 45 degrees about axes in all directions; cubes from the first voxel to the last."""
    seen = {}
    monkeypatch.setattr(volume, "SIDE", 45)
    monkeypatch.setattr(volume, "rotations", lambda axes, angles: seen.update(axes=axes, angles=angles) or angles)
    monkeypatch.setattr(volume, "turned", lambda digits, R: np.ones((len(digits), 42, 42, 42, 1)))
    volumes, _ = volume.draw_volume(np.random.default_rng(0), np.zeros((200, 1, 28, 28, 1), dtype="float32"),
                                    np.zeros((200, 1), dtype=int))
    assert 0 <= seen["angles"].min() < 0.05 and np.pi / 4 - 0.05 < seen["angles"].max() <= np.pi / 4
    assert len({tuple(signs) for signs in seen["axes"] > 0}) == 8
    for axis in (1, 2, 3):
        other = tuple({1, 2, 3} - {axis})
        starts = (volumes[..., 0].max(axis=other) > 0).argmax(axis=1)
        assert set(starts.tolist()) == {0, 1, 2, 3}
    assert (volumes.reshape(200, -1).sum(axis=1) == 42 ** 3).all()  # all of it is inside


def test_a_seed_gives_the_same_volumes(xp):
    digits = load_digits(source="embedded")
    images, labels = digits.train_images[:5, None], digits.train_labels[:5, None]
    here, _ = volume.draw_volume(np.random.default_rng(7), images, labels)
    there, _ = volume.draw_volume(np.random.default_rng(7), xp.asarray(images), xp.asarray(labels))
    other, _ = volume.draw_volume(np.random.default_rng(8), images, labels)
    assert here.shape == (5, *TASKS["volume"].in_shape) and here.dtype == "float32"
    np.testing.assert_allclose(to_host(there), here, rtol=0, atol=1e-5)
    assert abs(other - here).reshape(5, -1).max(axis=1).min() > 0.05


def test_no_test_digit_is_trained_on():
    splits = batches.splits(load_digits(source="embedded"), "volume", validation=0.1, device="cpu")
    train, validation, test = ({image.tobytes() for image in splits[purpose].images}
                               for purpose in (batches.TRAINING, batches.VALIDATION, batches.TEST))
    assert len(train | validation) == 4000 and not test & (train | validation) and not train & validation


# A run.

@pytest.fixture
def zeros_and_ones(monkeypatch):
    """The digits 0 and 1 alone, few of them."""
    few = few_digits()
    train, test = few.train_labels < 2, few.test_labels < 2
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: few._replace(
        train_images=few.train_images[train], train_labels=few.train_labels[train],
        test_images=few.test_images[test], test_labels=few.test_labels[test]))


RUN = SMALL | {"data": "volume", "parameters": 50_000, "iterations": 24, "validate_every": 24, "checkpoint_every": 24,
               "lr": 0.02, "localisation_factor": 0.02, "decay_every": 1000}


@pytest.mark.parametrize("model", ["volume-cnn", "volume-st-cnn"])
def test_the_loss_falls(zeros_and_ones, tmp_path, model):
    run, _, images = loop.start(Config(model=model, **RUN), tmp_path, progress=False)
    losses = [record["loss"] for record in run_folder.read_metrics(tmp_path) if "loss" in record]
    assert images == len(run.splits[batches.TEST].labels) > 5
    assert losses[0] > 2 and np.mean(losses[-4:]) < 0.9


@pytest.mark.parametrize("model", ["volume-cnn", "volume-st-cnn"])
def test_pictures_show_volumes_from_the_front(zeros_and_ones, tmp_path, model):
    run, _ = loop.prepare(Config(model=model, **RUN), tmp_path)
    if model == "volume-st-cnn":
        # x_s = x_t / 2 + z_t - 1/4, y_s = -y_t / 2 + 1/4, z_s = z_t / 2: of z only the middle plane shows in the grid
        regression = run.params["0 SpatialTransformer3D"]["localisation"]["regression"]
        regression["b"][...] = np.array([0.5, 0, 1, -0.25, 0, -0.5, 0, 0.25, 0, 0, 0.5, 0])
    shown = look_at(run)
    x, labels = (a[:12] for a in fixed_set(run.splits[batches.TEST], "volume", seed=0, purpose=batches.TEST))
    axes = np.reshape(draw_looks(shown).axes, (-1, len(labels)))
    fronts = x[..., 0].sum(axis=1)
    for ax, front, label in zip(axes[0], fronts, labels, strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), front / front.max(), atol=1e-6)
        assert ax.get_title().split(",")[0] == str(label)
    if model == "volume-cnn":
        assert len(axes) == 1
        return
    network, params = run.network.networks["0 SpatialTransformer3D"], run.params["0 SpatialTransformer3D"]
    V = network.forward(params, x)[0][..., 0].sum(axis=1)
    for where, what, k in zip(axes[1], axes[2], range(len(labels)), strict=True):
        np.testing.assert_allclose(what.images[0].get_array(), V[k] / max(V[k].max(), 1e-9), atol=1e-6)
        points = np.concatenate([line.get_xydata() for line in where.lines])
        # x_s from -3/4 to 1/4, y_s from -1/4 to 3/4, of 60 voxels from -1 to 1
        np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)],
                                   29.5 + 29.5 * np.array([[-0.75, -0.25], [0.25, 0.75]]), atol=1e-4)
    assert draw_grids(shown).axes[0].get_xlabel() == "x_s =  0.50 x_t +0.00 y_t -0.25\ny_s =  0.00 x_t -0.50 y_t +0.25"
