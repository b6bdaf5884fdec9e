"""Convolution of images with few channels, with max-pooling behind it, and its transpose.

Each place in a window, such as its upper left, is a convolution of its own, with a stride as wide as the windows. The
maximum is taken as they come, of some images at a time: what is no maximum never leaves the cache.

Each is one matrix product for all taps, as in the plain form, `im2col.py`. But the kh kw C numbers that each output
reads are not laid out. The image is: its rows first, then the kw C numbers of a row that an output reads, then all
outputs that stand beside each other, of n images. What one row of outputs reads is then a piece of memory, kh rows
long, and the next row of outputs reads a piece that overlaps it.
"""

from math import prod
from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.blocks import blocks_of_images
from stn_scratch.layers.im2col import pad
from stn_scratch.layers.pooling import keep_maximum, no_winner
from stn_scratch.layers.products import column_sums


class Windows(NamedTuple):
    """A convolution with H' x W' outputs, and H'' x W'' windows of size x size of them."""

    stride: int
    padding: int
    conv_shape: tuple  # H', W'
    size: int
    shape: tuple  # H'', W''

    @property
    def step(self):
        """From one window to the next, in pixels."""
        return self.stride * self.size

    def places(self):
        """For each place in a window, row by row: its row k, its column m, and which windows have an output there."""
        for k in range(self.size):
            for m in range(self.size):
                rows, columns = (slice(len(range(n)[place:self.size * windows:self.size]))
                                 for place, n, windows in zip((k, m), self.conv_shape, self.shape, strict=True))
                yield k, m, (rows, slice(None), columns)


class FewChannelsPooledCache(NamedTuple):
    x: object  # (B, H, W, C)
    W: object  # (kh, kw, C, F)
    windows: Windows
    winner: object  # (B, H'', W'', F) the place that holds the maximum, the first of equal ones
    layouts: list  # pairs: a block of images, as a slice, and its layout


def few_channels_pooled_forward(x, W, b, windows):
    r"""\(y = b + \max_{km} \, \mathrm{columns}_{km}^T \, W\), of the places k, m in each window.

    x, W, b as in `conv2d_forward`, which has checked them -> y (B, H'', W'', F), cache.
    """
    xp, F = get_array_module(x), len(b)
    y = xp.empty((len(x), *windows.shape, F), dtype=x.dtype)
    winner, layouts = no_winner(y, windows.size), []
    for images in _blocks(x, W.shape, windows):
        layout = _layout(x[images], W.shape, windows)
        layouts.append((images, layout))
        columns = _columns(layout, W.shape, windows)
        for place, (k, m, reached) in enumerate(windows.places()):
            # the sum over i, j, c, for all windows of the block
            conv = columns[k, m].swapaxes(1, 2) @ W.reshape(-1, F)
            conv = conv.reshape(windows.shape[0], -1, windows.shape[1], F)
            if place == 0:
                best, best_place = conv, no_winner(conv, windows.size)
            else:
                keep_maximum(best[reached], best_place[reached], conv[reached], place)
        # all places have the same bias: added last, it changes no maximum
        y[images] = (best + b).swapaxes(0, 1)
        winner[images] = best_place.swapaxes(0, 1)
    return y, FewChannelsPooledCache(x, W, windows, winner, layouts)


def few_channels_pooled_backward(dy, cache, need_dx):
    r"""\(dW = \sum_{km} \mathrm{columns}_{km} \, dy_{km}\), and dx from \(d\mathrm{columns}_{km} = W \, dy_{km}^T\);
    dy_km is dy where the place k, m was the maximum, and 0 elsewhere.

    Arguments as in `conv2d_max_pool_backward`, which has checked them -> dx, dW, db.
    """
    x, W, windows, winner, layouts = cache
    xp, weights = get_array_module(dy), W.reshape(-1, W.shape[3])
    dx, dW, db = xp.empty_like(x) if need_dx else None, xp.zeros_like(weights), xp.zeros_like(W[0, 0, 0])
    for images, layout in layouts:
        columns, d_layout = _columns(layout, W.shape, windows), xp.zeros_like(layout) if need_dx else None
        dy_rows, best_place = (_rows_first(a[images]) for a in (dy, winner))
        db += column_sums(dy_rows)
        for place, (k, m, _) in enumerate(windows.places()):
            dy_place = dy_rows * (best_place == place)
            dW += (columns[k, m] @ dy_place).sum(axis=0)
            if need_dx:
                _columns_backward(weights @ dy_place.swapaxes(1, 2), d_layout[m], k, windows)
        if need_dx:
            dx[images] = _layout_backward(d_layout, x[images].shape, W.shape, windows)
    return dx, dW.reshape(W.shape), db


def _blocks(x, W_shape, windows):
    """Blocks of images whose layout, and the outputs of two places, fit into the cache."""
    (_, kw, C, F), (H, W) = W_shape, windows.shape
    layout = windows.size * (x.shape[1] + 2 * windows.padding) * kw * C * W
    return blocks_of_images(x, x.itemsize * (layout + 2 * H * W * F))


def _rows_first(a):
    """(n, H'', W'', F) -> (H'', n W'', F)."""
    return a.swapaxes(0, 1).reshape(a.shape[1], -1, a.shape[3])


def _frame(x_shape, W_shape, windows):
    """H, W of the padded images, wide enough for all outputs of incomplete windows."""
    return [max(n + 2 * windows.padding, windows.step * number - windows.stride + k)
            for n, number, k in zip(x_shape[1:3], windows.shape, W_shape[:2], strict=True)]


def _layout(x, W_shape, windows):
    """What the outputs at each column of places read, in all rows of the images: (size, H, kw, C, n, W'')."""
    x = pad(x, windows.padding, _frame(x.shape, W_shape, windows))
    n, H, _, C = x.shape
    s_B, s_H, s_W, s_C = x.strides
    shape = windows.size, H, W_shape[1], C, n, windows.shape[1]
    strides = s_W * windows.stride, s_H, s_W, s_C, s_B, s_W * windows.step
    return get_array_module(x).lib.stride_tricks.as_strided(x, shape, strides).copy()


def _layout_backward(d_layout, x_shape, W_shape, windows):
    """The transpose: each number goes back to its pixel, in dx (n, H, W, C)."""
    (n, H, W, C), p, columns = x_shape, windows.padding, windows.shape[1]
    H_frame, W_frame = _frame(x_shape, W_shape, windows)
    dx = get_array_module(d_layout).zeros((H_frame, C, n, W_frame), dtype=d_layout.dtype)
    for m in range(windows.size):
        for j in range(W_shape[1]):
            start = m * windows.stride + j
            dx[..., start:start + windows.step * columns:windows.step] += d_layout[m, :, j]
    return dx[p:p + H, :, :, p:p + W].transpose(2, 0, 3, 1)


def _columns(layout, W_shape, windows):
    """What the outputs at each place read: (size, size, H'', kh kw C, n W''), all views of the layout."""
    size, outputs = windows.size, prod(layout.shape[4:])
    shape = size, size, windows.shape[0], prod(W_shape[:3]), outputs
    column, row, number = layout.strides[0], layout.strides[1], layout.itemsize
    strides = row * windows.stride, column, row * windows.step, number * outputs, number
    return get_array_module(layout).lib.stride_tricks.as_strided(layout, shape, strides)


def _columns_backward(d_columns, d_layout, k, windows):
    """The transpose, added to d_layout, for row k of places: what is read more than once gets the sum."""
    for row, d_taps in enumerate(d_columns):
        start = k * windows.stride + row * windows.step
        d_taps = d_taps.reshape(-1, *d_layout.shape[1:])
        d_layout[start:start + len(d_taps)] += d_taps
