"""Products of a long matrix and a small one."""

from stn_scratch.backend import get_array_module, on_host

# A BLAS first copies both operands into an order of its own; beside a small matrix, the copy of a long one takes as
# long as the product. With AVX-512, OpenBLAS multiplies without it while M K N is at most this; by its kernels
# for AVX2 whole convolutions neither gain nor lose much
SMALL = 10 ** 6
FEWEST_ROWS = 100  # of a piece; beside a matrix that leaves fewer, the copy of the long one is the smaller part


def matmul_in_pieces(a, b, *, out=None):
    """a (M, K) times b (K, N) -> (M, N), or into `out`: as many rows of a at a time as make a small product.

    All rows at once on a GPU, and if b is large.
    """
    xp, (M, K), N = get_array_module(a), a.shape, b.shape[1]
    rows = SMALL // (K * N)
    if rows < FEWEST_ROWS or not on_host(a):
        return xp.matmul(a, b, out=out)
    out = xp.empty((M, N), dtype=a.dtype) if out is None else out
    whole = M // rows * rows
    xp.matmul(a[:whole].reshape(-1, rows, K), b, out=out[:whole].reshape(-1, rows, N))
    xp.matmul(a[whole:], b, out=out[whole:])
    return out


def column_sums(a):
    """(..., F) -> (F,), as a product with ones: along the first axes `sum` takes three times as long."""
    rows = a.reshape(-1, a.shape[-1])
    return get_array_module(a).ones(len(rows), dtype=a.dtype) @ rows
