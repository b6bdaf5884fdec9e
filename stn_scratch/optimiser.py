"""Stochastic gradient descent with momentum and a falling rate, on one flat vector of parameters."""

from dataclasses import dataclass
from itertools import groupby
from math import cos, pi

from stn_scratch import cuda
from stn_scratch.backend import get_array_module
from stn_scratch.parameters import Parameters, check_parameters, layout, leaves, pack
from stn_scratch.validate import check_arrays, check_number, check_whole


@dataclass
class SGD:
    r"""\(v \leftarrow \mu v + g + \lambda p, \; p \leftarrow p - \eta_t f v\); \(\eta_t\) = lr decay^(t//decay_every).

    The paper's schedule: lr 0.01, decay 0.1 every 50,000 of 150,000 steps, lambda 0 (for house numbers, A.5, 0.0005).
    It names no momentum; 0.9 is ours.

    lr, momentum   eta and mu
    decay, decay_every   the step schedule; decay_every=None keeps lr
    cosine         if given, instead of the steps half a cosine, \(\eta_t = \frac12 \mathrm{lr} (1 + \cos(\pi t / T))\)
                   over T = cosine steps, then 0 (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts)
    warmup         so many first steps in which the rate rises to that, evenly
    localisation_factor  f for the parameters of localisation networks; 1 for all others
    clip_norm      if given, g is scaled down to this Euclidean norm where it is longer
    weight_decay   lambda, of all parameters

    State: `steps` taken, and `velocity` v, flat like the parameters (None before the first step).
    """

    lr: float = 0.01
    momentum: float = 0.9
    decay: float = 0.1
    decay_every: int | None = None
    cosine: int | None = None
    warmup: int = 0
    localisation_factor: float = 1.0
    clip_norm: float | None = None
    weight_decay: float = 0.0
    steps: int = 0
    velocity: object = None

    def __post_init__(self):
        for name in ("lr", "momentum", "decay", "localisation_factor", "weight_decay"):
            check_number(name, getattr(self, name))
        if self.momentum >= 1:
            raise ValueError(f"momentum must be below 1, not {self.momentum!r}: old gradients would never fade")
        for name in ("decay_every", "cosine"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        check_whole("warmup", self.warmup, least=0)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, positive=True)

    def rate(self):
        """The learning rate eta_t of the next step."""
        warm = min(1, (self.steps + 1) / self.warmup) if self.warmup else 1
        if self.cosine:
            return warm * self.lr * (1 + cos(pi * min(1, self.steps / self.cosine))) / 2
        return warm * self.lr * self.decay ** (self.steps // self.decay_every if self.decay_every else 0)

    def step(self, params, grads):
        """Update `params` (Parameters, from a network's init) in place with `grads` (a dict of the same keys).

        Raises TypeError or ValueError for other things, for other shapes, dtypes or devices, and for the parameters of
        another network than in the steps before.
        """
        check_parameters(params)
        if not isinstance(grads, dict):
            raise TypeError(f"grads must be a dict with the keys of params, not {type(grads).__name__}")
        if layout(grads) != layout(params):
            raise ValueError("grads must be shaped like params: the same keys in the same order, "
                             f"{params.flat.size} numbers in all")
        g = (grads if isinstance(grads, Parameters) else pack(grads)).flat
        xp = get_array_module(params.flat)
        velocity = xp.zeros_like(params.flat) if self.velocity is None else self.velocity
        check_arrays(params=(params.flat, "N"), grads=(g, "N"), velocity=(velocity, "N"))
        self.velocity = velocity
        scale = None
        if self.clip_norm is not None:
            # no look at the norm on the host: on a GPU that would wait for it
            scale = xp.minimum(1, self.clip_norm / xp.maximum(xp.sqrt((g * g).sum()), 1e-12)).astype(g.dtype)
        for stretch, factor in self._stretches(params):
            update = cuda.sgd_update if cuda.available(g) else sgd_update
            update(params.flat[stretch], self.velocity[stretch], g[stretch], scale, momentum=self.momentum,
                   weight_decay=self.weight_decay, rate=self.rate() * factor)
        self.steps += 1

    def _stretches(self, params):
        """The stretches of the flat buffer that learn at one rate: (slice, f)."""
        start = 0
        for factor, group in groupby(leaves(params), key=lambda leaf: self._factor(leaf[0])):
            stop = start + sum(p.size for _, p in group)
            yield slice(start, stop), factor
            start = stop

    def _factor(self, path):
        return self.localisation_factor if "localisation" in path else 1


def sgd_update(p, velocity, g, scale, *, momentum, weight_decay, rate):
    r"""\(v \leftarrow \mu v + s \, g + \lambda p, \; p \leftarrow p - \eta v\), in place.

    p, velocity, g: 1-D, views into flat buffers; scale s: a 0-d array, or None for 1; momentum \(\mu\), weight_decay
    \(\lambda\), rate \(\eta\): numbers.
    """
    velocity *= momentum
    velocity += g if scale is None else g * scale
    if weight_decay:
        velocity += weight_decay * p
    p -= rate * velocity
