r"""Networks from pairs. A network holds structure only; what it learns and what it remembers pass through as values:

    params, out_shape = net.init(rng, in_shape)       in_shape without the batch axis
    y, cache          = net.forward(params, x)
    dx, grads         = net.backward(dy, cache)       grads shaped like params

So a network can be used twice in one step, or by several threads on parts of a batch; gradients are then added.
`rng` is a NumPy generator: a seed gives the same parameters on every device. `need_dx=False` leaves out dx.
"""

from dataclasses import dataclass

from stn_scratch import layers
from stn_scratch.backend import get_array_module
from stn_scratch.layer_networks import AvgPool, Conv2D, Dense, Flatten, MaxPool, ReLU
from stn_scratch.parameters import learns, pack

__all__ = ["AvgPool", "Conv2D", "Dense", "Flatten", "MaxPool", "Parallel", "ReLU", "Sequential", "Shared",
           "check_network"]


def check_network(name, net):
    """Raise TypeError unless this is a network, such as Dense(3): not the class Dense, nor a list of layers."""
    if isinstance(net, type) or not hasattr(net, "init"):
        kind = net if isinstance(net, type) else type(net)
        raise TypeError(f"{name} must be a network, not {kind.__name__}")


def _named(of, networks):
    """The networks by number and kind, as their parameters are."""
    for net in networks:
        check_network(f"each argument of {type(of).__name__}", net)
    return {f"{k} {type(net).__name__}": net for k, net in enumerate(networks)}


@dataclass(frozen=True)
class _ConvMaxPool:
    """A convolution and the max-pooling behind it, in one; its parameters are the convolution's."""

    conv: Conv2D
    pool: MaxPool

    def forward(self, params, x):
        return layers.conv2d_max_pool_forward(x, params["W"], params["b"], stride=self.conv.stride,
                                              padding=self.conv.padding, size=self.pool.size, ceil=self.pool.ceil)

    def backward(self, dy, cache, *, need_dx=True):
        dx, dW, db = layers.conv2d_max_pool_backward(dy, cache, need_dx=need_dx)
        return dx, {"W": dW, "b": db}


def _joined(networks):
    """The networks by name, each convolution with the max-pooling behind it as one, by the convolution's name."""
    joined = {}
    for name, net in networks.items():
        before = next(reversed(joined), None)
        if type(net) is MaxPool and type(joined.get(before)) is Conv2D:
            joined[before] = _ConvMaxPool(joined[before], net)
        else:
            joined[name] = net
    return joined


class Sequential:
    """One network after another. Parameters: {"0 Conv2D": {...}, "3 Dense": {...}, ...}."""

    def __init__(self, *networks):
        self.networks = _named(self, networks)
        self._joined = _joined(self.networks)

    def init(self, rng, in_shape):
        params = {}
        for name, net in self.networks.items():
            params[name], in_shape = net.init(rng, in_shape)
        return pack(params), in_shape

    def forward(self, params, x):
        caches, learns_before = [], False
        for name, net in self._joined.items():
            x, cache = net.forward(params[name], x)
            caches.append((cache, learns_before))
            learns_before = learns_before or learns(params[name])
        return x, caches

    def backward(self, dy, cache, *, need_dx=True):
        grads = {}
        for (name, net), (net_cache, learns_before) in zip(reversed(self._joined.items()), reversed(cache),
                                                           strict=True):
            if dy is None:  # not asked for: nothing from the input to here learns
                grads[name] = {}
            else:
                dy, grads[name] = net.backward(dy, net_cache, need_dx=need_dx or learns_before)
        return dy, {name: grads.get(name, {}) for name in self.networks}


class Parallel:
    """Several networks side by side on one input; their outputs are concatenated along the last axis."""

    def __init__(self, *networks):
        if not networks:
            raise ValueError("Parallel must have at least one network")
        self.networks = _named(self, networks)

    def init(self, rng, in_shape):
        params, out_shapes = {}, []
        for name, net in self.networks.items():
            params[name], out_shape = net.init(rng, in_shape)
            out_shapes.append(out_shape)
        if len({shape[:-1] for shape in out_shapes}) > 1:
            raise ValueError(f"the outputs of parallel networks must differ in their last axis only, not {out_shapes}")
        return pack(params), (*out_shapes[0][:-1], sum(shape[-1] for shape in out_shapes))

    def forward(self, params, x):
        results = [net.forward(params[name], x) for name, net in self.networks.items()]
        ys = [y for y, _ in results]
        return get_array_module(x).concatenate(ys, axis=-1), [(y.shape[-1], cache) for y, cache in results]

    def backward(self, dy, cache, *, need_dx=True):
        dx, grads, start = None, {}, 0
        for (name, net), (width, net_cache) in zip(self.networks.items(), cache, strict=True):
            part = dy[..., start:start + width]
            start += width
            dx_part, grads[name] = net.backward(part, net_cache, need_dx=need_dx)
            # every network read the same x, so their gradients add
            if need_dx:
                dx = dx_part if dx is None else dx + dx_part
        return dx, grads


@dataclass(frozen=True)
class Shared:
    """One network for each of n images side by side: x (B, n, ...) -> (B, n, ...).

    The parameters are shared, so what the n images ask of them adds up. (The paper's App. A.2 compares images in this
    way.)
    """

    network: object

    def init(self, rng, in_shape):
        params, out_shape = self.network.init(rng, in_shape[1:])
        return params, (in_shape[0], *out_shape)

    def forward(self, params, x):
        y, cache = self.network.forward(params, _fold(x))
        return y.reshape(*x.shape[:2], *y.shape[1:]), (cache, x.shape)

    def backward(self, dy, cache, *, need_dx=True):
        network_cache, shape = cache
        dx, grads = self.network.backward(_fold(dy), network_cache, need_dx=need_dx)
        return (dx.reshape(shape) if need_dx else None), grads


def _fold(x):
    """(B, n, ...) -> (B n, ...): more images of one batch. Their gradients add as those of a batch do."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
