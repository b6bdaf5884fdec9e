"""A training step in float32 stays in float32, in every array that it makes on the way."""

import numpy
import pytest
import strict

from stn_scratch import build_model
from stn_scratch.parameters import unpack
from stn_scratch.training.step import gradient


@pytest.mark.parametrize("name, size", [("st-cnn", 28), ("cnn", 28), ("st-cnn", 42)])
def test_nothing_becomes_float64(monkeypatch, name, size):
    """float32 minus int32 is float64, and twice as slow, unnoticed: the stand-in sees every array that a step makes."""
    seen, wrap = [], strict._wrap

    def noting(y):
        if isinstance(y, numpy.ndarray | numpy.generic):
            seen.append((y.dtype.name, y.shape))
        return wrap(y)

    network, params = build_model(name, in_shape=(size, size, 1), parameters=30_000)
    xp, rng = strict.strict, numpy.random.default_rng(0)
    x = xp.asarray(rng.random((3, size, size, 1)), dtype="float32")
    labels = xp.asarray(rng.integers(0, 10, 3))
    params = unpack(xp.asarray(params.flat), params)
    monkeypatch.setattr(strict, "_wrap", noting)
    result = gradient(network, params, x, labels)
    assert result.loss.dtype == result.grads.flat.dtype == "float32"
    assert sum(dtype == "float32" for dtype, _ in seen) > 100
    assert not [(dtype, shape) for dtype, shape in seen if dtype in ("float64", "complex128")]
