"""Convolution with max-pooling behind it, as one pair: most outputs of the convolution are no maximum, and go nowhere.

With few channels, as in the first layers of a network, they do not even leave the cache: `few_channels_pooled.py`.
"""

from stn_scratch import cuda
from stn_scratch.layers.convolution import FEW_CHANNELS, check_convolution, conv2d_backward, conv2d_forward
from stn_scratch.layers.few_channels_pooled import Windows, few_channels_pooled_backward, few_channels_pooled_forward
from stn_scratch.layers.im2col import Conv2DCache
from stn_scratch.layers.pooling import PoolCache, max_pool_backward, max_pool_forward, pooled_shape
from stn_scratch.validate import check_gradient, check_whole


def conv2d_max_pool_forward(x, W, b, *, stride=1, padding=0, size=2, ceil=False):
    r"""\(y_{hw}^f = \max_{k,m < s} \mathrm{conv2d}(x)_{hs+k, \, ws+m}^f\): `max_pool_forward` of `conv2d_forward`.

    Arguments and errors are theirs -> y (B, H'', W'', F), cache.
    """
    stride, padding, conv_shape = check_convolution(x, W, b, stride, padding)
    size = check_whole("size", size)
    shape = pooled_shape(conv_shape, size, ceil)
    if not _in_one(x, size):
        conv, conv_cache = conv2d_forward(x, W, b, stride=stride, padding=padding)
        y, pool_cache = max_pool_forward(conv, size=size, ceil=ceil)
        return y, (conv_cache, pool_cache)
    windows = Windows(stride, padding, conv_shape[1:3], size, shape)
    y, winner, layouts = few_channels_pooled_forward(x, W, b, windows)
    return y, (Conv2DCache(x, W, stride, padding, layouts), PoolCache(winner, conv_shape, size, ceil))


def conv2d_max_pool_backward(dy, cache, *, need_dx=True):
    """`conv2d_backward` of `max_pool_backward`. dy (B, H'', W'', F) -> dx (B, H, W, C), dW (kh, kw, C, F), db (F,)."""
    conv_cache, pool_cache = cache
    winner, x_shape, size, _ = pool_cache
    if not _in_one(conv_cache.x, size):
        return conv2d_backward(max_pool_backward(dy, pool_cache), conv_cache, need_dx=need_dx)
    check_gradient("dy", dy, winner.shape)
    windows = Windows(conv_cache.stride, conv_cache.padding, x_shape[1:3], size, winner.shape[1:3])
    return few_channels_pooled_backward(dy, winner, conv_cache, windows, need_dx)


def _in_one(x, size):
    return size > 1 and x.shape[3] < FEW_CHANNELS and not cuda.available(x)
