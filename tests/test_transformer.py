"""The spatial transformer: it starts as the identity, can leave it, and its two paths to dU add."""

import re

import numpy
import pytest
from small_networks import localisation, same, start

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.network import Conv2D, Dense, Flatten, Parallel, Sequential
from stn_scratch.parameters import leaves
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.sampling.kernels import Gaussian, Triangle
from stn_scratch.transformer import NARROW, SpatialTransformer, looks

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
    through_pixels, _ = sample_backward(V, cache.V)
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
    assert first.transformer.align_corners is True


def test_looks_into_branches(xp):
    """Two transformers side by side, behind a convolution, read the same feature map; a third reads what they give."""
    network = Sequential(Conv2D(2, 2), Parallel(SpatialTransformer(localisation(), "attention"),
                                                SpatialTransformer(localisation(), "translation")),
                         SpatialTransformer(localisation()), Flatten(), Dense(3))
    params, x = start(network, IMAGE, xp, noise=0.1)
    logits, seen = looks(network, params, x)
    same(logits, network.forward(params, x)[0])
    assert [look.transformer.transform for look in seen] == ["attention", "translation", "affine"]
    features, _ = network.networks["0 Conv2D"].forward(params["0 Conv2D"], x)
    same(seen[0].U, features)
    same(seen[1].U, features)
    same(seen[2].U, xp.concatenate([seen[0].V, seen[1].V], axis=-1))
    assert [look.theta.shape for look in seen] == [(2, 3), (2, 2), (2, 6)]


# A kernel of learnable width.

@pytest.mark.parametrize("kernel", [Triangle(2), Triangle(3), Gaussian(3)])
def test_a_learnable_kernel_starts_narrow_and_can_widen(xp, kernel):
    network = SpatialTransformer(localisation(), "attention", kernel=kernel)
    params, U = start(network, IMAGE, xp)
    V, cache = network.forward(params, U)
    regression = params["localisation"]["regression"]
    assert to_host(regression["b"]).tolist() == [1, 0, 0, *NARROW] and not to_host(regression["W"]).any()
    narrowest, widest = kernel.bounds
    widths = to_host(kernel.width_of(cache.V.Phi))
    assert (widths < narrowest + 0.05 * (widest - narrowest)).all()
    same(V, sample_forward(U, network.grid(cache.theta, U)[0], cache.V.Phi, kernel=kernel)[0])
    _, grads = network.backward(V, cache)
    dPhi = to_host(grads["localisation"]["regression"]["b"])[3:]
    assert (numpy.abs(dPhi) > 1e-3).all()


def test_each_image_has_its_own_width(xp):
    network = SpatialTransformer(localisation(), "translation", kernel=Triangle())
    params, U = start(network, IMAGE, xp, noise=0.3)
    _, cache = network.forward(params, U)
    Phi = to_host(cache.V.Phi)
    assert Phi.shape == (2, 2) and (numpy.abs(Phi[0] - Phi[1]) > 1e-3).all()


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
