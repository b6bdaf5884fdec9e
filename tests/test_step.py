"""One training step: its gradient, the fall of the loss, and ten steps that are always the same ten."""

import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.backend import host_generator, to_host
from stn_scratch.models import make_network
from stn_scratch.network import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU, Sequential
from stn_scratch.optimiser import SGD
from stn_scratch.parameters import unpack
from stn_scratch.training.parallel import sharded
from stn_scratch.training.step import gradient, train_step
from stn_scratch.transformer import SpatialTransformer

B = 11
NETWORK = Sequential(SpatialTransformer(Sequential(AvgPool(2), Flatten(), Dense(4), ReLU())), Conv2D(3, 2), ReLU(),
                     MaxPool(), Flatten(), Dense(4))


def start(xp, *, dtype="float64"):
    """Parameters, moved off the identity; a batch; its labels."""
    rng = numpy.random.default_rng(6)
    params, _ = NETWORK.init(rng, (5, 7, 2))
    flat = params.flat + 0.1 * rng.normal(size=params.flat.shape)
    x, labels = rng.normal(size=(B, 5, 7, 2)), rng.integers(0, 4, size=B)
    return unpack(xp.asarray(flat, dtype=dtype), params), xp.asarray(x, dtype=dtype), xp.asarray(labels)


def test_gradient_by_finite_differences(xp):
    params, x, labels = start(xp)
    grads = to_host(gradient(NETWORK, params, x, labels).grads.flat)
    base, step = to_host(params.flat).copy(), 1e-6

    def loss(k, shift):
        flat = base.copy()
        flat[k] += shift
        return float(gradient(NETWORK, unpack(xp.asarray(flat), params), x, labels).loss)

    for k in numpy.random.default_rng(7).permutation(base.size)[:40]:
        assert abs((loss(k, step) - loss(k, -step)) / (2 * step) - grads[k]) <= 1e-8


def test_errors_and_share(xp):
    params, x, labels = start(xp)
    wrong = to_host(NETWORK.forward(params, x)[0]).argmax(axis=1) != to_host(labels)
    whole, part = (gradient(NETWORK, params, x, labels, share=share) for share in (1.0, 0.25))
    assert int(whole.errors) == int(part.errors) == wrong.sum() and 0 < wrong.sum() < B
    numpy.testing.assert_allclose(float(part.loss), float(whole.loss) / 4, rtol=1e-14)
    numpy.testing.assert_allclose(to_host(part.grads.flat), to_host(whole.grads.flat) / 4, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("shards", [False, True])
def test_steps_lower_the_loss(xp, shards):
    params, x, labels = start(xp, dtype="float32")
    flat, optimiser = params.flat, SGD(lr=0.05)
    with sharded(threads=2, size=4) as in_shards:
        losses = [float(train_step(NETWORK, params, optimiser, x, labels, gradient=in_shards if shards else gradient))
                  for _ in range(40)]
    assert params.flat is flat and flat.dtype == "float32" and optimiser.steps == 40
    assert losses[-1] < 0.25 * losses[0]


def test_the_loss_is_of_the_parameters_before_the_step(xp):
    params, x, labels = start(xp)
    before = float(gradient(NETWORK, params, x, labels).loss)
    assert float(train_step(NETWORK, params, SGD(), x, labels)) == before
    assert float(gradient(NETWORK, params, x, labels).loss) < before


def test_one_device():
    params, x, labels = start(numpy)
    for mixed, name in (((strict.asarray(x), labels), "labels"), ((x, strict.asarray(labels)), "labels"),
                        ((strict.asarray(x), strict.asarray(labels)), "params")):
        with raises(TypeError, f"{name} and x must be on the same device, not one on the host and one on the GPU"):
            train_step(NETWORK, params, SGD(), *mixed)


def test_refused():
    params, x, labels = start(numpy)
    heads = "the heads of labels (B, heads) must divide the 4 logits of an image into two classes or more each, not "
    for wrong, kind, sentence in (
            ({"labels": list(labels)}, TypeError, "labels must be a NumPy or CuPy array, not list"),
            ({"params": dict(params)}, TypeError,
             "params must be Parameters, as a network's init or pack() makes them, not dict"),
            ({"labels": labels[0]}, TypeError, "labels must be a NumPy or CuPy array, not int64"),
            ({"labels": numpy.array(1)}, ValueError, "labels must have shape (B,) or (B, heads) with B = 11, not ()"),
            ({"labels": labels[:5]}, ValueError, "labels must have shape (B,) or (B, heads) with B = 11, not (5,)"),
            ({"labels": labels.repeat(3).reshape(B, 3)}, ValueError, heads + "3"),
            ({"labels": numpy.eye(4, dtype=int)[labels]}, ValueError, heads + "4")):  # the habit of other libraries
        given = {"params": params, "x": x, "labels": labels} | wrong
        with raises(kind, sentence):
            train_step(NETWORK, given["params"], SGD(), given["x"], given["labels"])


# By NumPy 2 in float64, with the `ten_losses` below and print(repr(losses)). New numbers only for a wanted change.
TEN_LOSSES = [3.483813501877934, 2.9401680182871535, 2.6551416526214147, 2.4219932108025923, 2.2364032566262275,
              2.1187094930963695, 1.9811278389971765, 1.9424992704930155, 1.9188349105614744, 1.8896311156471164]


def ten_losses(xp):
    """Ten steps of the paper's ST-CNN, 5 filters wide, on 6 random images; all draws on the host."""
    rng = host_generator(0)
    network = make_network("st-cnn", in_shape=(25, 28, 1), width=5)
    params, _ = network.init(rng, (25, 28, 1))
    params = unpack(xp.asarray(params.flat), params)
    x, labels = xp.asarray(rng.uniform(size=(6, 25, 28, 1))), xp.asarray(rng.integers(0, 10, size=6))
    optimiser = SGD(lr=0.02, decay=0.5, decay_every=4, localisation_factor=0.3, clip_norm=2.0)
    return [float(train_step(network, params, optimiser, x, labels)) for _ in range(10)]


def test_ten_steps(xp):
    numpy.testing.assert_allclose(ten_losses(xp), TEN_LOSSES, rtol=1e-9)
