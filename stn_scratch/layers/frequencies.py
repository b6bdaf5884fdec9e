r"""Convolution as a product of frequencies, and its transpose: for filters as large as the paper's.

On a circle of N_h x N_w pixels, the padded image, the discrete Fourier transform

\[ \hat x_{uv} = \sum_{h,w} e^{-2 \pi i (u h / N_h + v w / N_w)} \, x_{hw} \]

turns the sum over all taps into one product a frequency. A window that fits into the image does not reach around the
circle, and neither does what dy sends back through it. x is real: \(\hat x_{-u,-v}\) is the conjugate of
\(\hat x_{uv}\), and half of the v tell all. Circles are small, and of any size: a transform is two matrix products, one
along w and one along h.

Rounding errors are those of the largest number of an image, not of a window; a NaN makes all of its image NaN.
"""

from functools import cache

from stn_scratch.backend import get_array_module

# how many times fewer multiplications there must be. Measured: from about 1 on this form is the faster one; but it
# takes more memory
GAIN = 1.5


def frequencies_pay(x_shape, W_shape, y_size, padding):
    """Whether this is the form to take for a convolution with stride 1, by the multiplications of its forward.

    x_shape (B, H, W, C), W_shape (kh, kw, C, F), y_size (H', W').
    """
    (B, H, W_x, C), (kh, kw, _, F), (H_y, W_y) = x_shape, W_shape, y_size
    N_h, N_w = _circle(x_shape, padding)
    half = _half(N_w)

    def transform(h, w):
        return half * (2 * h * w + 4 * N_h * h)  # a complex number is two, and a product of two of them four

    products = 4 * N_h * half * B * C * F
    transforms = B * C * transform(H, W_x) + C * F * transform(kh, kw) + B * F * transform(H_y, W_y)
    return GAIN * (products + transforms) < B * kh * kw * H_y * W_y * C * F


def frequencies_forward(x, W, b, y_size, padding):
    r"""\(\hat y_{uv}^f = \sum_c \hat x_{uv}^c \, \overline{\hat W_{uv}^{cf}}\); y is the part of it that fits, plus b.

    y_size (H', W'); other arguments as in `conv2d_forward`, which has checked them -> y (B, H', W', F), and for the
    backward x_hat (N_h half, B, C), W_hat (N_h half, C, F): a matrix for each frequency.
    """
    circle = _circle(x.shape, padding)
    x_hat = _to_frequencies(x, circle, start=padding)
    W_hat = _to_frequencies(W.reshape(1, *W.shape[:2], -1), circle).reshape(-1, *W.shape[2:])
    y = _to_pixels(x_hat @ W_hat.conj(), circle, y_size)
    y += b
    return y, (x_hat, W_hat)


def frequencies_backward(dy, x, W, padding, frequencies, need_dx):
    r"""\(\widehat{dW}_{uv} = \hat x_{uv}^T \, \overline{\widehat{dy}_{uv}}\),
    \(\widehat{dx}_{uv} = \widehat{dy}_{uv} \, \hat W_{uv}^T\), \(db = \sum dy\). Wide hats: the gradients' transforms.

    frequencies: (x_hat, W_hat) of the forward. Other arguments as in `conv2d_backward` -> dx, dW, db.
    """
    (x_hat, W_hat), circle = frequencies, _circle(x.shape, padding)
    dy_hat = _to_frequencies(dy, circle)
    dx = _to_pixels(dy_hat @ W_hat.swapaxes(1, 2), circle, x.shape[1:3], start=padding) if need_dx else None
    dW_hat = x_hat.swapaxes(1, 2) @ dy_hat.conj()
    dW = _to_pixels(dW_hat.reshape(len(dW_hat), 1, -1), circle, W.shape[:2]).reshape(W.shape)
    return dx, dW, dy.sum(axis=(0, 1, 2))


def _circle(x_shape, padding):
    """N_h, N_w: the sides of the padded image."""
    return x_shape[1] + 2 * padding, x_shape[2] + 2 * padding


def _half(N):
    """How many frequencies of a real row of N numbers are not the conjugate of another."""
    return N // 2 + 1


@cache
def _waves(xp, N, dtype):
    r"""\(e^{-2 \pi i u h / N}\), for all u and h: (N, N), of the complex numbers of a real dtype."""
    turns = xp.outer(xp.arange(N), xp.arange(N)) % N / N
    return xp.exp(-2j * xp.pi * turns).astype(xp.result_type(dtype, "complex64"))


def _to_frequencies(a, circle, start=0):
    """a (B, H, W, C), pixels from `start` on along both axes -> (N_h half, B, C), a row for each frequency (u, v)."""
    (N_h, N_w), (B, H, W, C) = circle, a.shape
    xp, half = get_array_module(a), _half(N_w)
    along_w = _waves(xp, N_w, a.dtype)[:half, start:start + W]
    parts = xp.empty((H, 2 * half, B, C), dtype=a.dtype)  # the real ones, then the imaginary ones
    xp.matmul(xp.concatenate([along_w.real, along_w.imag]), a, out=parts.transpose(2, 0, 1, 3))
    a_v = xp.empty((H, half * B * C), dtype=along_w.dtype)
    a_v.real, a_v.imag = parts[:, :half].reshape(H, -1), parts[:, half:].reshape(H, -1)
    return (_waves(xp, N_h, a.dtype)[:, start:start + H] @ a_v).reshape(N_h * half, B, C)


def _to_pixels(a_hat, circle, size, start=0):
    r"""\(a_{hw} = \frac{1}{N_h N_w} \sum_{uv} e^{2 \pi i (u h / N_h + v w / N_w)} \, \hat a_{uv}\), the inverse.

    a_hat (N_h half, B, C) -> (B, *size, C): `size` pixels from `start` on along both axes.
    """
    (N_h, N_w), (_, B, C), (H, W) = circle, a_hat.shape, size
    xp, half, real = get_array_module(a_hat), _half(N_w), a_hat.real.dtype
    along_h = _waves(xp, N_h, real).conj()[start:start + H]
    a_v = (along_h @ a_hat.reshape(N_h, half * B * C)).reshape(H, half, B, C)
    parts = xp.concatenate([a_v.real, a_v.imag], axis=1)
    # v and -v are conjugates: together twice the real part of one; v = 0, and half of an even N_w, stand alone
    alone = xp.arange(half) * 2 % N_w == 0
    along_w = _waves(xp, N_w, real)[start:start + W, :half] * (xp.where(alone, 1, 2) / (N_h * N_w))
    # the real part of e^{i phi} a is cos(phi) Re a - sin(phi) Im a, and e^{-i phi} = cos(phi) - i sin(phi)
    weights = xp.concatenate([along_w.real, along_w.imag], axis=1).astype(real)
    return xp.matmul(weights, parts.transpose(2, 0, 1, 3), out=xp.empty((B, H, W, C), dtype=real))
