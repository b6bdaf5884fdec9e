"""Launch the kernels of relu.cu. The output is all that the backward pass needs: y > 0 where x + b > 0."""

from stn_scratch.backend import get_array_module
from stn_scratch.cuda.launch import launch


def relu_forward(x):
    """x, any shape -> y = max(x, 0)."""
    y = get_array_module(x).empty(x.shape, dtype=x.dtype)
    launch("relu.cu", "bias_relu_forward", x.size, x, x, y, x.size, 0)
    return y


def bias_relu_forward(x, b):
    """x (..., F), b (F,) -> y = max(x + b, 0)."""
    y = get_array_module(x).empty(x.shape, dtype=x.dtype)
    launch("relu.cu", "bias_relu_forward", x.size, x, b, y, x.size, b.size)
    return y


def relu_backward(dy, y):
    """dy -> dx, shaped like y, the output of the forward."""
    dx = get_array_module(dy).empty(y.shape, dtype=dy.dtype)
    launch("relu.cu", "relu_backward", dx.size, dy, y, dx, dx.size)
    return dx


def bias_relu_backward(dy, y):
    """dy (..., F) -> dx (..., F), db (F,)."""
    dx = relu_backward(dy, y)
    return dx, dx.reshape(-1, dx.shape[-1]).sum(axis=0)
