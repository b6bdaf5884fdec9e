"""Co-localisation, one step: the code, the gradient, from coarse to fine."""

import math

import numpy as np
import pytest
from sentences import raises
from small_colocalisation import small_encoder, small_run
from small_runs import SMALL

from stn_scratch.backend import to_host
from stn_scratch.colocalisation import Config, learning, localiser
from stn_scratch.colocalisation.encoder import load_encoder
from stn_scratch.gradcheck import check_gradients
from stn_scratch.models import count_parameters
from stn_scratch.parameters import pack, unpack
from stn_scratch.training import config, run_folder

# The encoder


def test_the_code_is_the_three_layers_side_by_side(xp, rng):
    x, encoder = xp.asarray(rng.random((2, 28, 28, 1))), small_encoder(xp, (0.5, 2.0, 3.0))
    e, _ = encoder.forward(x)
    h, parts = x, []
    for net, params in encoder.layers:
        h, _ = net.forward(params, h)
        if type(net).__name__ == "ReLU":
            parts.append(to_host(h).reshape(2, -1))
    expected = [scale * part for scale, part in zip((0.5, 2.0, 3.0), [*parts, to_host(h)], strict=True)]
    assert len(parts) == 2 and parts[0].shape[1] > parts[1].shape[1] > 10 == expected[2].shape[1]
    np.testing.assert_allclose(to_host(e), np.concatenate(expected, axis=1), rtol=1e-13)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (0.5, 2.0, 3.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_gradient_of_the_code(xp, rng, scales):
    encoder = small_encoder(xp, scales)
    assert check_gradients(encoder.forward, encoder.backward, (xp.asarray(rng.random((2, 28, 28, 1))),),
                           entries=20) <= 1e-7


@pytest.mark.parametrize(("other", "said"), [({"model": "fcn"}, "'fcn' on 'none'"), ({"data": "r"}, "'cnn' on 'r'")])
def test_not_such_an_encoder(tmp_path, other, said):
    config.save_config(tmp_path / run_folder.CONFIG, config.Config(**SMALL | {"model": "cnn", "data": "none"} | other))
    with raises(ValueError, "the encoder must be a run of the model 'cnn' on the data 'none', "
                            f"and {tmp_path} holds one of {said}"):
        load_encoder(tmp_path)


# One step


@pytest.mark.parametrize("width, parameters", [(8, 5947), (128, 100_627)])
def test_the_papers_localiser(width, parameters):
    params, out_shape = localiser(width=width).init(np.random.default_rng(0), (84, 84, 1))
    assert count_parameters(params) == parameters and out_shape == (28, 28, 1)


def test_the_gradient_of_a_step_is_that_of_the_loss(xp):
    """Through encoder, sampler and localiser, by finite differences, with the same pairs and pieces each time."""
    run = small_run(xp, alpha=3.0)

    def loss(flat):
        moved = run._replace(params=unpack(flat, run.params))
        value, grads = learning.gradient(moved, run.scene.images, np.random.default_rng(4))
        return value.reshape(1), grads

    def backward(dy, grads):
        return pack(grads).flat * dy

    assert float(loss(run.params.flat)[0][0]) > 0.5
    assert check_gradients(loss, backward, (run.params.flat,), entries=12) <= 1e-6


def test_the_size_is_held_at_first_then_shrinks_then_learns(xp):
    run, rng = small_run(xp, place=1, shrink=2, alpha=9.0), np.random.default_rng(4)
    regression = run.params["localisation"]["regression"]
    before = {name: to_host(p).copy() for name, p in regression.items()}
    seen = []
    for number in range(1, 6):
        learning.step(run, number, run.scene.images, rng)
        seen.append(float(regression["b"][0]))
        still = (to_host(regression["W"])[:, 0] == before["W"][:, 0]).all()
        assert still == (number <= 3)
        assert (to_host(regression["b"])[1:] != before["b"][1:]).all()
    # from 1.5 to 0.32 by a constant factor
    np.testing.assert_allclose(seen[:3], [1.5, (1.5 * 0.32) ** 0.5, 0.32], rtol=1e-12)
    assert seen[3] != 0.32 and seen[4] != seen[3]


def test_when_windows_are_recentred():
    settings = Config("-", place=7, shrink=4)
    assert [step for step in range(30) if settings.recentred(step)] == [7, 9]
    assert [step for step in range(50) if settings.adjusted(step)] == [20, 30, 40]
    assert [step for step in range(1600) if Config("-").recentred(step)] == [400, 900]
    assert Config("-").adjusted(1400) and not Config("-").adjusted(1390)


@pytest.mark.parametrize("width", [0.2, 0.7, 2.0])
def test_blur_by_hand(xp, width):
    images = np.zeros((2, 20, 20, 1))
    images[0, 3, 12], images[1, 19, 0] = 1, 2
    bells = [[1 * math.exp(-((y - 3) ** 2 + (x - 12) ** 2) / (2 * width ** 2)) for x in range(20)] for y in range(20)]
    whole = sum(math.exp(-k ** 2 / (2 * width ** 2)) for k in range(-20, 21)) ** 2
    actual = to_host(learning.blurred(xp.asarray(images), width))
    np.testing.assert_allclose(actual[0, ..., 0], np.array(bells) / whole, rtol=1e-12)
    np.testing.assert_allclose(actual[1, 19, 0, 0], 2 / whole, rtol=1e-12)


@pytest.mark.parametrize("width", [0.05, 0.3, 1.0, 2.0])
def test_a_blur_leaves_the_brightness(width):
    """Away from the edge; a Gaussian of a third of a pixel, as its density stands, would make images brighter."""
    np.testing.assert_allclose(learning.blurred(np.ones((1, 40, 40, 1)), width)[0, 20, 20, 0], 1, rtol=1e-12)


def test_no_blur_leaves_the_images(rng):
    images = rng.random((2, 20, 20, 1))
    assert learning.blurred(images, 0) is images


def test_blur_goes_with_the_pixels_that_a_window_skips():
    run = small_run(np, blur=1.5)

    def blur(*scales):
        return learning.blur_for(run, np.array([[s, 0, 0] for s in scales]))

    assert blur(27 / 83) == 0 and blur(0.1) == 0
    assert blur(1.0, -2.0) == pytest.approx(1.5 * (1.5 * 83 / 27 - 1))
    assert blur(100.0) == 1.5 * learning.LARGEST_SKIP


def test_windows_are_moved_together_to_the_middle(xp):
    run = small_run(xp)
    before = learning.windows(run, run.scene.images)
    assert abs(before[:, 1:].mean(axis=0)).min() > 1e-3
    learning.recentre(run, before)
    after = learning.windows(run, run.scene.images)
    np.testing.assert_allclose(after[:, 1:], before[:, 1:] - before[:, 1:].mean(axis=0), atol=1e-14)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])


def test_windows_are_moved_onto_what_they_show(xp):
    """A bright square of 6 x 10 pixels in each image, at one place of every window, on a grey ground."""
    run = small_run(xp, scales=(0.4, 0.4))
    run.params["localisation"]["regression"]["W"][...] = 0
    run.params["localisation"]["regression"]["b"][...] = xp.asarray([0.4, 0.2, -0.1])
    images = np.full((5, 84, 84, 1), 0.25)
    # the window's middle reads the pixel (41.5 (1 + 0.2), 41.5 (1 - 0.1)); the square stands around another
    x, y = 54, 32
    images[:, y - 3:y + 3, x - 5:x + 5] = 1
    learning.adjust(run, xp.asarray(images))
    p = learning.windows(run, xp.asarray(images))
    np.testing.assert_allclose(p, [[0.4, (x - 0.5) / 41.5 - 1, (y - 0.5) / 41.5 - 1]] * 5, atol=2e-3)


def test_windows_that_show_nothing_stay(xp):
    run = small_run(xp)
    black = xp.zeros((5, 84, 84, 1))
    before = learning.windows(run, black)
    learning.adjust(run, black)
    np.testing.assert_array_equal(learning.windows(run, black), before)


def test_random_pieces_are_parts_of_their_images(xp):
    images = np.zeros((300, 84, 84, 1))
    images[..., 0] = np.arange(84)  # what a pixel holds is its x
    pieces = to_host(learning.random_pieces(np.random.default_rng(0), xp.asarray(images)))
    np.testing.assert_allclose(np.diff(pieces, axis=2), 1, atol=1e-10)  # at the image's own scale
    lefts = pieces[:, 0, 0, 0]
    assert lefts.min() >= -1e-10 and lefts.max() <= 56 + 1e-10 and np.ptp(lefts) > 54


def test_descent_lowers_the_loss():
    run = small_run(np, alpha=3.0, lr=0.001, clip_norm=None, place=0, shrink=0, iterations=1600)

    def loss():
        return np.mean([learning.gradient(run, run.scene.images, np.random.default_rng(k))[0] for k in range(20)])

    before, rng = loss(), np.random.default_rng(4)
    for number in range(1, 41):
        learning.step(run, number, run.scene.images, rng)
    assert loss() < 0.5 * before
