"""Launch the kernels of convolution.cu."""

from stn_scratch.backend import get_array_module
from stn_scratch.cuda.launch import launch


def im2col(x, size, filter_size, stride, padding):
    """x (B, H, W, C) -> columns (B H' W', kh kw C), one row for each of the size = (H', W') windows."""
    (B, H, W, C), (H_y, W_y), (kh, kw) = x.shape, size, filter_size
    columns = get_array_module(x).empty((B * H_y * W_y, kh * kw * C), dtype=x.dtype)
    launch("convolution.cu", "im2col", columns.size, x, columns, columns.size, H, W, C, H_y, W_y, kh, kw, stride,
           padding)
    return columns


def col2im(dcolumns, x_shape, size, filter_size, stride, padding):
    """The transpose of `im2col`: dcolumns (B H' W', kh kw C) -> dx (B, H, W, C)."""
    (_, H, W, C), (H_y, W_y), (kh, kw) = x_shape, size, filter_size
    dx = get_array_module(dcolumns).empty(x_shape, dtype=dcolumns.dtype)
    launch("convolution.cu", "col2im", dx.size, dcolumns, dx, dx.size, H, W, C, H_y, W_y, kh, kw, stride, padding)
    return dx
