"""A whole training step with the fused kernels in it, against NumPy."""

import numpy
import pytest
from checks_of_cuda import equal
from cuda_shim import DEVICES, host_cuda, host_numpy, launched, on

from stn_scratch import SGD, build_model, cuda, train_step
from stn_scratch.backend import to_host
from stn_scratch.layers import conv2d_forward, relu_forward
from stn_scratch.parameters import unpack
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.transformer import looks


@pytest.fixture(params=DEVICES, ids=lambda module: module.__name__)
def xp(request, monkeypatch):
    with cuda.compiled(request.param is host_numpy):
        yield on(request.param, monkeypatch)


def train(xp, steps, name="st-cnn", **options):
    """Losses and parameters of a small network, on the arrays of xp."""
    rng = numpy.random.default_rng(0)
    network, params = build_model(name, in_shape=(28, 30, 1), parameters=20_000, dtype="float64", **options)
    # off the identity, so that no sample stands on a pixel, where the last bit would decide
    params.flat[...] += 0.02 * rng.normal(size=params.flat.shape)
    params = unpack(xp.asarray(params.flat), params)
    optimiser, losses = SGD(lr=0.05, localisation_factor=0.3, clip_norm=1.0), []
    for _ in range(steps):
        x, labels = xp.asarray(rng.random((5, 28, 30, 1))), xp.asarray(rng.integers(0, 10, 5))
        losses.append(float(train_step(network, params, optimiser, x, labels)))
    return numpy.array(losses), params, network


@pytest.mark.parametrize("transform, kernel", [("affine", "bilinear"), ("attention", "bilinear"),
                                               ("tps", "bicubic"), ("affine", "triangle")])
def test_trajectory(xp, transform, kernel):
    """Ten steps; mst-cnn, so that dU of a sampler is needed, too."""
    with cuda.fused(False):
        expected, wanted, _ = train(numpy, 10, "mst-cnn", transform=transform, kernel=kernel)
    losses, params, _ = train(xp, 10, "mst-cnn", transform=transform, kernel=kernel)
    assert abs(losses - expected).max() <= 1e-11
    equal("parameters", params.flat, wanted.flat, 1e-11)
    if xp is host_cuda:
        sampler = [] if kernel != "bilinear" else ["sample_forward", "sample_dU", {
            "affine": "affine_dtheta", "attention": "sample_dgrid"}[transform]]
        assert set(launched) == {f"{name}<double, int>" for name in [
            *sampler, "im2col", "col2im", "max_pool_forward", "max_pool_backward", "bias_relu_forward",
            "relu_backward", "softmax_cross_entropy_forward", "softmax_cross_entropy_backward", "sgd_update"]}


def test_switched_off(xp):
    with cuda.fused(False):
        losses, _, _ = train(xp, 2)
    assert launched == []
    assert abs(losses - train(xp, 2)[0]).max() <= 1e-12


def test_a_forward_and_its_backward_with_the_switch_turned_between(xp):
    U, grid = xp.ones((2, 3, 5, 1)), xp.zeros((2, 2, 4, 4))
    V, cache = sample_forward(U, grid)
    with cuda.fused(False):
        dU, _ = sample_backward(V, cache)
        V, cache = sample_forward(U, grid)
    assert to_host(dU)[:, 1, 2, 0].tolist() == [16, 16]
    assert to_host(sample_backward(V, cache)[0])[:, 1, 2, 0].tolist() == [16, 16]


def test_the_look_has_its_grid(xp):
    """Where grid and sampler are one kernel, who looks still sees where it sampled."""
    _, params, network = train(xp, 1)
    x = xp.asarray(numpy.random.default_rng(1).random((3, 28, 30, 1)))
    for look in looks(network, params, x)[1]:
        equal("V", look.V, to_host(sample_forward(look.U, look.grid)[0]), 1e-13)


def test_the_checks_come_first(xp):
    U = xp.ones((2, 3, 5, 1))
    with pytest.raises(ValueError, match="^grid must have shape"):
        sample_forward(U, xp.ones((2, 3, 4, 4)))
    _, cache = sample_forward(U, xp.zeros((2, 2, 4, 4)))
    with pytest.raises(ValueError, match="^dV must have shape"):
        sample_backward(xp.ones((2, 4, 3, 1)), cache)
    with pytest.raises(TypeError, match="^x must be float32 or float64"):
        relu_forward(xp.ones(3, dtype="int32"))
    with pytest.raises(ValueError, match="^b must have shape"):
        conv2d_forward(U, xp.ones((2, 2, 1, 4)), xp.ones(3))
