"""Convolution in its plain form: one matrix product, and its transpose.

`convolution.py` does the same faster on a CPU, and is tested equal to it. On a GPU this form is the fast one: there the
columns, and the way back, are one kernel each.
"""

from typing import NamedTuple

from stn_scratch import cuda
from stn_scratch.backend import get_array_module


class Conv2DCache(NamedTuple):
    x: object  # (B, H, W, C)
    W: object  # (kh, kw, C, F)
    stride: int
    padding: int
    frequencies: tuple | None = None  # x_hat and W_conj, where `frequencies.py` did it


def im2col_forward(x, W, b, *, stride=1, padding=0):
    r"""\(y = \mathrm{columns} \, W + b\): one row of columns for each output pixel, the kh kw C numbers that it reads.

    Arguments as in `conv2d_forward`, which has checked them.
    """
    B, C, (kh, kw, _, F) = x.shape[0], x.shape[3], W.shape
    H_y, W_y = conv2d_size(x.shape, W.shape, stride, padding)
    # the sum over i, j, c of x_{hs+i-p, ws+j-p} W_ij, for all output pixels and filters at once
    y = _columns(x, W.shape, stride, padding) @ W.reshape(kh * kw * C, F)
    y += b
    return y.reshape(B, H_y, W_y, F), Conv2DCache(x, W, stride, padding)


def im2col_backward(dy, cache, *, need_dx=True):
    r"""\(dW = \mathrm{columns}^T dy\), \(db = \sum dy\), and dx from \(d\mathrm{columns} = dy \, W^T\).

    The transpose of the one matrix product, once for each factor. Shapes as in `conv2d_backward`.
    """
    x, W, stride, padding, _ = cache
    kh, kw, C, F = W.shape
    dy_rows = dy.reshape(-1, F)
    # columns^T dy
    dW = (_columns(x, W.shape, stride, padding).T @ dy_rows).reshape(W.shape)
    dx = None
    if need_dx:
        # dy W^T, and every number back to its pixel
        dx = _columns_backward(dy_rows @ W.reshape(kh * kw * C, F).T, x.shape, W.shape, stride, padding)
    return dx, dW, dy_rows.sum(axis=0)


def conv2d_size(x_shape, W_shape, stride, padding):
    """H', W' of a convolution: how many windows fit."""
    (H, W), (kh, kw) = (n + 2 * padding for n in x_shape[1:3]), W_shape[:2]
    if kh > H or kw > W:
        raise ValueError(f"W must not be larger than the padded image: the filter is {kh}x{kw}, the image {H}x{W}")
    return (H - kh) // stride + 1, (W - kw) // stride + 1


def pad(x, padding, size=None):
    """A frame of zeros around each image; if size (H, W) is given, with more of them below and on the right."""
    B, H, W, C = x.shape
    size = tuple(size or (H + 2 * padding, W + 2 * padding))
    if size == (H, W):
        return x
    padded = get_array_module(x).zeros((B, *size, C), dtype=x.dtype)
    padded[:, padding:padding + H, padding:padding + W] = x
    return padded


def _columns(x, W_shape, stride, padding):
    """(B H' W', kh kw C): what each output pixel reads."""
    H_y, W_y = conv2d_size(x.shape, W_shape, stride, padding)
    kh, kw, C, _ = W_shape
    if cuda.available(x):
        return cuda.im2col(x, (H_y, W_y), (kh, kw), stride, padding)
    x = pad(x, padding)
    taps = [x[:, i:i + stride * H_y:stride, j:j + stride * W_y:stride] for i in range(kh) for j in range(kw)]
    return get_array_module(x).concatenate(taps, axis=3).reshape(-1, kh * kw * C)


def _columns_backward(d_columns, x_shape, W_shape, stride, padding):
    """The transpose, (B H' W', kh kw C) -> dx (B, H, W, C): each number goes back to where it was read."""
    H_y, W_y = conv2d_size(x_shape, W_shape, stride, padding)
    (B, H, W, C), (kh, kw) = x_shape, W_shape[:2]
    if cuda.available(d_columns):
        return cuda.col2im(d_columns, x_shape, (H_y, W_y), (kh, kw), stride, padding)
    d_columns = d_columns.reshape(B, H_y, W_y, kh, kw, C)
    dx = get_array_module(d_columns).zeros((B, H + 2 * padding, W + 2 * padding, C), dtype=d_columns.dtype)
    for i in range(kh):
        for j in range(kw):
            dx[:, i:i + stride * H_y:stride, j:j + stride * W_y:stride] += d_columns[:, :, :, i, j]
    return dx[:, padding:padding + H, padding:padding + W]
