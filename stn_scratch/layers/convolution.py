"""Convolution as matrix products, one for each row of taps, and its transpose.

The plain way, `im2col.py`, lays out the kh kw C numbers that each output pixel reads, and needs a single product; but
it writes every pixel of x kh kw times. Here the layout runs along the width only, image rows first: a pixel is written
kw times, and taps one row down find their numbers one row down in the same layout. Blocks of images keep it in the
cache.

With few channels those products would be too thin. Then all kh rows of taps are laid out at once, tap by tap, so that
long pieces of memory are copied.
"""

from functools import reduce
from operator import iadd

from stn_scratch import cuda
from stn_scratch.backend import get_array_module, on_host
from stn_scratch.layers.im2col import Conv2DCache, conv2d_size, im2col_backward, im2col_forward, pad
from stn_scratch.validate import check_arrays, check_gradient, check_whole

FEW_CHANNELS = 8
CACHE_BYTES = 2 ** 20  # what a block may fill of a core's cache


def conv2d_forward(x, W, b, *, stride=1, padding=0):
    r"""\(y_{hw}^f = b^f + \sum_{i,j,c} x_{h s + i - p, \, w s + j - p}^c \, W_{ij}^{cf}\), stride s, zero padding p.

    x (B, H, W, C), W (kh, kw, C, F), b (F,) -> y (B, H', W', F), cache; H' = (H + 2p - kh) // s + 1.

    Raises ValueError if the filter is larger than the padded image.
    """
    check_arrays(x=(x, "B H W C"), W=(W, "kh kw C F"), b=(b, "F"))
    check_whole("stride", stride)
    check_whole("padding", padding, least=0)
    H_y, W_y = conv2d_size(x.shape, W.shape, stride, padding)
    if cuda.available(x):
        return im2col_forward(x, W, b, stride=stride, padding=padding)
    xp, rows = get_array_module(x), _rows_at_once(W)
    y = xp.empty((x.shape[0], H_y, W_y, len(b)), dtype=x.dtype)
    for images, columns in _blocks_of_columns(x, W, W_y, stride, padding):
        # the sum over i, and over j, c in each product
        y_rows = reduce(iadd, (_read_by(columns, i, H_y, stride) @ _matrix(W[i:i + rows])
                               for i in range(0, len(W), rows)))
        xp.add(y_rows.reshape(H_y, -1, *y.shape[2:]).swapaxes(0, 1), b, out=y[images])
    return y, Conv2DCache(x, W, stride, padding)


def conv2d_backward(dy, cache, *, need_dx=True):
    r"""\(dW_{ij}^{cf} = \sum_{b,h,w} x_{hs+i-p,ws+j-p}^c \, dy_{hw}^f\), \(db = \sum_{b,h,w} dy\), and
    \(dx_{hs+i-p,ws+j-p}^c \mathrel{+}= \sum_f W_{ij}^{cf} \, dy_{hw}^f\) for every tap (i, j).

    dy (B, H', W', F) -> dx (B, H, W, C), dW (kh, kw, C, F), db (F,).
    """
    x, W, stride, padding = cache
    check_arrays(dy=(dy, "B H' W' F"), W=(W, "kh kw C F"))
    H_y, W_y = conv2d_size(x.shape, W.shape, stride, padding)
    check_gradient("dy", dy, (x.shape[0], H_y, W_y, W.shape[3]))
    if cuda.available(dy):
        return im2col_backward(dy, cache, need_dx=need_dx)
    xp, rows = get_array_module(dy), _rows_at_once(W)
    dx, dW, db = xp.empty_like(x) if need_dx else None, xp.zeros_like(W), xp.zeros_like(W[0, 0, 0])
    for images, columns in _blocks_of_columns(x, W, W_y, stride, padding):
        # the transpose of the matrix products, once for each factor
        dy_rows = dy[images].swapaxes(0, 1).reshape(-1, W.shape[3])
        db += dy_rows.sum(axis=0)
        for i in range(0, len(W), rows):
            dW[i:i + rows] += (_read_by(columns, i, H_y, stride).T @ dy_rows).reshape(-1, *W.shape[1:])
        if need_dx:
            dx[images] = _conv2d_dx(dy_rows, W, x[images].shape, stride, padding)
    return dx, dW, db


def _rows_at_once(W):
    """How many rows of taps share a product: all, if the channels are few, else one."""
    kh, _, C, _ = W.shape
    return kh if C < FEW_CHANNELS else 1


def _matrix(W_rows):
    """(rows, kw, C, F) -> (rows kw C, F)."""
    return W_rows.reshape(-1, W_rows.shape[3])


def _blocks_of_columns(x, W, W_y, stride, padding):
    """Blocks of n images, as slices, with their columns (H - rows + 1, n W', rows kw C): what each output reads.

    On a GPU the batch is one block.
    """
    B, H, C, kw, rows = x.shape[0], x.shape[1] + 2 * padding, x.shape[3], W.shape[1], _rows_at_once(W)
    bytes_per_image = x.itemsize * (H - rows + 1) * W_y * rows * kw * C
    n = max(1, CACHE_BYTES // bytes_per_image) if on_host(x) else max(1, B)
    as_strided = get_array_module(x).lib.stride_tricks.as_strided
    for k in range(0, B, n):
        block = pad(x[k:k + n], padding)
        s_B, s_H, s_W, s_C = block.strides
        if rows == 1:
            columns = as_strided(block, (H, len(block), W_y, kw, C), (s_H, s_B, s_W * stride, s_W, s_C))
            yield slice(k, k + n), columns.reshape(H, -1, kw * C)
            continue
        # few channels: each tap has its numbers in one piece of memory, and so have all rows of taps
        row = as_strided(block, (kw, C, H, len(block), W_y), (s_W, s_C, s_H, s_B, s_W * stride))
        row = row.reshape(kw * C, H, -1)
        s_K, s_H, s_R = row.strides
        columns = as_strided(row, (rows, kw * C, H - rows + 1, row.shape[2]), (s_H, s_K, s_H, s_R))
        yield slice(k, k + n), columns.reshape(rows * kw * C, H - rows + 1, -1).transpose(1, 2, 0)


def _read_by(columns, i, H_y, stride):
    """The columns that row i of the taps reads, for all output rows: (H' n W', rows kw C)."""
    return columns[i:i + stride * H_y:stride].reshape(-1, columns.shape[2])


def _conv2d_dx(dy_rows, W, x_shape, stride, padding):
    """The transpose of the columns, for one block of images: dy_rows (H' n W', F) -> dx (n, H, W, C)."""
    xp, rows = get_array_module(dy_rows), _rows_at_once(W)
    kh, kw, C, _ = W.shape
    n, H, W_x = x_shape[0], x_shape[1] + 2 * padding, x_shape[2] + 2 * padding
    H_y, W_y = conv2d_size(x_shape, W.shape, stride, padding)
    # in memory in the order of the columns
    d_columns = (xp.zeros((H, n * W_y, kw * C), dtype=dy_rows.dtype) if rows == 1
                 else xp.zeros((kw * C, H, n * W_y), dtype=dy_rows.dtype).transpose(1, 2, 0))
    for i in range(0, kh, rows):
        W_i = _matrix(W[i:i + rows])
        shares = dy_rows @ W_i.T if rows == 1 else (W_i @ dy_rows.T).T
        shares = shares.reshape(H_y, n * W_y, rows, kw * C)
        for k in range(rows):
            d_columns[i + k:i + k + stride * H_y:stride] += shares[:, :, k]
    dx, taps = xp.zeros((H, n, W_x, C), dtype=dy_rows.dtype), d_columns.reshape(H, n, W_y, kw, C)
    for j in range(kw):
        # each tap's share of dx is added where its pixel came from
        dx[:, :, j:j + stride * W_y:stride] += taps[:, :, :, j]
    return dx[padding:H - padding, :, padding:W_x - padding].swapaxes(0, 1)
