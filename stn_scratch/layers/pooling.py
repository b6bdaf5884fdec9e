"""Maximum and average over windows that lie side by side."""

import math
from typing import NamedTuple

from stn_scratch import cuda
from stn_scratch.backend import get_array_module
from stn_scratch.blocks import blocks_of_images
from stn_scratch.validate import check_arrays, check_gradient, check_whole


class PoolCache(NamedTuple):
    winner: object  # (B, H', W', C) the first tap that holds the maximum; None for an average
    x_shape: tuple
    size: int
    ceil: bool


def pooled_shape(x_shape, size, ceil):
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


def _blocks(x):
    return blocks_of_images(x, x.itemsize * math.prod(x.shape[1:]))


def max_pool_forward(x, *, size=2, ceil=False):
    r"""\(y_{hw}^c = \max_{i,j < s} x_{hs+i, ws+j}^c\): windows of size s, side by side.

    x (B, H, W, C) -> y (B, H', W', C), cache. An odd side: H' = floor(H / s), or ceil(H / s) with ceil=True, where the
    last window holds what is left.
    """
    check_arrays(x=(x, "B H W C"))
    size = check_whole("size", size)
    xp = get_array_module(x)
    H_y, W_y = pooled_shape(x.shape, size, ceil)
    if size <= cuda.LARGEST_POOL and cuda.available(x):
        y, winner = cuda.max_pool_forward(x, (H_y, W_y), size)
        return y, PoolCache(winner, x.shape, size, ceil)
    y = xp.empty((x.shape[0], H_y, W_y, x.shape[3]), dtype=x.dtype)
    winner = no_winner(y, size)
    for images in _blocks(x):
        taps = _pool_taps(x[images], size, H_y, W_y)
        y[images] = next(taps)[2]
        for tap, (rows, columns, view) in enumerate(taps, start=1):
            keep_maximum(y[images, rows, columns], winner[images, rows, columns], view, tap)
    return y, PoolCache(winner, x.shape, size, ceil)


def no_winner(y, size):
    """The winner of windows of which only the first tap is known, so far."""
    xp = get_array_module(y)
    return xp.zeros(y.shape, dtype=xp.intp if size > 15 else xp.uint8)


def keep_maximum(best, winner, values, tap):
    """Write the values of this tap, and its number, to where they are larger than the best one of the taps before."""
    xp = get_array_module(best)
    # strictly greater: a tied maximum stays with the first. The last to win has the largest number
    xp.maximum(winner, (values > best) * winner.dtype.type(tap), out=winner)
    xp.maximum(best, values, out=best)


def max_pool_backward(dy, cache):
    """The gradient goes to the pixel that was the maximum; a tied maximum sends it to the first, row by row.

    dy (B, H', W', C) -> dx (B, H, W, C).
    """
    winner, x_shape, size, _ = cache
    check_gradient("dy", dy, winner.shape)
    if size <= cuda.LARGEST_POOL and cuda.available(dy):
        return cuda.max_pool_backward(dy, winner, x_shape, size)
    xp = get_array_module(dy)
    dx = xp.zeros(x_shape, dtype=dy.dtype)
    _, H_y, W_y, _ = dy.shape
    for images in _blocks(dx):
        for tap, (rows, columns, view) in enumerate(_pool_taps(dx[images], size, H_y, W_y)):
            xp.multiply(dy[images, rows, columns], winner[images, rows, columns] == tap, out=view)
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
    size = check_whole("size", size)
    xp = get_array_module(x)
    H_y, W_y = pooled_shape(x.shape, size, ceil)
    taps = _pool_taps(x, size, H_y, W_y)
    y = next(taps)[2].copy()
    for rows, columns, view in taps:
        y[:, rows, columns] += view
    y /= _window_counts(xp, x.shape, size, H_y, W_y, x.dtype)
    return y, PoolCache(None, x.shape, size, ceil)


def avg_pool_backward(dy, cache):
    """Each of the N pixels of a window gets dy / N. dy (B, H', W', C) -> dx (B, H, W, C)."""
    _, x_shape, size, ceil = cache
    H_y, W_y = pooled_shape(x_shape, size, ceil)
    check_gradient("dy", dy, (x_shape[0], H_y, W_y, x_shape[3]))
    xp = get_array_module(dy)
    _, H, W, _ = x_shape
    share = dy / _window_counts(xp, x_shape, size, H_y, W_y, dy.dtype)
    pixels = share.repeat(size, axis=2)[:, :, :W].repeat(size, axis=1)[:, :H]
    if pixels.shape == x_shape:
        return xp.ascontiguousarray(pixels)
    dx = xp.zeros(x_shape, dtype=dy.dtype)  # the rest of an odd side belongs to no window
    dx[:, :pixels.shape[1], :pixels.shape[2]] = pixels
    return dx
