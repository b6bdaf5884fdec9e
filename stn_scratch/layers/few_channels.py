"""Convolution of images with few channels, such as the first of a network, and its transpose.

Rows of taps, as in `convolution.py`, would make products too thin here. So the columns are laid out as in the plain
form, `im2col.py`, but tap by tap instead of pixel by pixel: then they are copied in long pieces of memory. A last row
of ones makes the bias one more weight, so the product that gives dW gives db as well.

With stride 1, two outputs side by side read nearly the same pixels. If the rows of y are of even length they share a
column, and the matrix of the filters has W twice, a pixel apart, and zeros beside it. A pixel that is NaN or infinite
makes NaN of the other output of its pair, too: its weight there is 0.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.blocks import blocks_of_images
from stn_scratch.layers.im2col import pad
from stn_scratch.layers.products import matmul_in_pieces


class Layout(NamedTuple):
    """A column holds the kh x width x C numbers that n outputs side by side read; W' / n = n_columns a row."""

    n: int
    kh: int
    width: int
    C: int
    H_y: int
    n_columns: int
    stride: int
    padding: int


def few_channels_forward(x, W, b, y_size, stride, padding):
    r"""\(y = \mathrm{columns}^T \begin{pmatrix} W \\ b \end{pmatrix}\), of y_size (H', W').

    Other arguments as in `conv2d_forward`, which has checked them.
    """
    xp, layout = get_array_module(x), _layout(W.shape, y_size, stride, padding)
    y = xp.empty((len(x), *y_size, len(b)), dtype=x.dtype)
    filters_and_b = xp.concatenate([_filters(W, layout), xp.tile(b, layout.n)[None]])
    for images, columns in _blocks_of_columns(x, layout):
        # the sum over i, j, c, and b, for all output pixels of the block
        matmul_in_pieces(columns.T, filters_and_b, out=y[images].reshape(-1, filters_and_b.shape[1]))
    return y


def few_channels_backward(dy, x, W, stride, padding, need_dx):
    r"""\(\begin{pmatrix} dW \\ db \end{pmatrix} = \mathrm{columns} \, dy\), and dx from
    \(d\mathrm{columns} = W \, dy^T\).

    Arguments as in `conv2d_backward`, which has checked them -> dx, dW, db.
    """
    xp, layout = get_array_module(dy), _layout(W.shape, dy.shape[1:3], stride, padding)
    filters = _filters(W, layout)
    rows, n_F = filters.shape
    dx, d_filters_and_db = xp.empty_like(x) if need_dx else None, xp.zeros((rows + 1, n_F), dtype=W.dtype)
    for images, columns in _blocks_of_columns(x, layout):
        dy_rows = dy[images].reshape(-1, n_F)
        # columns dy: the last row, of ones, sums dy, for each of the n outputs
        d_filters_and_db += columns @ dy_rows
        if need_dx:
            # filters dy^T; then every number goes back to its pixel
            dx[images] = _columns_backward(filters @ dy_rows.T, x[images].shape, layout)
    dW = sum(_places(d_filters_and_db[:-1], W.shape, layout))
    return dx, dW, d_filters_and_db[-1].reshape(layout.n, -1).sum(axis=0)


def _layout(W_shape, y_size, stride, padding):
    (kh, kw, C, F), (H_y, W_y) = W_shape, y_size
    # narrow filters share too little, and of many the product takes all of the time; measured
    n = 2 if stride == 1 and W_y % 2 == 0 and kw > 2 and F < 64 else 1
    return Layout(n, kh, kw + n - 1, C, H_y, W_y // n, stride, padding)


def _filters(W, layout):
    """(kh width C, n F): what each number of a column is multiplied by, for n outputs."""
    n, kh, width, C, *_ = layout
    filters = get_array_module(W).zeros((kh * width * C, n * W.shape[3]), dtype=W.dtype)
    for place in _places(filters, W.shape, layout):
        place[:] = W
    return filters


def _places(filters, W_shape, layout):
    """n views of the filters, or of their gradient, each of W's shape: where output k of a column has its W."""
    n, kh, width, C, *_ = layout
    taps = filters.reshape(kh, width, C, n, -1)
    return [taps[:, k:k + W_shape[1], :, k] for k in range(n)]


def _blocks_of_columns(x, layout):
    """Blocks of n_x images, as slices, with their columns (kh width C + 1, n_x H' n_columns)."""
    xp, (n, kh, width, C, H_y, n_columns, stride, padding) = get_array_module(x), layout
    for images in blocks_of_images(x, x.itemsize * kh * width * C * H_y * n_columns):
        block = pad(x[images], padding)
        n_x, H = block.shape[:2]
        s_B, s_H, s_W, s_C = block.strides
        # what the taps of one row read, in all rows of the image; a tap one row down finds its numbers one row down
        row = xp.lib.stride_tricks.as_strided(
            block, (width, C, n_x, H, n_columns), (s_W, s_C, s_B, s_H, s_W * n * stride)).copy()
        columns = xp.empty((kh * width * C + 1, n_x * H_y * n_columns), dtype=x.dtype)
        taps = columns[:-1].reshape(kh, width, C, n_x, H_y, n_columns)
        for i in range(kh):
            taps[i] = row[:, :, :, i:i + stride * H_y:stride]
        columns[-1] = 1  # what b is multiplied by
        yield images, columns


def _columns_backward(d_columns, x_shape, layout):
    """The transpose of the columns, for one block of images: (kh width C, n_x H' n_columns) -> dx (n_x, H, W, C)."""
    xp, (n, kh, width, C, H_y, n_columns, stride, padding) = get_array_module(d_columns), layout
    n_x, H, W = x_shape[0], x_shape[1] + 2 * padding, x_shape[2] + 2 * padding
    taps, step = d_columns.reshape(kh, width, C, n_x, H_y, n_columns), n * stride
    d_row = xp.zeros((width, C, n_x, H, n_columns), dtype=d_columns.dtype)
    for i in range(kh):
        d_row[:, :, :, i:i + stride * H_y:stride] += taps[i]
    dx = xp.zeros((C, n_x, H, W), dtype=d_columns.dtype)
    for j in range(width):
        dx[:, :, :, j:j + step * n_columns:step] += d_row[j]
    return dx[:, :, padding:H - padding, padding:W - padding].transpose(1, 2, 3, 0)
