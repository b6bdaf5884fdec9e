"""Products of a long matrix and a small one."""

from stn_scratch.backend import get_array_module, on_host

# Before it multiplies, a BLAS copies its operands to where they lie well for it, and beside a small matrix the copy of
# a long one takes as long as the product. On a CPU with AVX-512, OpenBLAS leaves it out up to so many multiplications
SMALL = 10 ** 6


def matmul_in_pieces(a, b, *, out=None):
    """a (M, K) times b (K, N) -> (M, N), or into `out`: as many rows of a at a time as make a small product.

    On a GPU all rows at once.
    """
    xp, (M, K), N = get_array_module(a), a.shape, b.shape[1]
    if not on_host(a):
        return xp.matmul(a, b, out=out)
    out = xp.empty((M, N), dtype=a.dtype) if out is None else out
    rows = max(1, SMALL // (K * N))
    whole = M // rows * rows
    xp.matmul(a[:whole].reshape(-1, rows, K), b, out=out[:whole].reshape(-1, rows, N))
    xp.matmul(a[whole:], b, out=out[whole:])
    return out
