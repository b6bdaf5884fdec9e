"""Launch the kernels of pooling.cu."""

from stn_scratch.backend import get_array_module
from stn_scratch.cuda.launch import launch

LARGEST_POOL = 15  # a larger window has more taps than the 8 bits of `winner` can number: it stays with the pair


def max_pool_forward(x, pooled_shape, size):
    """x (B, H, W, C), pooled_shape (H', W') -> y (B, H', W', C) and winner, the tap of each maximum."""
    (B, H, W, C), (H_y, W_y), xp = x.shape, pooled_shape, get_array_module(x)
    y = xp.empty((B, H_y, W_y, C), dtype=x.dtype)
    winner = xp.empty(y.shape, dtype=xp.uint8)
    launch("pooling.cu", "max_pool_forward", y.size, x, y, winner, y.size, H, W, C, H_y, W_y, size)
    return y, winner


def max_pool_backward(dy, winner, x_shape, size):
    """dy (B, H', W', C) -> dx (B, H, W, C)."""
    (_, H, W, C), (_, H_y, W_y, _) = x_shape, dy.shape
    dx = get_array_module(dy).empty(x_shape, dtype=dy.dtype)
    launch("pooling.cu", "max_pool_backward", dx.size, dy, winner, dx, dx.size, H, W, C, H_y, W_y, size)
    return dx
