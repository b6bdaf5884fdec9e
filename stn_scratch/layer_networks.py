"""Each layer as a network, by the rules of `network.py`: its pair, the start of its parameters, its output's shape."""

from dataclasses import dataclass
from math import prod

from stn_scratch import layers
from stn_scratch.parameters import pack
from stn_scratch.validate import check_whole


def _he_normal(rng, shape, inputs):
    """Normal weights of variance 2 / inputs (He et al. 2015, arXiv 1502.01852): ReLU keeps the signal's size."""
    return rng.normal(scale=(2 / inputs) ** 0.5, size=shape)


def input_shape(network, in_shape, kind="images", axes="H W C"):
    """in_shape, if it is one of this kind, with these axes. Raises ValueError, naming the network, if it is not."""
    axes = axes.split()
    if len(in_shape) != len(axes):
        raise ValueError(f"{type(network).__name__} takes {kind} ({', '.join(axes)}); its input here is {in_shape}")
    return in_shape


@dataclass(frozen=True)
class Dense:
    """x (B, D) -> x W + b (B, units). `bias`: the start of b; given, W starts at zero (a regression to a constant)."""

    units: int
    bias: tuple | None = None

    def __post_init__(self):
        check_whole("units", self.units)
        if self.bias is not None and len(self.bias) != self.units:
            raise ValueError(f"bias must have {self.units} numbers, one a unit, not {len(self.bias)}")

    def init(self, rng, in_shape):
        if len(in_shape) != 1:
            raise ValueError(f"Dense takes vectors (B, D): put Flatten before it; its input here is (B, {in_shape})")
        W = _he_normal(rng, (in_shape[0], self.units), in_shape[0])
        b = 0 * W[0]
        if self.bias is not None:
            W, b = 0 * W, b + self.bias
        return pack({"W": W, "b": b}), (self.units,)

    def forward(self, params, x):
        return layers.dense_forward(x, params["W"], params["b"])

    def backward(self, dy, cache, *, need_dx=True):
        dx, dW, db = layers.dense_backward(dy, cache, need_dx=need_dx)
        return dx, {"W": dW, "b": db}


@dataclass(frozen=True)
class Conv2D:
    """x (B, H, W, C) -> (B, H', W', filters): `layers.conv2d_forward` with size x size filters."""

    filters: int
    size: int
    stride: int = 1
    padding: int = 0

    def __post_init__(self):
        for name in ("filters", "size", "stride"):
            check_whole(name, getattr(self, name))
        check_whole("padding", self.padding, least=0)

    def init(self, rng, in_shape):
        H, W, C = input_shape(self, in_shape)
        out = [(n + 2 * self.padding - self.size) // self.stride + 1 for n in (H, W)]
        if min(out) < 1:
            raise ValueError(f"Conv2D with {self.size}x{self.size} filters does not fit an image of {H}x{W}")
        weights = _he_normal(rng, (self.size, self.size, C, self.filters), self.size ** 2 * C)
        return pack({"W": weights, "b": 0 * weights[0, 0, 0]}), (*out, self.filters)

    def forward(self, params, x):
        return layers.conv2d_forward(x, params["W"], params["b"], stride=self.stride, padding=self.padding)

    def backward(self, dy, cache, *, need_dx=True):
        dx, dW, db = layers.conv2d_backward(dy, cache, need_dx=need_dx)
        return dx, {"W": dW, "b": db}


@dataclass(frozen=True)
class _Pool:
    size: int = 2
    ceil: bool = False

    def __post_init__(self):
        check_whole("size", self.size)

    def init(self, rng, in_shape):
        H, W, C = input_shape(self, in_shape)
        up = self.size - 1 if self.ceil else 0
        out = [(n + up) // self.size for n in (H, W)]
        if min(out) < 1:
            raise ValueError(f"{type(self).__name__} of {self.size}x{self.size} does not fit an image of {H}x{W}")
        return pack({}), (*out, C)

    def forward(self, params, x):
        return self._forward(x, size=self.size, ceil=self.ceil)

    def backward(self, dy, cache, *, need_dx=True):
        return (self._backward(dy, cache) if need_dx else None), {}


class MaxPool(_Pool):
    """The maximum of size x size windows. ceil keeps the incomplete last window of an odd side."""

    _forward, _backward = staticmethod(layers.max_pool_forward), staticmethod(layers.max_pool_backward)


class AvgPool(_Pool):
    """The mean of size x size windows. ceil keeps the incomplete last window of an odd side."""

    _forward, _backward = staticmethod(layers.avg_pool_forward), staticmethod(layers.avg_pool_backward)


@dataclass(frozen=True)
class ReLU:
    """max(x, 0)."""

    def init(self, rng, in_shape):
        return pack({}), in_shape

    def forward(self, params, x):
        return layers.relu_forward(x)

    def backward(self, dy, cache, *, need_dx=True):
        return (layers.relu_backward(dy, cache) if need_dx else None), {}


@dataclass(frozen=True)
class Flatten:
    """(B, ...) -> (B, D)."""

    def init(self, rng, in_shape):
        return pack({}), (prod(in_shape),)

    def forward(self, params, x):
        return x.reshape(x.shape[0], prod(x.shape[1:])), x.shape

    def backward(self, dy, cache, *, need_dx=True):
        return (dy.reshape(cache) if need_dx else None), {}
