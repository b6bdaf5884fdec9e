"""Convolution as one matrix product (im2col), and its transpose."""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_arrays, check_gradient, check_whole


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
    check_whole("stride", stride)
    check_whole("padding", padding, least=0)
    kh, kw, C, F = W.shape
    H_y, W_y = _conv2d_size(x.shape, W.shape, stride, padding)
    windows = _windows(_pad(x, padding), (H_y, W_y), (kh, kw), stride)
    # im2col: one row for each output pixel, so that the sum over i, j, c is one matrix product
    columns = windows.reshape(x.shape[0] * H_y * W_y, kh * kw * C)
    y = columns @ W.reshape(kh * kw * C, F)
    y += b
    return y.reshape(x.shape[0], H_y, W_y, F), Conv2DCache(columns, W, x.shape, stride, padding)


def conv2d_backward(dy, cache, *, need_dx=True):
    r"""\(dW_{ij}^{cf} = \sum_{b,h,w} x_{hs+i-p,ws+j-p}^c \, dy_{hw}^f\), \(db = \sum_{b,h,w} dy\), and
    \(dx_{hs+i-p,ws+j-p}^c \mathrel{+}= \sum_f W_{ij}^{cf} \, dy_{hw}^f\) for every tap (i, j).

    dy (B, H', W', F) -> dx (B, H, W, C), dW (kh, kw, C, F), db (F,).
    """
    columns, W, x_shape, stride, padding = cache
    check_arrays(dy=(dy, "B H' W' F"), W=(W, "kh kw C F"))
    check_gradient("dy", dy, (x_shape[0], *_conv2d_size(x_shape, W.shape, stride, padding), W.shape[3]))
    dy_rows = dy.reshape(len(columns), W.shape[3])
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


def _conv2d_size(x_shape, W_shape, stride, padding):
    """H', W' of a convolution: how many windows fit."""
    (H, W), (kh, kw) = (n + 2 * padding for n in x_shape[1:3]), W_shape[:2]
    if kh > H or kw > W:
        raise ValueError(f"W must not be larger than the padded image: the filter is {kh}x{kw}, the image {H}x{W}")
    return (H - kh) // stride + 1, (W - kw) // stride + 1


def _windows(x, size, filter_size, stride):
    """A view of x (B, H, W, C) as all windows that fit: (B, H', W', kh, kw, C)."""
    B, _, _, C = x.shape
    s_B, s_H, s_W, s_C = x.strides
    return get_array_module(x).lib.stride_tricks.as_strided(
        x, shape=(B, *size, *filter_size, C), strides=(s_B, s_H * stride, s_W * stride, s_H, s_W, s_C))


def _conv2d_dx(dy, W, x_shape, stride, padding):
    """The transpose of im2col, tap by tap: each tap's share of dx is added where its pixel came from."""
    B, H, W_x, C = x_shape
    _, H_y, W_y, _ = dy.shape
    dx = get_array_module(dy).zeros((B, H + 2 * padding, W_x + 2 * padding, C), dtype=dy.dtype)
    for i, W_i in enumerate(W):
        for j, share in enumerate(_shares(dy, W_i)):
            # dx_{hs+i-p, ws+j-p} += W_ij dy_hw
            dx[:, i:i + stride * H_y:stride, j:j + stride * W_y:stride] += share
    return dx[:, padding:padding + H, padding:padding + W_x]


def _shares(dy, W_i):
    """W_ij dy_hw for the taps j of one row i: kw arrays (B, H', W', C)."""
    B, H_y, W_y, F = dy.shape
    kw, C, _ = W_i.shape
    dy_rows = dy.reshape(B * H_y * W_y, F)
    if C >= 8:
        return [(dy_rows @ W_ij.T).reshape(B, H_y, W_y, C) for W_ij in W_i]
    # with few channels one tap is too thin a product for BLAS: the whole row at once, each tap's share in one piece
    shares = W_i.reshape(kw * C, F) @ dy_rows.T
    return get_array_module(dy).moveaxis(shares.reshape(kw, C, B, H_y, W_y), 1, 4)
