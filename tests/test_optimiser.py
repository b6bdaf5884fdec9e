"""SGD against a plain loop."""

import math
import re

import numpy
import pytest
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.optimiser import SGD
from stn_scratch.parameters import leaves, pack


def draw(seed, scale=1.0):
    rng = numpy.random.default_rng(seed)
    shapes = {"W": (3, 2), "b": (2,)}
    part = {key: scale * rng.normal(size=shape) for key, shape in shapes.items()}
    return {"0 SpatialTransformer": {"localisation": {"hidden": part, "regression": {"b": scale * rng.normal(size=3)}}},
            "1 Dense": {key: scale * rng.normal(size=shape) for key, shape in shapes.items()}}


def on(xp, tree, dtype):
    return {k: on(xp, v, dtype) if isinstance(v, dict) else xp.asarray(v, dtype=dtype) for k, v in tree.items()}


def by_loop(steps, *, lr=0.01, momentum=0.9, decay=0.1, decay_every=None, localisation_factor=1.0, clip_norm=None,
            weight_decay=0.0):
    """Leaf by leaf, number by number, on Python floats."""
    params = {path: a.ravel().tolist() for path, a in leaves(draw(0))}
    velocity = {path: [0.0] * len(p) for path, p in params.items()}
    for t in range(steps):
        grads = {path: a.ravel().tolist() for path, a in leaves(draw(t + 1))}
        norm = math.sqrt(sum(g * g for leaf in grads.values() for g in leaf))
        scale = clip_norm / norm if clip_norm is not None and norm > clip_norm else 1
        rate = lr * decay ** (t // decay_every) if decay_every else lr
        for path, p in params.items():
            factor = localisation_factor if "localisation" in path else 1
            for k, g in enumerate(grads[path]):
                velocity[path][k] = momentum * velocity[path][k] + scale * g + weight_decay * p[k]
                p[k] -= rate * factor * velocity[path][k]
    return params


@pytest.mark.parametrize("options", [
    {}, {"lr": 0.3}, {"momentum": 0.0}, {"lr": 0.0}, {"momentum": 0.5, "decay_every": 2},
    {"decay": 0.5, "decay_every": 1}, {"decay": 0.5, "decay_every": 5}, {"decay": 0.0, "decay_every": 3},
    {"localisation_factor": 0.1}, {"localisation_factor": 0.0, "decay_every": 2},
    {"clip_norm": 1.0}, {"clip_norm": 4.0}, {"clip_norm": 1e6}, {"clip_norm": 0.5, "localisation_factor": 3.0},
    {"weight_decay": 0.3}, {"weight_decay": 0.1, "clip_norm": 1.0, "localisation_factor": 0.5},
], ids=str)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 2e-6)])
def test_six_steps(xp, options, dtype, tolerance):
    params, optimiser = pack(on(xp, draw(0), dtype)), SGD(**options)
    flat = params.flat
    for t in range(6):
        optimiser.step(params, on(xp, draw(t + 1), dtype))
    assert params.flat is flat and flat.dtype == optimiser.velocity.dtype == dtype and optimiser.steps == 6
    expected = by_loop(6, **options)
    for path, a in leaves(params):
        numpy.testing.assert_allclose(to_host(a).ravel(), expected[path], rtol=tolerance, atol=tolerance)


def test_packed_gradients_and_dicts_do_the_same(xp):
    results = []
    for change in (lambda grads: grads, pack):
        params, optimiser = pack(on(xp, draw(0), "float32")), SGD(clip_norm=1.0)
        grads = change(on(xp, draw(1), "float32"))
        before = to_host(pack(grads).flat).copy()
        optimiser.step(params, grads)
        numpy.testing.assert_array_equal(to_host(pack(grads).flat), before)  # gradients are not written to
        results.append(to_host(params.flat))
    numpy.testing.assert_array_equal(*results)


def test_the_decay_comes_at_its_step():
    """The paper's schedule in small: a tenth every 3 steps."""
    params, optimiser = pack(draw(0)), SGD(lr=0.01, decay=0.1, decay_every=3)
    rates = []
    for t in range(7):
        rates.append(optimiser.rate())
        optimiser.step(params, draw(t))
    assert rates == pytest.approx([0.01] * 3 + [0.001] * 3 + [0.0001], rel=1e-13)


@pytest.mark.parametrize("length, applied", [(5.0, 2.0), (2.0, 2.0), (1.5, 1.5), (0.0, 0.0)])
def test_clip_norm(xp, length, applied):
    g = numpy.array([0.6, 0, -0.8]) * length
    params = pack({"W": xp.zeros(3)})
    SGD(lr=1.0, momentum=0.0, clip_norm=2.0).step(params, {"W": xp.asarray(g)})
    actual = -to_host(params.flat)
    numpy.testing.assert_allclose(actual, numpy.array([0.6, 0, -0.8]) * applied, rtol=1e-15)
    if length <= 2:
        numpy.testing.assert_array_equal(actual, g)


def test_momentum_by_hand():
    params, optimiser = pack({"W": numpy.array([1.0])}), SGD(lr=0.5, momentum=0.5)
    seen = []
    for g in (1.0, 0.0, 2.0):
        optimiser.step(params, {"W": numpy.array([g])})
        seen.append((float(optimiser.velocity[0]), float(params["W"][0])))
    assert seen == [(1, 0.5), (0.5, 0.25), (2.25, -0.875)]


@pytest.mark.parametrize("options, sentence", [
    *[({name: value}, f"{name} must be a finite number, 0 or more, not {value!r}")
      for name in ("lr", "momentum", "decay", "localisation_factor", "weight_decay")
      for value in (-0.1, math.inf, math.nan)],
    ({"momentum": 1.0}, "momentum must be below 1, not 1.0: old gradients would never fade"),
    ({"decay_every": 0}, "decay_every must be a positive whole number, not 0"),
    ({"decay_every": -5}, "decay_every must be a positive whole number, not -5"),
    ({"clip_norm": 0.0}, "clip_norm must be a finite number, more than 0, not 0.0"),
    ({"clip_norm": math.nan}, "clip_norm must be a finite number, more than 0, not nan"),
], ids=str)
def test_bad_options(options, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        SGD(**options)


@pytest.mark.parametrize("params", [{"W": numpy.zeros(3)}, numpy.zeros(3)], ids=["dict", "array"])
def test_params_must_be_packed(params):
    with pytest.raises(TypeError, match="^params must be Parameters, as a network's init or "):
        SGD().step(params, {"W": numpy.zeros(3)})


def test_wrong_gradients():
    params = pack({"W": numpy.zeros((2, 3)), "b": numpy.zeros(3)})
    optimiser = SGD()
    for grads in ({}, {"W": numpy.zeros((2, 3))}, {"W": numpy.zeros((2, 3)), "b": numpy.zeros(4)}):
        with pytest.raises(ValueError, match="^grads must be shaped like params: .* 9 numbers in all$"):
            optimiser.step(params, grads)
    with pytest.raises(TypeError, match="^grads must be a dict with the keys of params, not NoneType$"):
        optimiser.step(params, None)
    with pytest.raises(TypeError, match="^grads and params must be on the same device, "):
        optimiser.step(params, pack({"W": strict.zeros((2, 3)), "b": strict.zeros(3)}))
    assert optimiser.steps == 0 and optimiser.velocity is None


def test_gradients_of_another_dtype_and_parameters_of_another_network():
    params, optimiser = pack({"W": numpy.ones(5, "float32")}), SGD()
    with pytest.raises(TypeError, match="^grads must have the dtype of params, float32, not float64$"):
        optimiser.step(params, pack({"W": numpy.ones(5)}))
    optimiser = SGD()
    optimiser.step(params, pack({"W": numpy.ones(5, "float32")}))
    other = pack({"W": numpy.ones(3, "float32")})
    with pytest.raises(ValueError, match="^velocity must have shape"):
        optimiser.step(other, other)
    assert optimiser.steps == 1


@pytest.mark.parametrize("grads", [
    {"W": numpy.zeros((3, 2)), "b": numpy.ones(3)}, {"W": numpy.zeros((2, 3)), "c": numpy.ones(3)},
    {"b": numpy.ones(3), "W": numpy.zeros((2, 3))},
], ids=["another shape", "another key", "another order"])
@pytest.mark.parametrize("packed", [dict, pack], ids=["dict", "packed"])
def test_as_many_gradients_of_another_shape(grads, packed):
    """As many numbers are not enough: none may reach a parameter of another name."""
    params = pack({"W": numpy.zeros((2, 3)), "b": numpy.zeros(3)})
    with pytest.raises(ValueError, match="^grads must be shaped like params"):
        SGD(lr=1.0).step(params, packed(grads))
    assert not params.flat.any()


def test_cosine_and_warmup():
    """Half a cosine to 0, and over the first steps a straight line to it; each rate by hand."""
    sgd = SGD(lr=0.8, cosine=4, warmup=2)
    rates = []
    for sgd.steps in range(6):
        rates.append(sgd.rate())
    r = 2 ** 0.5 / 2
    numpy.testing.assert_allclose(rates, [0.4, 0.4 * (1 + r), 0.4, 0.4 * (1 - r), 0, 0], rtol=0, atol=1e-15)
    assert [SGD(lr=1.0, decay_every=2, warmup=4, steps=k).rate() for k in range(5)] == pytest.approx(
        [0.25, 0.5, 0.075, 0.1, 0.01], rel=1e-12)
