"""Settings of a co-localisation small enough for a test, and its step without any digits."""

from pathlib import Path

import numpy as np
from checks_of_pairs import on_device

from stn_scratch import build_model
from stn_scratch.colocalisation import Config, learning, localiser
from stn_scratch.colocalisation.encoder import Encoder
from stn_scratch.colocalisation.images import Scene
from stn_scratch.parameters import unpack

TINY = {"label": 3, "images": 5, "iterations": 8, "pairs": 4, "place": 1, "shrink": 2, "log_every": 2,
        "checkpoint_every": 4, "focus_every": 3}


def small_encoder(xp, scales, dtype="float64"):
    network, params = build_model("cnn", in_shape=(28, 28, 1), parameters=900, dtype=dtype)
    return Encoder(network, on_device(xp, params), scales=scales)


def small_run(xp, **options):
    """A Run in float64 with a localiser that has moved a little from its start, so that every gradient counts."""
    rng, settings = np.random.default_rng(0), Config("-", **TINY | options)
    network = localiser(filters=2, width=4)
    params, _ = network.init(rng, (84, 84, 1))
    params.flat[:] += 0.02 * rng.normal(size=params.flat.shape)
    images = xp.asarray(rng.random((5, 84, 84, 1)))
    return learning.Run(settings, Path("-"), small_encoder(xp, (0.3, 0.3, 0.3)), Scene(images, None), network,
                        unpack(xp.asarray(params.flat), params), settings.optimiser())
