r"""Convolution as a product of frequencies, and its transpose: for filters as large as the paper's.

On a circle of N_h x N_w pixels, the padded image, the discrete Fourier transform

\[ \hat x_{uv} = \sum_{h,w} e^{-2 \pi i (u h / N_h + v w / N_w)} \, x_{hw} \]

turns the sum over all taps into one product a frequency. A window that fits into the image does not reach around the
circle, and neither does what dy sends back through it. x is real: \(\hat x_{-u,-v}\) is the conjugate of
\(\hat x_{uv}\), and half of the v tell all. Circles are small, and of any size: a transform is two matrix products, one
along w and one along h, of a few images at a time, so that what stands between the two stays in the cache.

No complex number is stored. Three products of real numbers make a complex one (Gauss), so a transform gives three
matrices for each frequency. Their products are three again; what makes a complex number of them is part of the matrices
of the inverse.

Rounding errors are those of the largest number of an image, not of a window; a NaN makes all of its image NaN.
"""

from functools import lru_cache

from stn_scratch.backend import get_array_module
from stn_scratch.blocks import blocks_of_images
from stn_scratch.layers.products import SMALL

# how many times fewer multiplications there must be. Measured: from about 1 on this form is the faster one; but it
# takes more memory
GAIN = 1.2
# with P1 = Re a Re b, P2 = Im a Im b and P3 = (Re a + Im a)(Re b + Im b) a product is
# ab = P1 - P2 + i (P3 - P1 - P2) = (1 - i) P1 + (-1 - i) P2 + i P3
SHARES = (1 - 1j, -1 - 1j, 1j)


def frequencies_pay(x_shape, W_shape, y_size, padding):
    """Whether this is the form to take for a convolution with stride 1, by the multiplications of its forward.

    x_shape (B, H, W, C), W_shape (kh, kw, C, F), y_size (H', W').
    """
    (B, *_), (kh, kw, C, F), (H_y, W_y) = x_shape, W_shape, y_size
    return GAIN * multiplications(x_shape, W_shape, y_size, padding) < B * kh * kw * H_y * W_y * C * F


def multiplications(x_shape, W_shape, y_size, padding):
    """How many `frequencies_forward` makes of these shapes."""
    (B, H, W_x, C), (kh, kw, _, F), (H_y, W_y) = x_shape, W_shape, y_size
    N_h, N_w = _circle(x_shape, padding)
    half = _half(N_w)

    def transform(h, w):
        # along w (2 half, w) for each row, along h (3 N_h, 2 h) for each of `half` columns; the inverse costs the same
        return half * (2 * h * w + 6 * N_h * h)

    products = 3 * N_h * half * B * C * F
    return products + B * C * transform(H, W_x) + C * F * transform(kh, kw) + B * F * transform(H_y, W_y)


def frequencies_forward(x, W, b, y_size, padding):
    r"""\(\hat y_{uv}^f = \sum_c \hat x_{uv}^c \, \overline{\hat W_{uv}^{cf}}\); y is the part of it that fits, plus b.

    y_size (H', W'); other arguments as in `conv2d_forward`, which has checked them -> y (B, H', W', F), and for the
    backward x_hat (3 N_h half, B, C) and W_conj, the conjugate of W_hat, (3 N_h half, C, F).
    """
    circle = _circle(x.shape, padding)
    x_hat = _to_frequencies(x, circle, start=padding)
    W_conj = _to_frequencies(W.reshape(1, *W.shape[:2], -1), circle, conjugate=True).reshape(-1, *W.shape[2:])
    y = _to_pixels(x_hat @ W_conj, circle, y_size)
    y += b
    return y, (x_hat, W_conj)


def frequencies_backward(dy, x, W, padding, frequencies, need_dx):
    r"""\(\widehat{dW}_{uv} = \hat x_{uv}^T \, \overline{\widehat{dy}_{uv}}\),
    \(\overline{\widehat{dx}_{uv}} = \overline{\widehat{dy}_{uv}} \, \overline{\hat W_{uv}^T}\),
    \(db = \sum dy\). Wide hats: the gradients' transforms.

    frequencies: (x_hat, W_conj) of the forward. Other arguments as in `conv2d_backward` -> dx, dW, db.
    """
    (x_hat, W_conj), circle = frequencies, _circle(x.shape, padding)
    dy_conj = _to_frequencies(dy, circle, conjugate=True)
    dx = None
    if need_dx:
        dx = _to_pixels(dy_conj @ W_conj.swapaxes(1, 2), circle, x.shape[1:3], start=padding, conjugate=True)
    dW = x_hat.swapaxes(1, 2) @ dy_conj
    dW = _to_pixels(dW.reshape(len(dW), 1, -1), circle, W.shape[:2]).reshape(W.shape)
    # frequency 0 of an image is its sum
    return dx, dW, dy_conj[0].sum(axis=0)


def _circle(x_shape, padding):
    """N_h, N_w: the sides of the padded image."""
    return x_shape[1] + 2 * padding, x_shape[2] + 2 * padding


def _half(N):
    """How many frequencies of a real row of N numbers are not the conjugate of another."""
    return N // 2 + 1


def _to_frequencies(a, circle, start=0, conjugate=False):
    """a (B, H, W, C), pixels from `start` on along both axes -> a_hat, or its conjugate, (3 N_h half, B, C).

    First the real parts of all frequencies (u, v), then the imaginary parts, then the sums of both.
    """
    (N_h, N_w), (B, H, W, C) = circle, a.shape
    xp, half = get_array_module(a), _half(N_w)
    along_h, along_w = _forth(xp, circle, (H, W), start, conjugate, a.dtype)
    a_hat = xp.empty((3 * N_h, half, B, C), dtype=a.dtype)
    for images in _blocks(a, N_h):
        pixels = xp.ascontiguousarray(a[images].transpose(1, 2, 0, 3)).reshape(H, W, -1)
        rows = (along_w @ pixels).reshape(2 * H, half, -1)
        xp.matmul(along_h, rows.swapaxes(0, 1), out=_by_columns(a_hat[:, :, images]))
    return a_hat.reshape(3 * N_h * half, B, C)


def _to_pixels(products, circle, size, start=0, conjugate=False):
    r"""\(a_{hw} = \frac{1}{N_h N_w} \sum_{uv} e^{2 \pi i (u h / N_h + v w / N_w)} \, \hat a_{uv}\), the inverse.

    products (3 N_h half, B, C): the three matrices of each frequency whose sum, each times its one of `SHARES`, is
    a_hat or, with `conjugate`, its conjugate -> (B, *size, C), `size` pixels from `start` on along both axes.
    """
    (N_h, N_w), (_, B, C), (H, W) = circle, products.shape, size
    xp, half = get_array_module(products), _half(N_w)
    along_h, along_w = _back(xp, circle, size, start, conjugate, products.dtype)
    a_hat, a = products.reshape(3 * N_h, half, B, C), xp.empty((B, H, W, C), dtype=products.dtype)
    for images in _blocks(a, N_h):
        columns = _by_columns(a_hat[:, :, images])
        rows = xp.empty((2 * H, half, columns.shape[2]), dtype=a.dtype)
        xp.matmul(along_h, columns, out=rows.swapaxes(0, 1))
        pixels = along_w @ rows.reshape(H, 2 * half, -1)
        a[images] = pixels.reshape(H, W, -1, C).transpose(2, 0, 1, 3)
    return a


def _blocks(a, N_h):
    """Slices of the batch a (B, H, W, C), of n images: the product along h, (3 N_h, 2 H) by (2 H, n C), stays small."""
    return blocks_of_images(a, 3 * N_h * 2 * a.shape[1] * a.shape[3], most=SMALL)


def _by_columns(a_hat):
    """a_hat (3 N_h, half, n, C) -> (half, 3 N_h, n C), a matrix for each v: a view, so `matmul` can write into it."""
    return a_hat.reshape(*a_hat.shape[:2], -1).swapaxes(0, 1)


@lru_cache(maxsize=64)
def _forth(xp, circle, size, start, conjugate, dtype):
    """The matrices of `_to_frequencies`: along h (3 N_h, 2 H), along w (2 half, W). Kept: never write into them."""
    e_h, e_w = (_waves(xp, N, start, n, conjugate) for N, n in zip(circle, size, strict=True))
    # for each h the real part, which is multiplied by e_h, and the imaginary part, by i e_h
    e_h = xp.stack([e_h, 1j * e_h], axis=2).reshape(len(e_h), -1)
    e_w = e_w[:_half(len(e_w))]
    return (xp.concatenate([e_h.real, e_h.imag, e_h.real + e_h.imag]).astype(dtype),
            xp.concatenate([e_w.real, e_w.imag]).astype(dtype))


@lru_cache(maxsize=64)
def _back(xp, circle, size, start, conjugate, dtype):
    """The matrices of `_to_pixels`: along h (2 H, 3 N_h), along w (W, 2 half). Kept: never write into them."""
    e_h, e_w = (_waves(xp, N, start, n, not conjugate).T for N, n in zip(circle, size, strict=True))
    # a_hat from three products of real numbers (Gauss)
    e_h = xp.concatenate([share * e_h for share in SHARES], axis=1)
    # v and -v are conjugates: together twice the real part of one; v = 0, and half of an even N_w, stand alone
    N_h, N_w = circle
    v = xp.arange(_half(N_w))
    e_w = e_w[:, :len(v)] * xp.where(v * 2 % N_w == 0, 1, 2) / (N_h * N_w)
    # the real part of e_w (Re a + i Im a)
    return (xp.stack([e_h.real, e_h.imag], axis=1).reshape(-1, e_h.shape[1]).astype(dtype),
            xp.concatenate([e_w.real, -e_w.imag], axis=1).astype(dtype))


def _waves(xp, N, start, size, conjugate):
    r"""\(e^{-2 \pi i u h / N}\), or its conjugate, of N frequencies u and the pixels h from `start` on: (N, size)."""
    turns = xp.outer(xp.arange(N), xp.arange(start, start + size)) % N / N
    return xp.exp((2j if conjugate else -2j) * xp.pi * turns)
