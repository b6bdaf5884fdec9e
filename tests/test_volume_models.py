"""The networks of the 3-D experiment: one budget, the shapes on the way, the whole gradient."""

import numpy
import pytest
from sentences import raises
from small_networks import gradient_error

from stn_scratch.backend import host_generator
from stn_scratch.data.tasks import TASKS
from stn_scratch.models import build_model, count_parameters, make_network
from stn_scratch.models.volume import MODELS

VOLUME = TASKS["volume"].in_shape


def shapes(network, shape):
    """The output shape of each layer."""
    found = []
    for net in network.networks.values():
        _, shape = net.init(host_generator(0), shape)
        found.append(tuple(shape))
    return found


@pytest.mark.parametrize("budget", [400_000, 100_000])
def test_one_budget(budget):
    counts = [count_parameters(build_model(name, in_shape=VOLUME, parameters=budget)[1]) for name in MODELS]
    assert len(counts) == 2 and all(abs(count - budget) <= 0.02 * budget for count in counts)


def test_shapes():
    without, transformed = (make_network(name, in_shape=VOLUME, width=5) for name in ("volume-cnn", "volume-st-cnn"))
    assert shapes(without, VOLUME) == [
        (60, 60, 1), (30, 30, 1), (22, 22, 5), (11, 11, 5), (11, 11, 5), (5, 5, 5), (3, 3, 5), (3, 3, 5), (45,), (10,)]
    assert shapes(transformed, VOLUME) == [
        (12, 28, 28, 1), (28, 28, 1), (20, 20, 5), (10, 10, 5), (10, 10, 5), (4, 4, 5), (2, 2, 5), (2, 2, 5), (20,),
        (10,)]
    assert shapes(transformed.networks["0 SpatialTransformer3D"].localisation, VOLUME) == [
        (60, 60, 3), (30, 30, 3), (26, 26, 20), (13, 13, 20), (13, 13, 20), (9, 9, 20), (9, 9, 20), (1620,), (20,),
        (20,)]


def test_both_flatten_to_the_same_brightness():
    """A volume that is 1 everywhere is 60 deep for both, although one of them reads 12 planes only."""
    volume = numpy.ones((1, *VOLUME))
    for name, layers in (("volume-cnn", 1), ("volume-st-cnn", 2)):
        x = volume
        for net in list(make_network(name, in_shape=VOLUME, width=2).networks.values())[:layers]:
            x, _ = net.forward(net.init(host_generator(0), x.shape[1:])[0], x)
        numpy.testing.assert_allclose(x, 60, rtol=1e-12)


def test_the_gradient_of_the_whole_network():
    shape = (28, 28, 28, 1)
    network = make_network("volume-st-cnn", in_shape=shape, width=2)
    assert gradient_error(network, shape, brightest=0.125, entries=40) <= 1e-7


@pytest.mark.parametrize("name", MODELS)
def test_an_image_is_refused(name):
    layer = {"volume-cnn": "FlattenDepth", "volume-st-cnn": "SpatialTransformer3D"}[name]
    with raises(ValueError, f"{layer} takes volumes (D, H, W, C); its input here is (28, 28, 1)"):
        build_model(name, in_shape=(28, 28, 1))
