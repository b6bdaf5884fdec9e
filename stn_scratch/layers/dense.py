"""The fully connected layer and ReLU."""

from typing import NamedTuple

from stn_scratch import cuda
from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_arrays, check_gradient


class DenseCache(NamedTuple):
    x: object
    W: object


def dense_forward(x, W, b):
    r"""\(y = x W + b\). x (B, D), W (D, F), b (F,) -> y (B, F), cache."""
    check_arrays(x=(x, "B D"), W=(W, "D F"), b=(b, "F"))
    return x @ W + b, DenseCache(x, W)


def dense_backward(dy, cache, *, need_dx=True):
    r"""\(dx = dy \, W^T, \; dW = x^T dy, \; db = \sum_B dy\). dy (B, F) -> dx (B, D), dW (D, F), db (F,)."""
    x, W = cache
    check_arrays(dy=(dy, "B F"), x=(x, "B D"), W=(W, "D F"))
    return (dy @ W.T if need_dx else None), x.T @ dy, dy.sum(axis=0)


class ReLUCache(NamedTuple):
    y: object


def relu_forward(x):
    r"""\(y = \max(x, 0)\). Any shape."""
    check_arrays(x=(x, "..."))
    y = cuda.relu_forward(x) if cuda.available(x) else get_array_module(x).maximum(x, 0)
    return y, ReLUCache(y)


def relu_backward(dy, cache):
    """dx = dy where x > 0, else 0; at the kink x = 0 it is 0, the left-hand slope."""
    check_gradient("dy", dy, cache.y.shape)
    check_arrays(dy=(dy, "..."), y=(cache.y, "..."))
    # y > 0 exactly where x > 0
    return cuda.relu_backward(dy, cache.y) if cuda.available(dy) else dy * (cache.y > 0)
