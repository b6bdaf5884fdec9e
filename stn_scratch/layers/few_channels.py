"""Convolution of images with few channels, such as the first of a network, and its transpose.

Rows of taps, as in `convolution.py`, would make products too thin here. So the columns are laid out as in the plain
form, `im2col.py`, but tap by tap instead of pixel by pixel: then they are copied in long pieces of memory. A last row
of ones makes the bias one more weight, so the product that gives dW gives db as well.
"""

from stn_scratch.backend import get_array_module
from stn_scratch.blocks import blocks_of_images
from stn_scratch.layers.im2col import pad


def few_channels_forward(x, W, b, y_size, stride, padding):
    r"""\(y = \mathrm{columns}^T \begin{pmatrix} W \\ b \end{pmatrix}\), of y_size (H', W').

    Other arguments as in `conv2d_forward`, which has checked them.
    """
    xp, F = get_array_module(x), len(b)
    y = xp.empty((len(x), *y_size, F), dtype=x.dtype)
    W_and_b = xp.concatenate([W.reshape(-1, F), b[None]])
    for images, columns in _blocks_of_columns(x, W.shape, y_size, stride, padding):
        # the sum over i, j, c, and b, for all output pixels of the block
        xp.matmul(columns.T, W_and_b, out=y[images].reshape(-1, F))
    return y


def few_channels_backward(dy, x, W, stride, padding, need_dx):
    r"""\(\begin{pmatrix} dW \\ db \end{pmatrix} = \mathrm{columns} \, dy\), and dx from
    \(d\mathrm{columns} = W \, dy^T\).

    Arguments as in `conv2d_backward`, which has checked them -> dx, dW, db.
    """
    xp, F, y_size = get_array_module(dy), W.shape[3], dy.shape[1:3]
    W_matrix = W.reshape(-1, F)
    dx, dW_and_db = xp.empty_like(x) if need_dx else None, xp.zeros((len(W_matrix) + 1, F), dtype=W.dtype)
    for images, columns in _blocks_of_columns(x, W.shape, y_size, stride, padding):
        dy_rows = dy[images].reshape(-1, F)
        # columns dy: the last row, of ones, sums dy
        dW_and_db += columns @ dy_rows
        if need_dx:
            # W dy^T; then every number goes back to its pixel
            d_columns = W_matrix @ dy_rows.T
            dx[images] = _columns_backward(d_columns, x[images].shape, W.shape, y_size, stride, padding)
    return dx, dW_and_db[:-1].reshape(W.shape), dW_and_db[-1]


def _blocks_of_columns(x, W_shape, y_size, stride, padding):
    """Blocks of n images, as slices, with their columns (kh kw C + 1, n H' W')."""
    xp, (kh, kw, C, _), (H_y, W_y) = get_array_module(x), W_shape, y_size
    for images in blocks_of_images(x, x.itemsize * kh * kw * C * H_y * W_y):
        block = pad(x[images], padding)
        n, H = block.shape[:2]
        s_B, s_H, s_W, s_C = block.strides
        # what the taps of one row read, in all rows of the image; a tap one row down finds its numbers one row down
        row = xp.lib.stride_tricks.as_strided(block, (kw, C, n, H, W_y), (s_W, s_C, s_B, s_H, s_W * stride)).copy()
        columns = xp.empty((kh * kw * C + 1, n * H_y * W_y), dtype=x.dtype)
        taps = columns[:-1].reshape(kh, kw, C, n, H_y, W_y)
        for i in range(kh):
            taps[i] = row[:, :, :, i:i + stride * H_y:stride]
        columns[-1] = 1  # what b is multiplied by
        yield images, columns


def _columns_backward(d_columns, x_shape, W_shape, y_size, stride, padding):
    """The transpose of the columns, for one block of images: (kh kw C, n H' W') -> dx (n, H, W, C)."""
    xp, (kh, kw, C, _), (H_y, W_y) = get_array_module(d_columns), W_shape, y_size
    n, H, W = x_shape[0], x_shape[1] + 2 * padding, x_shape[2] + 2 * padding
    taps = d_columns.reshape(kh, kw, C, n, H_y, W_y)
    d_row = xp.zeros((kw, C, n, H, W_y), dtype=d_columns.dtype)
    for i in range(kh):
        d_row[:, :, :, i:i + stride * H_y:stride] += taps[i]
    dx = xp.zeros((C, n, H, W), dtype=d_columns.dtype)
    for j in range(kw):
        dx[:, :, :, j:j + stride * W_y:stride] += d_row[j]
    return dx[:, :, padding:H - padding, padding:W - padding].transpose(1, 2, 3, 0)
