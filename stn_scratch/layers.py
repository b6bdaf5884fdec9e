r"""The other layers of the paper's networks as forward/backward pairs: dense, convolution, pooling, ReLU, the loss.

Images are channels-last, (B, H, W, C). In a backward, `dy` is the gradient of the loss with respect to the output y.
`need_dx=False`, where a backward has it, leaves out the gradient of the input (None instead): the first layer of a
network has nobody to hand it to.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_arrays, check_labels, check_positive


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


class Conv2DCache(NamedTuple):
    columns: object  # (B H' W', kh kw C)
    W: object  # (kh, kw, C, F)
    x_shape: tuple
    stride: int
    padding: int


def conv2d_forward(x, W, b, *, stride=1, padding=0):
    r"""\(y_{hw}^f = b^f + \sum_{i,j,c} x_{h s + i - p, \, w s + j - p}^c \, W_{ij}^{cf}\), stride s, zero padding p.

    x (B, H, W, C), W (kh, kw, C, F), b (F,) -> y (B, H', W', F), cache; H' = (H + 2p - kh) // s + 1.

    Raises ValueError if the filter is larger than the padded image.
    """
    check_arrays(x=(x, "B H W C"), W=(W, "kh kw C F"), b=(b, "F"))
    check_positive("stride", stride)
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"padding must be a whole number of pixels, 0 or more, not {padding!r}")
    kh, kw, C, F = W.shape
    windows = _windows(_pad(x, padding), kh, kw, stride)
    # im2col: one row for each output pixel, so that the sum over i, j, c is one matrix product
    columns = windows.reshape(-1, kh * kw * C)
    y = columns @ W.reshape(-1, F)
    y += b
    return y.reshape(*windows.shape[:3], F), Conv2DCache(columns, W, x.shape, stride, padding)


def conv2d_backward(dy, cache, *, need_dx=True):
    r"""\(dW_{ij}^{cf} = \sum_{b,h,w} x_{hs+i-p,ws+j-p}^c \, dy_{hw}^f\), \(db = \sum_{b,h,w} dy\), and
    \(dx_{hs+i-p,ws+j-p}^c \mathrel{+}= \sum_f W_{ij}^{cf} \, dy_{hw}^f\) for every tap (i, j).

    dy (B, H', W', F) -> dx (B, H, W, C), dW (kh, kw, C, F), db (F,).
    """
    columns, W, x_shape, stride, padding = cache
    check_arrays(dy=(dy, "B H' W' F"), W=(W, "kh kw C F"))
    dy_rows = dy.reshape(-1, W.shape[3])
    # the transpose of the one matrix product, once for each factor
    dW = (columns.T @ dy_rows).reshape(W.shape)
    db = dy_rows.sum(axis=0)
    dx = _conv2d_dx(dy, W, x_shape, stride, padding) if need_dx else None
    return dx, dW, db


def _pad(x, padding):
    if padding == 0:
        return x
    B, H, W, C = x.shape
    padded = get_array_module(x).zeros((B, H + 2 * padding, W + 2 * padding, C), dtype=x.dtype)
    padded[:, padding:padding + H, padding:padding + W] = x
    return padded


def _windows(x, kh, kw, stride):
    """A view of x (B, H, W, C) as all windows that fit: (B, H', W', kh, kw, C)."""
    B, H, W, C = x.shape
    if kh > H or kw > W:
        raise ValueError(f"W must not be larger than the padded image: the filter is {kh}x{kw}, the image {H}x{W}")
    s_B, s_H, s_W, s_C = x.strides
    return get_array_module(x).lib.stride_tricks.as_strided(
        x, shape=(B, (H - kh) // stride + 1, (W - kw) // stride + 1, kh, kw, C),
        strides=(s_B, s_H * stride, s_W * stride, s_H, s_W, s_C))


def _conv2d_dx(dy, W, x_shape, stride, padding):
    """The transpose of im2col, tap by tap: each tap's share of dx is added where its pixel came from."""
    B, H, W_x, C = x_shape
    kh, kw, _, F = W.shape
    _, H_y, W_y, _ = dy.shape
    dx = get_array_module(dy).zeros((B, H + 2 * padding, W_x + 2 * padding, C), dtype=dy.dtype)
    dy_rows = dy.reshape(-1, F)
    for i in range(kh):
        for j in range(kw):
            # dx_{hs+i-p, ws+j-p} += W_ij dy_hw
            share = (dy_rows @ W[i, j].T).reshape(B, H_y, W_y, C)
            dx[:, i:i + stride * H_y:stride, j:j + stride * W_y:stride] += share
    return dx[:, padding:padding + H, padding:padding + W_x]


class ReLUCache(NamedTuple):
    positive: object


def relu_forward(x):
    r"""\(y = \max(x, 0)\). Any shape."""
    check_arrays(x=(x, "..."))
    return get_array_module(x).maximum(x, 0), ReLUCache(x > 0)


def relu_backward(dy, cache):
    """dx = dy where x > 0, else 0; at the kink x = 0 it is 0, the left-hand slope."""
    check_arrays(dy=(dy, "..."))
    return dy * cache.positive


class PoolCache(NamedTuple):
    winner: object  # (B, H', W', C) the first tap that holds the maximum; None for an average
    x_shape: tuple
    size: int
    ceil: bool


def _pooled_shape(x_shape, size, ceil):
    """H', W' of pooling. floor drops the last incomplete window of an odd side; ceil keeps it, with what is there."""
    _, H, W, _ = x_shape
    H_y, W_y = (-(-H // size), -(-W // size)) if ceil else (H // size, W // size)
    if H_y == 0 or W_y == 0:
        raise ValueError(f"x must be at least one window of {size}x{size}, not {H}x{W}")
    return H_y, W_y


def _pool_taps(x, size, H_y, W_y):
    """For each tap of the window, the window it reaches and its view of x: (rows, columns, view).

    With ceil, a tap beyond the edge reaches fewer windows, and its view is smaller.
    """
    for i in range(size):
        for j in range(size):
            view = x[:, i:size * H_y:size, j:size * W_y:size]
            yield slice(view.shape[1]), slice(view.shape[2]), view


def max_pool_forward(x, *, size=2, ceil=False):
    r"""\(y_{hw}^c = \max_{i,j < s} x_{hs+i, ws+j}^c\): windows of size s, side by side.

    x (B, H, W, C) -> y (B, H', W', C), cache. An odd side: H' = floor(H / s), or ceil(H / s) with ceil=True, where the
    last window holds what is left.
    """
    check_arrays(x=(x, "B H W C"))
    check_positive("size", size)
    xp = get_array_module(x)
    H_y, W_y = _pooled_shape(x.shape, size, ceil)
    y = x[:, :size * H_y:size, :size * W_y:size].copy()
    winner = xp.zeros(y.shape, dtype=xp.intp if size > 15 else xp.uint8)
    for tap, (rows, columns, view) in enumerate(_pool_taps(x, size, H_y, W_y)):
        best = y[:, rows, columns]
        # strictly greater: a tied maximum stays with the first
        xp.copyto(winner[:, rows, columns], winner.dtype.type(tap), where=view > best)
        xp.maximum(best, view, out=best)
    return y, PoolCache(winner, x.shape, size, ceil)


def max_pool_backward(dy, cache):
    """The gradient goes to the pixel that was the maximum; a tied maximum sends it to the first, row by row.

    dy (B, H', W', C) -> dx (B, H, W, C).
    """
    winner, x_shape, size, _ = cache
    check_arrays(dy=(dy, "B H' W' C"))
    dx = get_array_module(dy).zeros(x_shape, dtype=dy.dtype)
    _, H_y, W_y, _ = dy.shape
    for tap, (rows, columns, view) in enumerate(_pool_taps(dx, size, H_y, W_y)):
        view[...] = dy[:, rows, columns] * (winner[:, rows, columns] == tap)
    return dx


def _window_counts(xp, x_shape, size, H_y, W_y, dtype):
    """How many pixels each window holds, shape (H', W', 1): size^2, or fewer at an edge that ceil keeps."""
    _, H, W, _ = x_shape
    rows = xp.minimum(H - size * xp.arange(H_y), size)
    columns = xp.minimum(W - size * xp.arange(W_y), size)
    return (rows[:, None] * columns)[..., None].astype(dtype)


def avg_pool_forward(x, *, size=2, ceil=False):
    r"""\(y_{hw}^c = \frac{1}{N_{hw}} \sum_{i,j < s} x_{hs+i, ws+j}^c\): the mean of the N pixels that the window holds.

    x (B, H, W, C) -> y (B, H', W', C), cache. Odd sides as in `max_pool_forward`.
    """
    check_arrays(x=(x, "B H W C"))
    check_positive("size", size)
    xp = get_array_module(x)
    H_y, W_y = _pooled_shape(x.shape, size, ceil)
    y = xp.zeros((x.shape[0], H_y, W_y, x.shape[3]), dtype=x.dtype)
    for rows, columns, view in _pool_taps(x, size, H_y, W_y):
        y[:, rows, columns] += view
    y /= _window_counts(xp, x.shape, size, H_y, W_y, x.dtype)
    return y, PoolCache(None, x.shape, size, ceil)


def avg_pool_backward(dy, cache):
    """Each of the N pixels of a window gets dy / N. dy (B, H', W', C) -> dx (B, H, W, C)."""
    _, x_shape, size, _ = cache
    check_arrays(dy=(dy, "B H' W' C"))
    xp = get_array_module(dy)
    dx = xp.zeros(x_shape, dtype=dy.dtype)
    _, H_y, W_y, _ = dy.shape
    share = dy / _window_counts(xp, x_shape, size, H_y, W_y, dy.dtype)
    for rows, columns, view in _pool_taps(dx, size, H_y, W_y):
        view[...] = share[:, rows, columns]
    return dx


class CrossEntropyCache(NamedTuple):
    p: object  # (B, classes) the softmax
    labels: object


def softmax_cross_entropy_forward(logits, *, labels):
    r"""\(L = -\frac{1}{B} \sum_b \log p_{b, \mathrm{label}_b}\) with \(p_{bk} = e^{z_{bk}} / \sum_j e^{z_{bj}}\).

    logits z (B, classes), labels (B,) integers in 0..classes-1 -> loss, a 0-d array; cache.

    Raises ValueError for an empty batch, whose mean does not exist.
    """
    check_arrays(logits=(logits, "B classes"))
    check_labels(labels, logits)
    if logits.shape[0] == 0:
        raise ValueError("logits must have at least one row: the mean loss of an empty batch does not exist")
    xp = get_array_module(logits)
    # the largest logit is subtracted first: e^z overflows, the quotient does not change
    z = logits - logits.max(axis=1, keepdims=True)
    e = xp.exp(z)
    total = e.sum(axis=1)
    rows = xp.arange(logits.shape[0])
    loss = (xp.log(total) - z[rows, labels]).mean()
    return loss, CrossEntropyCache(e / total[:, None], labels)


def softmax_cross_entropy_backward(dloss, cache):
    r"""\(dz_{bk} = \frac{dL}{B} (p_{bk} - [k = \mathrm{label}_b])\).

    dloss: the gradient of the loss itself, a number or 0-d array (1 in a plain training step) -> dlogits (B, classes).
    """
    p, labels = cache
    xp = get_array_module(p)
    dlogits = p.copy()
    dlogits[xp.arange(p.shape[0]), labels] -= 1
    dlogits *= xp.asarray(dloss, dtype=p.dtype) / p.shape[0]
    return dlogits
