"""House numbers (Sec. 4.2): strips of digits, their five labels, and the networks that read them."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from small_networks import gradient_error
from small_runs import SMALL, few_digits, fixed_set

from stn_scratch.backend import host_generator, to_host
from stn_scratch.data import Digits, house, tasks
from stn_scratch.data.house import CANVAS, FAR, LONGEST, NEAR, NULL, draw_strips, in_a_row
from stn_scratch.models import build_model, count_parameters, make_network
from stn_scratch.models.house import MODELS
from stn_scratch.training import batches, figures, loop, run_folder
from stn_scratch.training.batches import TEST, TRAINING, Split
from stn_scratch.training.config import Config
from stn_scratch.training.looks import draw_looks, look_at
from stn_scratch.transformer import SpatialTransformer, looks

IN_SHAPE = (CANVAS, CANVAS, 1)


@pytest.fixture(scope="module")
def few():
    return few_digits()


def five(digits, count, seed=0):
    """`count` times five test digits and their labels."""
    chosen = np.random.default_rng(seed).integers(0, len(digits.test_labels), (count, LONGEST))
    return digits.test_images[chosen], digits.test_labels[chosen]


# Strips


def test_in_a_row_is_what_a_loop_says(xp, rng):
    B, n, H, W = 4, 3, 5, 30
    digits = rng.uniform(0.1, 1, (B, n, H, W, 1))
    left = np.array([[0, 14, 36], [0, 22, 44], [0, 15, 29], [0, 20, 40]])
    count = np.array([3, 3, 1, 2])
    expected = np.zeros((B, H, W + 2 * FAR, 1))
    for b in range(B):
        for k in range(count[b]):
            for row in range(H):
                for column in range(W):
                    at = b, row, left[b, k] + column
                    expected[at] = max(expected[at], digits[b, k, row, column, 0])
    np.testing.assert_array_equal(to_host(in_a_row(xp.asarray(digits), left=left, count=count)), expected)


@pytest.fixture
def placed(monkeypatch):
    """The arguments with which each strip was placed."""
    calls, place = [], house.place

    def note(strips, **arguments):
        calls.append(arguments)
        return place(strips, **arguments)

    monkeypatch.setattr(house, "place", note)
    return calls


def blobs(B):
    """Five times B blobs in the middle of their frames: in number k only digit k is bright."""
    distance = np.arange(28) - 13.5
    blob = np.exp(-(distance ** 2 + distance[:, None] ** 2) / 18)
    for k in range(LONGEST):
        digits = np.zeros((B, LONGEST, 28, 28, 1))
        digits[:, k, :, :, 0] = blob
        yield digits


def centres(images):
    """The centre of each image's light (B, 2), x and y in pixels; NaN where there is none."""
    light = images[..., 0]
    pixels = np.arange(CANVAS)
    with np.errstate(invalid="ignore"):
        return np.stack([(light.sum(axis=axis) * pixels).sum(axis=1) for axis in (1, 2)], axis=1) / light.sum(
            axis=(1, 2))[:, None]


def test_digits_stand_in_a_turned_line_inside_the_canvas(placed):
    """Where each digit is, seen from the images alone."""
    B = 400
    labels = np.tile(np.arange(LONGEST), (B, 1))
    drawn = [draw_strips(np.random.default_rng(5), digits, labels) for digits in blobs(B)]
    at = np.stack([centres(x) for x, _ in drawn], axis=1)
    there = drawn[0][1] != NULL
    np.testing.assert_array_equal(np.isnan(at).any(axis=2), ~there)
    count = there.sum(axis=1)
    assert set(count) == {1, 2, 3, 4, 5} and np.bincount(count)[1:].min() > 60
    scale, angle = placed[0]["scale"], placed[0]["angle"]
    # from digit to digit: along the turned line, by whole pixels of the unscaled strip
    step = np.diff(at, axis=1) / scale[:, None, None]
    along = step[..., 0] * np.cos(angle)[:, None] + step[..., 1] * np.sin(angle)[:, None]
    across = step[..., 1] * np.cos(angle)[:, None] - step[..., 0] * np.sin(angle)[:, None]
    pairs = there[:, 1:]
    np.testing.assert_allclose(across[pairs], 0, atol=0.04)
    np.testing.assert_allclose(along[pairs], np.round(along[pairs]), atol=0.04)
    assert set(np.round(along[pairs]).astype(int)) == set(range(NEAR, FAR + 1))
    assert -15 <= np.degrees(angle.min()) < -14 and 14 < np.degrees(angle.max()) <= 15
    # the corners of the strip's box of 24 pixels round the digits' middles
    first, last = at[:, 0], at[np.arange(B), count - 1]
    right = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 12 * scale[:, None]
    down = np.stack([-right[:, 1], right[:, 0]], axis=1)
    corners = np.stack([first - right - down, first - right + down, last + right - down, last + right + down])
    low, high = corners.min(axis=(0, 2)) + 0.5, corners.max(axis=(0, 2)) + 0.5
    assert low.min() > -0.05 and high.max() < CANVAS + 0.05 and low.min() < 1 and high.max() > CANVAS - 1
    # how large it could be
    box = np.ptp(corners[..., 0], axis=0) / scale
    part = scale / np.minimum(2, CANVAS / box)
    assert 0.699 < part.min() < 0.71 and 0.99 < part.max() < 1.001


def test_labels_end_in_nulls(xp, few):
    images, labels = five(few, 64)
    x, drawn = draw_strips(np.random.default_rng(2), xp.asarray(images), xp.asarray(labels))
    assert x.shape == (64, *IN_SHAPE) and x.dtype == "float32"
    drawn = to_host(drawn)
    count = (drawn != NULL).sum(axis=1)
    np.testing.assert_array_equal(drawn, np.where(np.arange(LONGEST) < count[:, None], labels, NULL))
    assert set(count) == {1, 2, 3, 4, 5}
    x = to_host(x)
    assert x.min() >= 0 and 0.9 < x.max() <= 1 + 1e-6 and (x.max(axis=(1, 2, 3)) > 0.5).all()


def test_a_seed_gives_the_same_strips_on_every_device(xp, few):
    images, labels = five(few, 16)
    x, drawn = draw_strips(np.random.default_rng(3), xp.asarray(images), xp.asarray(labels))
    expected, expected_labels = draw_strips(np.random.default_rng(3), images, labels)
    np.testing.assert_allclose(to_host(x), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(to_host(drawn), expected_labels)
    assert (draw_strips(np.random.default_rng(4), images, labels)[0] != expected).any(axis=(1, 2, 3)).all()


def test_strips_are_made_of_their_own_split():
    """Digits as bright as their number, which is their label: training digits 11 to 18, test digits 20 to 27."""
    def images(numbers):
        return np.broadcast_to(numbers[:, None, None, None] / np.float32(32), (8, 28, 28, 1)).copy()

    training, test = np.arange(11, 19), np.arange(20, 28)
    digits = Digits(images(training), training, images(test), test, "numbered")
    splits = batches.splits(digits, "strips", validation=0.25, device="cpu")
    for purpose, numbers in ((TRAINING, training[:6]), (TEST, test)):
        x, labels = fixed_set(splits[purpose], "strips", seed=0, purpose=purpose)
        # every digit begins one strip, in its order; the others are any of them
        np.testing.assert_array_equal(labels[:, 0], numbers)
        assert set(labels.ravel()) <= {*numbers, NULL} and len(set(labels.ravel())) > 3
        brightest = np.where(labels == NULL, 0, labels).max(axis=1)
        np.testing.assert_allclose(x.max(axis=(1, 2, 3)) * 32, brightest, rtol=1e-6)


# Networks


def test_the_papers_chain_an_eighth_as_wide():
    """conv-max-conv-conv-max-conv, and 48, 64, 128, 160 filters by 8 (A.5)."""
    network, shape, found = make_network("house-cnn", in_shape=IN_SHAPE, width=7, classes=55), IN_SHAPE, []
    for net in network.networks.values():
        _, shape = net.init(host_generator(0), shape)
        found += [(type(net).__name__, *shape)] if type(net).__name__ != "ReLU" else []
    assert found == [
        ("Conv2D", 64, 64, 6), ("MaxPool", 32, 32, 6), ("Conv2D", 32, 32, 8),
        ("Conv2D", 32, 32, 16), ("MaxPool", 16, 16, 16), ("Conv2D", 16, 16, 20),
        ("MaxPool", 8, 8, 20), ("Flatten", 1280), ("Dense", 7), ("Dense", 7), ("Dense", 55)]


def test_multi_has_a_transformer_before_each_convolution():
    network = make_network("house-st-multi", in_shape=IN_SHAPE, width=7, classes=55, downsample=1)
    kinds = [type(net).__name__ for net in network.networks.values() if type(net).__name__ not in ("ReLU", "MaxPool")]
    assert kinds == ["SpatialTransformer", "Conv2D"] * 4 + ["Flatten"] + ["Dense"] * 3
    params, _ = network.init(host_generator(0), IN_SHAPE)
    # by hand: maps of 8x8, 4x4, 4x4 and 4x4 pixels of 1, 6, 8 and 16 channels; 32 units, 32 units, 6 numbers
    held = [params[name].flat.size for name, net in network.networks.items() if isinstance(net, SpatialTransformer)]
    assert held == [(D + 1) * 32 + 33 * 32 + 33 * 6 for D in (64, 96, 128, 256)]


@pytest.mark.parametrize("budget", [100_000, 400_000])
def test_equal_parameters(budget):
    counts = [count_parameters(build_model(name, in_shape=IN_SHAPE, classes=55, parameters=budget, downsample=1)[1])
              for name in MODELS]
    assert max(abs(n - budget) for n in counts) <= 0.01 * budget


@pytest.mark.parametrize("name", ["house-st-single", "house-st-multi"])
def test_starts_as_the_identity(xp, few, name):
    network, params = build_model(name, in_shape=IN_SHAPE, classes=55, parameters=100_000, downsample=1)
    x, _ = draw_strips(np.random.default_rng(0), *five(few, 2))
    _, seen = looks(network, params, x)
    assert len(seen) == len(MODELS[name].transformers)
    for look in seen:
        np.testing.assert_allclose(look.V, look.U, rtol=0, atol=1e-4)
        assert look.U.std() > 0.05


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_of_the_whole_network(name):
    assert gradient_error(make_network(name, in_shape=(18, 21, 2), width=3, classes=4), (18, 21, 2)) <= 1e-7


# Runs


@pytest.fixture
def configured(monkeypatch, few):
    monkeypatch.setattr(tasks, "load_digits", lambda *_, **__: few)
    strips = SMALL | {"data": "strips", "parameters": 100_000, "validate_every": 100, "decay_every": 100}
    return lambda model, **options: Config(model=model, **strips | options)


@pytest.mark.parametrize("model", MODELS)
def test_a_run_learns_something(configured, tmp_path, model):
    """To less than 9.25, the labels' entropy: the loss of who knows how often each label is, and sees no image."""
    # with fewer images a step, what is learned hangs on how a sum was rounded
    loop.start(configured(model, iterations=32, log_every=8, lr=0.02, batch=48), tmp_path, progress=False)
    losses = [record["loss"] for record in run_folder.read_metrics(tmp_path) if "loss" in record]
    assert losses[0] > 10 and losses[-1] < 8.8


def test_the_error_is_of_whole_numbers(configured, tmp_path):
    """A number of five digits counts as wrong if any of the five is: by hand, from the logits."""
    run, _ = loop.prepare(configured("house-cnn"), tmp_path)
    x, labels = fixed_set(run.splits[TEST], "strips", seed=0, purpose=TEST)
    # a network that says the first strip's number whatever it sees
    says, output = labels[0], run.params["16 Dense"]
    output["W"][...] = 0
    output["b"][says + 11 * np.arange(LONGEST)] = 1
    wrong = sum(any(a != b for a, b in zip(row, says, strict=True)) for row in labels)
    assert 0 < wrong < len(labels) == 60
    assert loop.error_on(run, TEST) == (100 * wrong / 60, 60)
    shown = look_at(run)
    numbers = [" ".join(str(k) for k in row if k != NULL) for row in (says, *shown.labels)]
    said = ["" if number == numbers[0] else f"\nsaid {numbers[0]}" for number in numbers]
    assert set(said) == {"", f"\nsaid {numbers[0]}"}
    titles = [ax.get_title() for ax in draw_looks(shown).axes]
    assert titles == [number + more for number, more in zip(numbers, said, strict=True)][1:]


@pytest.mark.parametrize("label, guess, title", [
    ([3, 1, NULL], [3, 1, NULL], "3 1"), ([3, 1, NULL], [3, NULL, 1], "3 1\nsaid 3 - 1"),
    ([3, 1, NULL], [NULL, NULL, NULL], "3 1\nsaid nothing"), ([3, 1, NULL], [3, 1, 0], "3 1\nsaid 3 1 0"),
    (NULL, 3, "10, said 3")])
def test_verdicts_on_numbers(label, guess, title):
    ax = Figure().subplots()
    figures.verdict(ax, label, guess, NULL if isinstance(label, list) else None)
    assert ax.get_title() == title
    assert ax.title.get_color() == (figures.WRONG if "said" in title else figures.RIGHT)


def test_device_arrays_make_batches(xp, few):
    """What a run on a GPU asks for."""
    split = Split(xp.asarray(few.train_images), xp.asarray(few.train_labels))
    stream = batches.training_batches(split, "strips", batch=70, rng=batches.generator(0, TRAINING))
    batch = next(stream)
    stream.close()
    assert batch.x.shape == (70, *IN_SHAPE) and batch.labels.shape == (70, LONGEST)
    assert type(batch.x) is type(batch.labels) is type(split.images)
