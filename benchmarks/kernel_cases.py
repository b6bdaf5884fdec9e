"""The fused kernels, each with arrays to work on and the pair that it stands in for."""

from typing import NamedTuple

import numpy as np

from benchmarks.sampler import sampling_grid
from stn_scratch import affine_grid_forward, cuda, layers, sample_backward, sample_forward
from stn_scratch.backend import get_array_module
from stn_scratch.grids.affine import affine_grid_backward
from stn_scratch.sampling.sampler import Options

OPTIONS = Options("bilinear", "zeros", True, "right")


class Kernel(NamedTuple):
    fused: object  # () -> its outputs
    plain: object  # () -> the same, by the pair's array operations
    inputs: tuple  # the arrays that both read


def plainly(call):
    """The call with the fused kernels switched off."""
    def plain():
        with cuda.fused(False):
            return call()

    return plain


def _sampler(put, B, C):
    rng = np.random.default_rng(0)
    U = rng.random((B, 28, 30, C), dtype="float32")
    dV = rng.random((B, 26, 24, C), dtype="float32")
    grid = sampling_grid(rng, B, U.shape[1:3], dV.shape[1:3]).astype("float32")
    return put(U), put(grid), put(dV)


def sample_forward_kernel(put, B, C):
    U, grid, _ = _sampler(put, B, C)
    return Kernel(lambda: cuda.sample_forward(U, grid, OPTIONS)[:1], lambda: sample_forward(U, grid)[:1], (U, grid))


def sample_backward_kernel(put, B, C):
    U, grid, dV = _sampler(put, B, C)
    fused, plain = cuda.SampleCache(U, grid, grid.shape[2:], OPTIONS), plainly(lambda: sample_forward(U, grid)[1])()
    return Kernel(lambda: cuda.sample_backward(dV, fused), lambda: sample_backward(dV, plain), (U, grid, dV))


def _theta(put, B):
    """Turned a little, and off the pixels."""
    noise = np.random.default_rng(1).normal(size=(B, 2, 3))
    return put((np.array([[0.81, 0.13, 0.021], [-0.17, 0.77, 0.043]]) + 0.01 * noise).astype("float32"))


def affine_sample_forward_kernel(put, B, C):
    (U, _, dV), theta = _sampler(put, B, C), _theta(put, B)
    size = dV.shape[1:3]
    return Kernel(lambda: cuda.affine_sample_forward(U, theta, size=size, options=OPTIONS)[:1],
                  lambda: sample_forward(U, affine_grid_forward(theta, size=size)[0])[:1], (U, theta))


def affine_sample_backward_kernel(put, B, C):
    (U, _, dV), theta = _sampler(put, B, C), _theta(put, B)
    size = dV.shape[1:3]
    cache = cuda.SampleCache(U, theta, size, OPTIONS)
    grid, grid_cache = affine_grid_forward(theta, size=size)
    plain_cache = plainly(lambda: sample_forward(U, grid)[1])()

    def plain():
        dU, dgrid = sample_backward(dV, plain_cache)
        return dU, affine_grid_backward(dgrid, grid_cache)

    return Kernel(lambda: cuda.affine_sample_backward(dV, cache), plain, (U, theta, dV))


def _windows(x, side, size):
    return [x[:, i:i + size[0], j:j + size[1]] for i in range(side) for j in range(side)]


def im2col_kernel(put, B, C):
    x = put(np.random.default_rng(0).random((B, 20, 18, C), dtype="float32"))
    size = 16, 14

    def plain():
        xp = get_array_module(x)
        return xp.stack(_windows(x, 5, size), axis=3).reshape(B * size[0] * size[1], 25 * C),

    return Kernel(lambda: (cuda.im2col(x, size, (5, 5), 1, 0),), plain, (x,))


def col2im_kernel(put, B, C):
    size, shape = (16, 14), (B, 20, 18, C)
    dcolumns = put(np.random.default_rng(0).random((B * size[0] * size[1], 25 * C), dtype="float32"))

    def plain():
        dx = get_array_module(dcolumns).zeros(shape, dtype=dcolumns.dtype)
        for k, part in enumerate(_windows(dx, 5, size)):
            part += dcolumns.reshape(B, *size, 25, C)[:, :, :, k]
        return dx,

    return Kernel(lambda: (cuda.col2im(dcolumns, shape, size, (5, 5), 1, 0),), plain, (dcolumns,))


def _pool(put, B, C):
    rng = np.random.default_rng(0)
    return put(rng.random((B, 20, 18, C), dtype="float32")), put(rng.random((B, 10, 9, C), dtype="float32"))


def max_pool_forward_kernel(put, B, C):
    x, dy = _pool(put, B, C)
    return Kernel(lambda: cuda.max_pool_forward(x, dy.shape[1:3], 2)[:1], lambda: layers.max_pool_forward(x)[:1], (x,))


def max_pool_backward_kernel(put, B, C):
    x, dy = _pool(put, B, C)
    _, winner = cuda.max_pool_forward(x, dy.shape[1:3], 2)
    cache = plainly(lambda: layers.max_pool_forward(x)[1])()
    return Kernel(lambda: (cuda.max_pool_backward(dy, winner, x.shape, 2),),
                  lambda: (layers.max_pool_backward(dy, cache),), (dy, winner))


def _relu(put, B, C):
    rng = np.random.default_rng(0)
    return put(rng.random((B, 512, C), dtype="float32") - 0.5), put(rng.random(C, dtype="float32") - 0.5)


def relu_forward_kernel(put, B, C):
    x, _ = _relu(put, B, C)
    return Kernel(lambda: (cuda.relu_forward(x),), lambda: layers.relu_forward(x)[:1], (x,))


def relu_backward_kernel(put, B, C):
    x, _ = _relu(put, B, C)
    dy, y = x[::-1].copy(), cuda.relu_forward(x)
    return Kernel(lambda: (cuda.relu_backward(dy, y),), lambda: (dy * (y > 0),), (dy, y))


def bias_relu_forward_kernel(put, B, C):
    x, b = _relu(put, B, C)
    return Kernel(lambda: (cuda.bias_relu_forward(x, b),), lambda: (get_array_module(x).maximum(x + b, 0),), (x, b))


def bias_relu_backward_kernel(put, B, C):
    x, b = _relu(put, B, C)
    dy, y = x[::-1].copy(), cuda.bias_relu_forward(x, b)

    def plain():
        dx = dy * (y > 0)
        return dx, dx.reshape(-1, C).sum(axis=0)

    return Kernel(lambda: cuda.bias_relu_backward(dy, y), plain, (dy, y))


def _logits(put, B):
    rng = np.random.default_rng(0)
    return put(rng.normal(size=(256 * B, 10)).astype("float32")), put(rng.integers(0, 10, 256 * B))


def softmax_cross_entropy_forward_kernel(put, B, C):
    logits, labels = _logits(put, B)

    def plain():
        loss, cache = layers.softmax_cross_entropy_forward(logits, labels=labels)
        return loss, cache.p

    return Kernel(lambda: cuda.softmax_cross_entropy_forward(logits, labels), plain, (logits, labels))


def softmax_cross_entropy_backward_kernel(put, B, C):
    logits, labels = _logits(put, B)
    _, p = cuda.softmax_cross_entropy_forward(logits, labels)
    cache = plainly(lambda: layers.softmax_cross_entropy_forward(logits, labels=labels)[1])()
    return Kernel(lambda: (cuda.softmax_cross_entropy_backward(1.0, p, labels),),
                  lambda: (layers.softmax_cross_entropy_backward(1.0, cache),), (p, labels))


def sgd_update_kernel(put, B, C):
    rng = np.random.default_rng(0)
    p, velocity, g = (put(rng.normal(size=4096 * B).astype("float32")) for _ in range(3))
    one = put(np.ones((), dtype="float32"))
    p_plain, velocity_plain = p.copy(), velocity.copy()

    def fused():
        cuda.sgd_update(p, velocity, g, one, momentum=0.9, weight_decay=0.0, rate=1e-3)
        return p, velocity

    def plain():
        velocity_plain[...] = 0.9 * velocity_plain + g
        p_plain[...] -= 1e-3 * velocity_plain
        return p_plain, velocity_plain

    return Kernel(fused, plain, (p, velocity, g))


# the name in `stn_scratch.cuda` -> (put, B images, C channels) -> Kernel
BUILDERS = {name.removesuffix("_kernel"): build for name, build in list(globals().items()) if name.endswith("_kernel")}
