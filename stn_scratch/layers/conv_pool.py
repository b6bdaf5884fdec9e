"""Convolution with max-pooling behind it, as one pair: most outputs of the convolution are no maximum, and go nowhere.

With few channels, as in the first layers of a network, they do not even leave the cache: `few_channels_pooled.py`.
"""

from stn_scratch import cuda
from stn_scratch.layers.convolution import FEW_CHANNELS, check_convolution, conv2d_backward, conv2d_forward
from stn_scratch.layers.few_channels_pooled import (
    FewChannelsPooledCache,
    Windows,
    few_channels_pooled_backward,
    few_channels_pooled_forward,
)
from stn_scratch.layers.pooling import max_pool_backward, max_pool_forward, pooled_shape
from stn_scratch.validate import check_gradient, check_whole


def conv2d_max_pool_forward(x, W, b, *, stride=1, padding=0, size=2, ceil=False):
    r"""\(y_{hw}^f = \max_{k,m < s} \mathrm{conv2d}(x)_{hs+k, \, ws+m}^f\): `max_pool_forward` of `conv2d_forward`.

    Arguments and errors are theirs -> y (B, H'', W'', F), cache.
    """
    stride, padding, conv_shape = check_convolution(x, W, b, stride, padding)
    size = check_whole("size", size)
    shape = pooled_shape(conv_shape, size, ceil)
    if size > 1 and x.shape[3] < FEW_CHANNELS and not cuda.available(x):
        return few_channels_pooled_forward(x, W, b, Windows(stride, padding, conv_shape[1:3], size, shape))
    conv, conv_cache = conv2d_forward(x, W, b, stride=stride, padding=padding)
    y, pool_cache = max_pool_forward(conv, size=size, ceil=ceil)
    return y, (conv_cache, pool_cache)


def conv2d_max_pool_backward(dy, cache, *, need_dx=True):
    """`conv2d_backward` of `max_pool_backward`. dy (B, H'', W'', F) -> dx (B, H, W, C), dW (kh, kw, C, F), db (F,)."""
    if isinstance(cache, FewChannelsPooledCache):
        check_gradient("dy", dy, cache.winner.shape)
        return few_channels_pooled_backward(dy, cache, need_dx)
    conv_cache, pool_cache = cache
    return conv2d_backward(max_pool_backward(dy, pool_cache), conv_cache, need_dx=need_dx)
