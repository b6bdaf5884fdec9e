"""Convolution as matrix products, one for each row of taps, and its transpose.

The plain way, `im2col.py`, lays out the kh kw C numbers that each output pixel reads, and needs a single product; but
it writes every pixel of x kh kw times. Here the layout runs along the width only, image rows first: a pixel is written
kw times, and taps one row down find their numbers one row down in the same layout. Blocks of images keep it in the
cache. With few channels those products would be too thin: `few_channels.py`. With large filters most of them can be
saved: `frequencies.py`.
"""

from functools import reduce
from operator import iadd

from stn_scratch import cuda
from stn_scratch.backend import get_array_module, on_host
from stn_scratch.blocks import blocks_of_images
from stn_scratch.layers.few_channels import few_channels_backward, few_channels_forward
from stn_scratch.layers.frequencies import frequencies_backward, frequencies_forward, frequencies_pay
from stn_scratch.layers.im2col import Conv2DCache, conv2d_size, im2col_backward, im2col_forward, pad
from stn_scratch.layers.products import column_sums, matmul_in_pieces
from stn_scratch.validate import check_arrays, check_gradient, check_whole

FEW_CHANNELS = 8


def conv2d_forward(x, W, b, *, stride=1, padding=0):
    r"""\(y_{hw}^f = b^f + \sum_{i,j,c} x_{h s + i - p, \, w s + j - p}^c \, W_{ij}^{cf}\), stride s, zero padding p.

    x (B, H, W, C), W (kh, kw, C, F), b (F,) -> y (B, H', W', F), cache; H' = (H + 2p - kh) // s + 1.

    Raises ValueError if the filter is larger than the padded image, or empty.
    """
    stride, padding, y_shape = check_convolution(x, W, b, stride, padding)
    H_y, W_y = y_shape[1:3]
    if cuda.available(x):
        return im2col_forward(x, W, b, stride=stride, padding=padding)
    cache = Conv2DCache(x, W, stride, padding)
    if x.shape[3] < FEW_CHANNELS:
        return few_channels_forward(x, W, b, (H_y, W_y), stride, padding), cache
    if stride == 1 and on_host(x) and frequencies_pay(x.shape, W.shape, (H_y, W_y), padding):
        y, frequencies = frequencies_forward(x, W, b, (H_y, W_y), padding)
        return y, cache._replace(frequencies=frequencies)
    xp = get_array_module(x)
    y = xp.empty(y_shape, dtype=x.dtype)
    for images, columns in _blocks_of_columns(x, W, W_y, stride, padding):
        # the sum over i, and over j, c in each product
        y_rows = reduce(iadd, (matmul_in_pieces(_read_by(columns, i, H_y, stride), _matrix(W[i]))
                               for i in range(len(W))))
        xp.add(y_rows.reshape(H_y, -1, *y.shape[2:]).swapaxes(0, 1), b, out=y[images])
    return y, cache


def check_convolution(x, W, b, stride, padding):
    """stride, padding and the shape of y, (B, H', W', F), of `conv2d_forward`, with its errors."""
    check_arrays(x=(x, "B H W C"), W=(W, "kh kw C F"), b=(b, "F"))
    stride, padding = check_whole("stride", stride), check_whole("padding", padding, least=0)
    if 0 in W.shape:
        raise ValueError(f"W must have no side of 0, not shape {W.shape}")
    return stride, padding, (len(x), *conv2d_size(x.shape, W.shape, stride, padding), len(b))


def conv2d_backward(dy, cache, *, need_dx=True):
    r"""\(dW_{ij}^{cf} = \sum_{b,h,w} x_{hs+i-p,ws+j-p}^c \, dy_{hw}^f\), \(db = \sum_{b,h,w} dy\), and
    \(dx_{hs+i-p,ws+j-p}^c \mathrel{+}= \sum_f W_{ij}^{cf} \, dy_{hw}^f\) for every tap (i, j).

    dy (B, H', W', F) -> dx (B, H, W, C), dW (kh, kw, C, F), db (F,).
    """
    x, W, stride, padding, frequencies = cache
    check_arrays(dy=(dy, "B H' W' F"), W=(W, "kh kw C F"))
    H_y, W_y = conv2d_size(x.shape, W.shape, stride, padding)
    check_gradient("dy", dy, (x.shape[0], H_y, W_y, W.shape[3]))
    if cuda.available(dy):
        return im2col_backward(dy, cache, need_dx=need_dx)
    if x.shape[3] < FEW_CHANNELS:
        return few_channels_backward(dy, x, W, stride, padding, need_dx)
    if frequencies is not None:
        return frequencies_backward(dy, x, W, padding, frequencies, need_dx)
    xp = get_array_module(dy)
    dx, dW, db = xp.empty_like(x) if need_dx else None, xp.zeros_like(W), xp.zeros_like(W[0, 0, 0])
    for images, columns in _blocks_of_columns(x, W, W_y, stride, padding):
        # the transpose of the matrix products, once for each factor
        dy_rows = dy[images].swapaxes(0, 1).reshape(-1, W.shape[3])
        db += column_sums(dy_rows)
        for i in range(len(W)):
            dW[i] += (_read_by(columns, i, H_y, stride).T @ dy_rows).reshape(W.shape[1:])
        if need_dx:
            dx[images] = _conv2d_dx(dy_rows, W, x[images].shape, stride, padding)
    return dx, dW, db


def _matrix(W_i):
    """One row of taps, (kw, C, F) -> (kw C, F)."""
    return W_i.reshape(-1, W_i.shape[2])


def _blocks_of_columns(x, W, W_y, stride, padding):
    """Blocks of n images, as slices, with their columns (H, n W', kw C): what each output reads in one row."""
    H, C, kw = x.shape[1] + 2 * padding, x.shape[3], W.shape[1]
    as_strided = get_array_module(x).lib.stride_tricks.as_strided
    for images in blocks_of_images(x, x.itemsize * H * W_y * kw * C):
        block = pad(x[images], padding)
        s_B, s_H, s_W, s_C = block.strides
        columns = as_strided(block, (H, len(block), W_y, kw, C), (s_H, s_B, s_W * stride, s_W, s_C))
        yield images, columns.reshape(H, -1, kw * C)


def _read_by(columns, i, H_y, stride):
    """The columns that row i of the taps reads, for all output rows: (H' n W', kw C)."""
    return columns[i:i + stride * H_y:stride].reshape(-1, columns.shape[2])


def _conv2d_dx(dy_rows, W, x_shape, stride, padding):
    """The transpose of the columns, for one block of images: dy_rows (H' n W', F) -> dx (n, H, W, C)."""
    xp, (kh, kw, C, _) = get_array_module(dy_rows), W.shape
    n, H, W_x = x_shape[0], x_shape[1] + 2 * padding, x_shape[2] + 2 * padding
    H_y, W_y = conv2d_size(x_shape, W.shape, stride, padding)
    d_columns = xp.zeros((H, n * W_y, kw * C), dtype=dy_rows.dtype)
    for i in range(kh):
        d_columns[i:i + stride * H_y:stride] += (dy_rows @ _matrix(W[i]).T).reshape(H_y, n * W_y, kw * C)
    dx, taps = xp.zeros((H, n, W_x, C), dtype=dy_rows.dtype), d_columns.reshape(H, n, W_y, kw, C)
    for j in range(kw):
        # each tap's share of dx is added where its pixel came from
        dx[:, :, j:j + stride * W_y:stride] += taps[:, :, :, j]
    return dx[padding:H - padding, :, padding:W_x - padding].swapaxes(0, 1)
