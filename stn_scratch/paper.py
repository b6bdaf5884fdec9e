r"""Eqs. (3)-(7) of the paper as printed: dense sums over every pixel n, m. The oracle, and reading matter.

Jaderberg, Simonyan, Zisserman, Kavukcuoglu, *Spatial Transformer Networks*, 2015, arXiv 1506.02025, Sec. 3.3.

Everything here is in pixel coordinates: x_p runs over columns m, y_p over rows n, 0 is the centre of the first pixel.
Indices: b image, n row, m column, c channel, h and w row and column of the output (together the paper's pixel i).
The cost is H W for each output pixel, so nothing is trained with this file; `stn_scratch.sampling` must equal it.
"""

from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_arrays


def _distances(U, x_p, y_p):
    """x_p - m, shape (B, H', W', W), and y_p - n, shape (B, H', W', H), for every pixel of U."""
    check_arrays(U=(U, "B H W C"), x_p=(x_p, "B H' W'"), y_p=(y_p, "B H' W'"))
    xp = get_array_module(U)
    _, H, W, _ = U.shape
    m = xp.arange(W, dtype=U.dtype)
    n = xp.arange(H, dtype=U.dtype)
    return x_p[..., None] - m, y_p[..., None] - n


def _double_sum(U, k_x, k_y):
    """sum_n sum_m U_nm k_x(m) k_y(n), channel by channel."""
    return get_array_module(U).einsum("bnmc,bhwm,bhwn->bhwc", U, k_x, k_y)


def tent(d):
    """The bilinear kernel max(0, 1 - |d|)."""
    xp = get_array_module(d)
    return xp.maximum(0, 1 - xp.abs(d))


def sample_with_kernel(U, x_p, y_p, k):
    r"""Eq. (3): \(V_i^c = \sum_n^H \sum_m^W U_{nm}^c \, k(x_i - m) \, k(y_i - n)\) for any kernel k of a distance.

    U (B, H, W, C), x_p and y_p (B, H', W') in pixels -> V (B, H', W', C).
    No padding rule is printed: the sums run over the pixels that exist, so the outside contributes nothing.
    """
    d_x, d_y = _distances(U, x_p, y_p)
    return _double_sum(U, k(d_x), k(d_y))


def sample_integer(U, x_p, y_p):
    r"""Eq. (4): \(V_i^c = \sum_n \sum_m U_{nm}^c \, \delta(\lfloor x_i + 0.5 \rfloor - m) \,
    \delta(\lfloor y_i + 0.5 \rfloor - n)\): the nearest pixel is copied, and a half rounds up.

    Shapes as in `sample`.
    """
    check_arrays(U=(U, "B H W C"), x_p=(x_p, "B H' W'"), y_p=(y_p, "B H' W'"))
    xp = get_array_module(U)
    d_x, d_y = _distances(U, xp.floor(x_p + 0.5), xp.floor(y_p + 0.5))
    return _double_sum(U, (d_x == 0).astype(U.dtype), (d_y == 0).astype(U.dtype))


def sample(U, x_p, y_p):
    r"""Eq. (5): \(V_i^c = \sum_n \sum_m U_{nm}^c \max(0, 1 - |x_i - m|) \max(0, 1 - |y_i - n|)\).

    U (B, H, W, C), x_p and y_p (B, H', W') in pixels -> V (B, H', W', C).
    """
    return sample_with_kernel(U, x_p, y_p, tent)


def d_sample_dU(U, x_p, y_p):
    r"""Eq. (6): \(\partial V_i^c / \partial U_{nm}^c = \max(0, 1 - |x_i - m|) \max(0, 1 - |y_i - n|)\).

    Shapes as in `sample`; gives (B, H', W', H, W), the same for every channel.

    The paper prints a double sum over n and m before this product. That is a slip: for one fixed pixel (n, m) the sum
    of Eq. (5) has one term that contains U_nm, and its factor is the derivative.
    """
    d_x, d_y = _distances(U, x_p, y_p)
    return tent(d_y)[..., :, None] * tent(d_x)[..., None, :]


def _printed_slope(d):
    """The braces of Eq. (7) for d = x - m: 0 if |m - x| >= 1, +1 if m >= x, -1 if m < x."""
    xp = get_array_module(d)
    return xp.where(xp.abs(d) >= 1, 0, xp.where(d <= 0, 1, -1)).astype(d.dtype)


def d_sample_dx(U, x_p, y_p):
    r"""Eq. (7) as printed: \(\partial V_i^c / \partial x_i = \sum_n \sum_m U_{nm}^c \max(0, 1 - |y_i - n|) \,
    \{0 \text{ if } |m - x_i| \ge 1;\; +1 \text{ if } m \ge x_i;\; -1 \text{ if } m < x_i\}\).

    Shapes as in `sample`; gives (B, H', W', C), per pixel.

    Between pixels this is the slope U_{m0+1} - U_{m0}. **At an integer x = m0 it is neither side's slope**: the term
    m = m0 has the factor +1, and both neighbours, at distance exactly 1, have 0. What is left is U_{m0} itself, so a
    constant image of 5 gets the gradient 5 where it should get 0. The identity transform puts every sample there.
    `sample_backward` takes a one-sided slope instead (see its `lattice`).
    """
    d_x, d_y = _distances(U, x_p, y_p)
    return _double_sum(U, _printed_slope(d_x), tent(d_y))


def d_sample_dy(U, x_p, y_p):
    """Eq. (7) for y ("similarly" in the paper): x and y, m and n change places. Shapes as in `d_sample_dx`."""
    d_x, d_y = _distances(U, x_p, y_p)
    return _double_sum(U, tent(d_x), _printed_slope(d_y))
