"""The spatial transformer: it starts as the identity, can leave it, and its two paths to dU add."""

import re

import numpy
import pytest
from small_networks import localisation, same, start

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.network import Conv2D, Dense, Flatten, Sequential
from stn_scratch.parameters import leaves
from stn_scratch.sampling import sample_backward
from stn_scratch.transformer import SpatialTransformer, looks

IMAGE = (5, 7, 2)
every_transformation = pytest.mark.parametrize("transform", TRANSFORMATIONS)


@every_transformation
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
def test_starts_as_the_identity(xp, transform, align_corners, dtype, tolerance):
    network = SpatialTransformer(localisation(), transform, align_corners=align_corners)
    params, U = start(network, (9, 14, 3), xp, dtype=dtype)
    V, _ = network.forward(params, U)
    numpy.testing.assert_allclose(to_host(V), to_host(U), rtol=0, atol=tolerance)


@every_transformation
@pytest.mark.parametrize("lattice", ["right", "central"])
def test_can_leave_the_identity(xp, transform, lattice):
    """The bias of the regression has a gradient at the start; the layers below it have none until its W moves."""
    network = SpatialTransformer(localisation(), transform, lattice=lattice)
    params, U = start(network, IMAGE, xp)
    V, cache = network.forward(params, U)
    _, grads = network.backward(xp.asarray(numpy.random.default_rng(4).normal(size=V.shape)), cache)
    regression = grads["localisation"]["regression"]
    assert (numpy.abs(to_host(regression["b"])) > 1e-3).all()
    assert to_host(regression["W"]).any()
    assert not any(to_host(a).any() for _, a in leaves(grads["localisation"]["hidden"]))


@every_transformation
def test_the_two_paths_to_U_add(xp, transform):
    network = SpatialTransformer(localisation(), transform, size=(4, 6))
    params, U = start(network, IMAGE, xp, noise=0.2)
    V, cache = network.forward(params, U)
    dU, _ = network.backward(V, cache)
    through_pixels, _ = sample_backward(V, cache[3])
    # both paths are there, and only their sum is the slope
    assert numpy.abs(to_host(dU - through_pixels)).max() > 1e-3 < numpy.abs(to_host(through_pixels)).max()
    assert check_gradients(lambda U: network.forward(params, U),
                           lambda dV, cache: network.backward(dV, cache)[0], (U,), entries=140) <= 1e-7


def test_looks(xp):
    network = Sequential(SpatialTransformer(localisation()), Conv2D(2, 2),
                         SpatialTransformer(localisation(3), "similarity", size=(3, 4)), Flatten(), Dense(3))
    params, x = start(network, IMAGE, xp, noise=0.1)
    logits, (first, second) = looks(network, params, x)
    same(logits, network.forward(params, x)[0])
    same(first.U, x)
    assert [look.grid.shape for look in (first, second)] == [(2, 2, 5, 7), (2, 2, 3, 4)]
    assert [look.V.shape for look in (first, second)] == [(2, 5, 7, 2), (2, 3, 4, 2)]
    conv, conv_params = network.networks["1 Conv2D"], params["1 Conv2D"]
    same(second.U, conv.forward(conv_params, first.V)[0])
    assert first.align_corners is True


# Networks without parameters, and an empty batch.


@pytest.mark.parametrize("options, sentence", [
    ({"transform": "affin"}, "transform must be one of 'affine', 'attention', 'translation', 'rotation', "),
    ({"transform": None}, "transform must be one of "),
    ({"size": (3, 0)}, "size must be 2 positive whole numbers, not (3, 0)"),
    ({"size": 3}, "size must be 2 positive whole numbers, not 3"),
    ({"size": (3, 4, 5)}, "size must be 2 positive whole numbers, not (3, 4, 5)"),
])
def test_transformer_refuses(options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        SpatialTransformer(localisation(), **options)
