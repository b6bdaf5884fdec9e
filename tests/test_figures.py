"""How images are shown: one channel in grey, two and three in colours, feature maps by their mean."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from stn_scratch.training import loop
from stn_scratch.training.config import Config
from stn_scratch.training.figures import CHANNELS, as_shown, draw_image
from stn_scratch.training.grid_pictures import draw_grids
from stn_scratch.training.looks import draw_looks, look_at


def drawn(U, k=0, **options):
    """What matplotlib is given of image k."""
    ax = Figure().subplots()
    draw_image(ax, U, k, as_shown(U), **options)
    return ax.images[0]


def test_two_channels_are_magenta_and_green_and_add_up_to_white():
    U = np.array([(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0), (0.25, 0.75)], "float32").reshape(1, 2, 3, 2)
    magenta, green = (1, 0.2, 1), (0, 0.8, 0)
    expected = [(0, 0, 0), magenta, green, (1, 1, 1), (0.5, 0.1, 0.5), (0.25, 0.65, 0.25)]
    np.testing.assert_allclose(drawn(U).get_array().reshape(-1, 3), expected, rtol=0, atol=1e-6)
    assert as_shown(U).note == "channel 1 magenta, channel 2 green"
    # under a grid: white at two thirds
    np.testing.assert_allclose(drawn(U, dim=1.5).get_array().reshape(-1, 3), np.divide(expected, 1.5), atol=1e-6)


def test_three_channels_are_red_green_and_blue(rng):
    U = rng.uniform(0, 1, (2, 4, 5, 3))
    np.testing.assert_allclose(drawn(U, 1).get_array(), U[1])
    assert as_shown(U).note == ""


@pytest.mark.parametrize("channels", CHANNELS)
def test_what_a_sampler_makes_of_them_stays_a_colour(channels, caplog):
    """A bicubic sampler goes below 0 and above 1: nothing to tell the reader of a run's log."""
    shading = as_shown(np.full((1, 2, 2, channels), 0.5))
    ax = Figure().subplots()
    draw_image(ax, np.stack([np.full((2, 2, channels), value) for value in (-0.1, 1.1)]), 1, shading)
    np.testing.assert_array_equal(ax.images[0].get_array(), np.ones((2, 2, 3)))
    assert not caplog.records


@pytest.mark.parametrize("low, high, channels", [(-0.1, 1, 2), (0, 1.1, 2), (0, 2, 3), (0, 1, 4), (-1, 1, 1)])
def test_feature_maps_are_grey_means(rng, low, high, channels):
    U = rng.uniform(low, high, (2, 4, 5, channels))
    U[0, 0, 0], U[0, 0, 1] = low, high
    image = drawn(U)
    np.testing.assert_allclose(image.get_array(), U[0].mean(axis=-1))
    np.testing.assert_allclose(image.get_clim(), (min(0, low), high))
    np.testing.assert_allclose(drawn(U, dim=1.5).get_clim(), (min(0, low), min(0, low) + 1.5 * (high - min(0, low))))
    assert as_shown(U).note == ("scaled" if channels == 1 else f"mean of {channels} channels, scaled")


def test_one_channel_is_grey_as_it_is(rng):
    U = rng.uniform(0.2, 0.7, (2, 4, 5, 1))
    image = drawn(U, 1)
    np.testing.assert_array_equal(image.get_array(), U[1, ..., 0])
    assert image.get_clim() == (0, 1) and as_shown(U).note == ""


@pytest.mark.parametrize("model, transformers", [("cnn", 0), ("2st-fcn", 2)])
def test_pictures_of_an_addition(model, transformers, tmp_path):
    """Both digits of the input in their colours; what each transformer sees of both of them; sums as titles."""
    run, _ = loop.prepare(Config(model=model, data="addition", digits="embedded", parameters=240_000), tmp_path)
    shown = look_at(run)
    figure = draw_looks(shown)
    axes = np.reshape(figure.axes, (1 + 2 * transformers, 12))
    for k in range(12):
        for row in range(1 + 2 * transformers):  # at the start each transformer is the identity
            np.testing.assert_allclose(axes[row, k].images[0].get_array(), shown.x[k] @ CHANNELS[2], atol=1e-5)
        assert axes[0, k].get_title().split(",")[0] == str(shown.labels[k])
    assert figure.get_supxlabel().splitlines()[-1] == "images: channel 1 magenta, channel 2 green"
    if transformers:
        grids = np.reshape(draw_grids(shown).axes, (2, 4))
        np.testing.assert_allclose(grids[1, 3].images[0].get_array(), shown.x[3] @ CHANNELS[2] / 1.5, atol=1e-5)
        assert "channel 1 magenta, channel 2 green" in grids[0, 0].get_ylabel()
