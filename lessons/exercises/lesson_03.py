"""Lesson 3, convolution and pooling by hand."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import (
    avg_pool_backward,
    avg_pool_forward,
    conv2d_backward,
    conv2d_forward,
    max_pool_backward,
    max_pool_forward,
)


def _correlate(x, W):
    return conv2d_forward(x[None, ..., None], W[..., None, None], np.zeros(1))[0][0, ..., 0]


def _flipped(x, W):
    return _correlate(x, W[::-1, ::-1])


def _one_short(x, W):
    return _correlate(x, W)[:-1, :-1]


def _over_the_edge(x, W):
    kh, kw = W.shape
    return _correlate(np.pad(x, ((0, kh - 1), (0, kw - 1))), W)


def _side_by_side(x, W):
    kh, kw = W.shape
    return conv2d_forward(x[None, ..., None], W[..., None, None], np.zeros(1), stride=min(kh, kw))[0][0, ..., 0]


def _last_tap_only(x, W):
    alone = np.zeros_like(W)
    alone[-1, -1] = W[-1, -1]
    return _correlate(x, alone)


def _in_a_frame(x, W):
    y, framed = _correlate(x, W), np.zeros_like(x)
    framed[:len(y), :y.shape[1]] = y
    return framed


def _one_filter_a_tap(size, C):
    """W with a filter for each tap and channel: its convolution copies the windows, which is im2col."""
    taps = size[0] * size[1] * C
    return np.eye(taps).reshape(*size, C, taps)


def _im2col(x, size):
    C = x.shape[2]
    W = _one_filter_a_tap(size, C)
    return conv2d_forward(x[None], W, np.zeros(W.shape[3]))[0].reshape(-1, W.shape[3])


def _channels_first(x, size):
    taps = _im2col(x, size).reshape(-1, *size, x.shape[2])
    return taps.transpose(0, 3, 1, 2).reshape(len(taps), -1)


def _columns_of_taps_first(x, size):
    taps = _im2col(x, size).reshape(-1, *size, x.shape[2])
    return taps.swapaxes(1, 2).reshape(len(taps), -1)


def _windows_column_by_column(x, size):
    H, W = x.shape[0] - size[0] + 1, x.shape[1] - size[1] + 1
    return _im2col(x, size).reshape(H, W, -1).swapaxes(0, 1).reshape(H * W, -1)


def _windows_side_by_side(x, size):
    (H, W, _), (kh, kw) = x.shape, size
    windows = _im2col(x, size).reshape(H - kh + 1, W - kw + 1, -1)
    return windows[::kh, ::kw].reshape(-1, windows.shape[2])


def _last_windows_left_out(x, size):
    return _im2col(x[:-1, :-1], size)


def _turned(x, size):
    return _im2col(x, size).T


def _col2im(dcolumns, x_shape, size):
    H, W, C = x_shape
    filters = _one_filter_a_tap(size, C)
    _, cache = conv2d_forward(np.zeros((1, *x_shape)), filters, np.zeros(filters.shape[3]))
    dy = dcolumns.reshape(1, H - size[0] + 1, W - size[1] + 1, filters.shape[3])
    return conv2d_backward(dy, cache)[0][0]


def _overwritten(dcolumns, x_shape, size):
    H, W, C = x_shape
    kh, kw = size
    dx, rows = np.zeros(x_shape), iter(dcolumns.reshape(-1, kh, kw, C))
    for h in range(H - kh + 1):
        for w in range(W - kw + 1):
            dx[h:h + kh, w:w + kw] = next(rows)
    return dx


def _tap_by_tap_overwritten(dcolumns, x_shape, size):
    H, W, C = x_shape
    kh, kw = size
    dx, taps = np.zeros(x_shape), dcolumns.reshape(H - kh + 1, W - kw + 1, kh, kw, C)
    for i in range(kh):
        for j in range(kw):
            dx[i:i + H - kh + 1, j:j + W - kw + 1] = taps[:, :, i, j]
    return dx


def _as_rows_of(dcolumns, x_shape, size):
    return dcolumns.reshape(x_shape[0] - size[0] + 1, x_shape[1] - size[1] + 1, -1)


def _one_window_for_all(dcolumns, x_shape, size):
    return _col2im(np.broadcast_to(dcolumns[0], dcolumns.shape).copy(), x_shape, size)


def _column_by_column(dcolumns, x_shape, size):
    H, W = x_shape[0] - size[0] + 1, x_shape[1] - size[1] + 1
    return _col2im(dcolumns.reshape(W, H, -1).swapaxes(0, 1).reshape(dcolumns.shape), x_shape, size)


def _channels_came_first(dcolumns, x_shape, size):
    taps = dcolumns.reshape(-1, x_shape[2], *size)
    return _col2im(taps.transpose(0, 2, 3, 1).reshape(dcolumns.shape), x_shape, size)


def _ends_one_early(dcolumns, x_shape, size, *, counted=False):
    """range(H - kh), range(W - kw); `counted`: and the rows of dcolumns one after the other, by a counter."""
    rows = _as_rows_of(dcolumns, x_shape, size).copy()
    if counted:
        n, m = rows.shape[0] - 1, rows.shape[1] - 1
        rows[:-1, :-1] = dcolumns[:n * m].reshape(n, m, -1)
    rows[-1], rows[:, -1] = 0, 0
    return _col2im(rows.reshape(dcolumns.shape), x_shape, size)


def _averaged(dcolumns, x_shape, size):
    return _col2im(dcolumns, x_shape, size) / _col2im(np.ones_like(dcolumns), x_shape, size)


def _taps_reversed(dcolumns, x_shape, size):
    taps = dcolumns.reshape(-1, *size, x_shape[2])
    return _col2im(taps[:, ::-1, ::-1].reshape(dcolumns.shape), x_shape, size)


def _max_pool_back(dy, x):
    _, cache = max_pool_forward(x[None, ..., None])
    return max_pool_backward(dy[None, ..., None], cache)[0, ..., 0]


def _ones_to_the_winner(dy, x):
    return _max_pool_back(np.ones_like(dy), x)


def _spread(a, x):
    """a (H', W'): each number repeated over its window; 0 beyond the last window."""
    out = np.zeros(x.shape)
    repeated = a.repeat(2, axis=0).repeat(2, axis=1)
    out[:repeated.shape[0], :repeated.shape[1]] = repeated
    return out


def _is_maximum(x):
    largest = max_pool_forward(x[None, ..., None])[0][0, ..., 0]
    return (x == _spread(largest, x)) & (_spread(np.ones_like(largest), x) == 1)


def _to_every_maximum(dy, x):
    return _spread(dy, x) * _is_maximum(x)


def _shared_out(dy, x):
    tied = _is_maximum(x).astype(float)
    mean, _ = avg_pool_forward(tied[None, ..., None])
    return _to_every_maximum(dy, x) / np.maximum(_spread(4 * mean[0, ..., 0], x), 1)


def _to_the_last(dy, x):
    H, W = (n // 2 * 2 for n in x.shape)
    dx = np.zeros(x.shape)
    dx[:H, :W] = _max_pool_back(dy[::-1, ::-1], x[:H, :W][::-1, ::-1])[::-1, ::-1]
    return dx


def _without_the_two(dy, x):
    """dx[h + i, w + j] = dy[h, w], in a loop over the windows: a later one writes over an earlier one."""
    dx = np.zeros(x.shape)
    for h, w in np.ndindex(dy.shape):
        i, j = divmod(int(x[2 * h:2 * h + 2, 2 * w:2 * w + 2].argmax()), 2)
        dx[h + i, w + j] = dy[h, w]
    return dx


def _largest_above_zero(dy, x):
    largest = _spread(max_pool_forward(x[None, ..., None])[0][0, ..., 0], x)
    return _max_pool_back(dy, np.where(largest <= 0, 0, x))


def _as_an_average(dy, x):
    _, cache = avg_pool_forward(x[None, ..., None])
    return avg_pool_backward(dy[None, ..., None], cache)[0, ..., 0]


def _normal(*shapes):
    rng = np.random.default_rng(3)
    return tuple(rng.normal(size=shape) for shape in shapes)


X_EVEN = np.array([[0, 0, 2, 5.0, 1, 1], [0, 0, 5, 3.0, 0, 1], [1, 4, -2, -3, 2, 0], [4, 4, -1, -1, 3, 3]])
X_ODD = np.array([[1, 3, 0, 0, 9.0], [2, 0, 7, 0, 9], [6, 6, 0, 1, 9], [5, 6, 1, 1, 9], [8, 8, 8, 8, 8]])

EXERCISES = {
    "03.1": Exercise(_correlate, lambda: [_normal((4, 6), (2, 3)), _normal((5, 3), (3, 1))], ("y",), (
        Mistake(_flipped, "your filter is turned upside down: that is what mathematicians call convolution. In the "
                          "formula, which entry of W meets the first pixel of the window?"),
        Mistake(_one_short, "one row and one column are missing at the end. In a row of 5 pixels, at how many places "
                            "does a filter of 3 fit?"),
        Mistake(_last_tap_only, "that is the last tap alone: where the weights meet, do you write = or += ?"),
        Mistake(_in_a_frame, "your numbers are right, in an array too large: how many places are there in a row?"),
        Mistake(_over_the_edge, "your filter leaves the image at the end. Which is the last place where it still "
                                "fits?"),
        Mistake(_side_by_side, "your windows lie side by side. How far does the filter move from one output pixel to "
                               "the next?"))),
    "03.2": Exercise(_im2col, lambda: [(*_normal((4, 6, 2)), (2, 3)), (*_normal((5, 3, 3)), (3, 2))], ("columns",), (
        Mistake(_channels_first, "each row holds the right numbers in the wrong order: yours has c first. Which index "
                                 "changes fastest in W (kh, kw, C, F), read as it lies in memory?"),
        Mistake(_columns_of_taps_first, "each row holds its window column by column. Which of i and j comes first?"),
        Mistake(_windows_column_by_column, "the rows are right, their order is not: your windows go down first. In row "
                                             "h W' + w of the result, which of h and w changes fastest?"),
        Mistake(_windows_side_by_side, "your windows lie side by side. How far is it from one window to the next?"),
        Mistake(lambda x, size: _im2col(x[..., :1], size), "your windows hold one channel: where are the others?"),
        Mistake(lambda x, size: _im2col(x, size[::-1]), "kh and kw are exchanged: how many rows has a window?"),
        Mistake(_last_windows_left_out, "the last row and column of windows are missing. How many places are there for "
                                        "a filter of 2 in 4 pixels?"),
        Mistake(_turned, "transposed: here, a window is a row, not a column."))),
    "03.3": Exercise(_col2im, lambda: [(*_normal((9, 12)), (4, 5, 2), (2, 3)),
                                       (*_normal((6, 6)), (4, 4, 1), (3, 2))], ("dx",), (
        Mistake(_overwritten, "where windows overlap, only the last one is left. What happens to gradients that meet?"),
        Mistake(_tap_by_tap_overwritten, "where taps meet, only the last one is left. What happens to gradients that "
                                         "meet?"),
        Mistake(_one_window_for_all, "every window got the first row of dcolumns: does your counter move on?"),
        Mistake(_column_by_column, "your windows go down first. In row h W' + w, which of h and w changes fastest?"),
        Mistake(_channels_came_first, "a row of dcolumns is in the order of window.ravel(): kh, kw, C. Yours has C "
                                      "first."),
        Mistake(_ends_one_early, "the last row and column of windows sent nothing back. At how many places does a "
                                 "filter of 2 fit into 4 pixels?"),
        Mistake(lambda *case: _ends_one_early(*case, counted=True),
                "you go through one row and one column of windows too few, so the counter is out of step, too. At how "
                "many places does a filter of 2 fit into 4 pixels?"),
        Mistake(_averaged, "you took the mean of what meets at a pixel. The derivative of a sum is a sum."),
        Mistake(_taps_reversed, "your taps run backwards. Column (i, j) came from pixel (h + i, w + j): where does it "
                                "go back to?"))),
    "03.4": Exercise(_max_pool_back, lambda: [(np.arange(1.0, 7).reshape(2, 3), X_EVEN),
                                              (np.array([[1.0, -2], [3, 4]]), X_ODD)], ("dx",), (
        Mistake(_to_every_maximum, "right without ties. Where two pixels share the maximum you send dy to both: twice "
                                   "as much goes back as came in. Which of them does the rule choose?"),
        Mistake(_shared_out, "right without ties. You share dy out among tied pixels; that is a rule too, but not "
                             "ours. Which pixel gets it here?"),
        Mistake(_to_the_last, "right without ties. You choose the last of tied pixels: did you compare by >= ?"),
        Mistake(_without_the_two, "your gradients crowd in the upper left corner: where does window (h, w) begin?"),
        Mistake(_largest_above_zero, "right, but where all four are negative. With what does your maximum begin?"),
        Mistake(_ones_to_the_winner, "you send a 1 to the right pixels: that is the slope of the maximum. Where is "
                                     "dy?"),
        Mistake(_as_an_average, "every pixel gets a quarter: that is average pooling. What if a pixel that is not the "
                                "maximum changes a little?"))),
}
