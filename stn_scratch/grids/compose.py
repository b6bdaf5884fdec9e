r"""Affine transformations put together, undone, and written in pixels; each with its derivative.

A theta (B, 2, 3) is the upper two rows of a 3x3 matrix whose last is (0, 0, 1); the products below are of those
matrices. The rule for what cannot be computed is that of `usable.py`: where an argument holds NaN or a number beyond
1e15, or there is no inverse within that bound, the whole result is infinite (so that a grid of it samples nothing), and
the gradient is 0.

Every function raises TypeError or ValueError for an array of another shape, dtype or device, and for a size that is not
two positive whole numbers.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.coordinates import pixels_per_unit
from stn_scratch.grids.usable import LARGEST, keep, usable_images
from stn_scratch.validate import check_arrays, check_gradient, check_size


class ComposeCache(NamedTuple):
    theta_1: object  # (B, 2, 3), 0 where not usable
    theta_2: object
    usable: object  # (B,)


class InverseCache(NamedTuple):
    inverse: object  # (B, 2, 3), 0 where there is none
    usable: object  # (B,)


class PixelCache(NamedTuple):
    left: object  # (2, 2) and
    right: object  # (3, 3): theta or M stood between them
    usable: object  # (B,)


def _square(theta):
    """theta (B, 2, 3) with the row (0, 0, 1) below it: (B, 3, 3)."""
    xp = get_array_module(theta)
    square = xp.zeros((theta.shape[0], 3, 3), dtype=theta.dtype)
    square[:, :2] = theta
    square[:, 2, 2] = 1
    return square


def compose_theta_forward(theta_1, theta_2):
    r"""\(A = A_{\theta_1} A_{\theta_2}\): one transformer for two, theta_1 first and then theta_2.

    First is said of the *pictures*: V_1 samples U by theta_1, then V samples V_1 by theta_2, and the composed theta
    takes V from U at once. A *point* goes the other way, from the output to the input: theta_2 moves it first.

    theta_1, theta_2 (B, 2, 3) -> theta (B, 2, 3), cache.
    """
    check_arrays(theta_1=(theta_1, "B 2 3"), theta_2=(theta_2, "B 2 3"))
    xp = get_array_module(theta_1, theta_2)
    usable = usable_images(theta_1) & usable_images(theta_2)
    theta_1, theta_2 = keep(usable, theta_1), keep(usable, theta_2)
    theta = theta_1 @ _square(theta_2)
    return keep(usable, theta, xp.inf), ComposeCache(theta_1, theta_2, usable)


def compose_theta_backward(dtheta, cache):
    r"""\(\partial L / \partial A_1 = \partial L / \partial A \; A_2^T\), \(\partial L / \partial A_2 = A_1^T \;
    \partial L / \partial A\), in their upper two rows.

    dtheta (B, 2, 3) -> dtheta_1, dtheta_2 (B, 2, 3).
    """
    theta_1, theta_2, usable = cache
    check_arrays(dtheta=(dtheta, "B 2 3"), theta_1=(theta_1, "B 2 3"))
    dtheta_1 = dtheta @ _square(theta_2).swapaxes(1, 2)
    # the last column of A_1 meets the row (0, 0, 1) of A_2, which is no parameter
    dtheta_2 = theta_1[:, :, :2].swapaxes(1, 2) @ dtheta
    return keep(usable, dtheta_1), keep(usable, dtheta_2)


def inverse_theta_forward(theta):
    r"""\(A_\theta^{-1}\): the way back, from the output to the image. With \(A_\theta = [M \; t]\) it is
    \([M^{-1} \; -M^{-1} t]\), \(M^{-1} = \frac{1}{\det M} \begin{bmatrix} d & -b \\ -c & a \end{bmatrix}\).

    theta (B, 2, 3) -> inverse (B, 2, 3), cache. A grid of theta takes V from U; a grid of the inverse, with the size of
    U, puts V back where it was seen.

    There is no inverse, and the result is infinite, where \(|ad - bc| \le 2 \epsilon (|ad| + |bc|)\), so that rounding
    is all there is of the determinant, and where the inverse holds a number beyond 1e15.
    """
    check_arrays(theta=(theta, "B 2 3"))
    xp = get_array_module(theta)
    usable = usable_images(theta)
    theta = keep(usable, theta)
    (a, b, _), (c, d, _) = theta.transpose(1, 2, 0)
    # det M = ad - bc
    det = a * d - b * c
    usable &= xp.abs(det) > 2 * xp.finfo(theta.dtype).eps * (xp.abs(a * d) + xp.abs(b * c))
    usable &= xp.abs(theta[:, :, :2]).max(axis=(1, 2)) / LARGEST <= xp.abs(det)
    M_inverse = (xp.stack([d, -b, -c, a], axis=1) / keep(usable, det, 1)[:, None]).reshape(-1, 2, 2)
    # M^-1, and -M^-1 t
    inverse = xp.concatenate([M_inverse, -M_inverse @ theta[:, :, 2:]], axis=2)
    usable &= usable_images(inverse)
    return keep(usable, inverse, xp.inf), InverseCache(keep(usable, inverse), usable)


def inverse_theta_backward(dinverse, cache):
    r"""From \(A A^{-1} = 1\): \(dA^{-1} = -A^{-1} \, dA \, A^{-1}\), so
    \(\partial L / \partial A = -A^{-T} \; \partial L / \partial A^{-1} \; A^{-T}\), in its upper two rows.

    dinverse (B, 2, 3) -> dtheta (B, 2, 3).
    """
    inverse, usable = cache
    check_arrays(dinverse=(dinverse, "B 2 3"), inverse=(inverse, "B 2 3"))
    M_T = inverse[:, :, :2].swapaxes(1, 2)
    return keep(usable, -(M_T @ dinverse @ _square(inverse).swapaxes(1, 2)))


def _to_pixels(xp, size, align_corners, dtype):
    """The 3x3 matrix N of `coordinates.to_pixels`, (x_p, y_p, 1) = N (x, y, 1), and the way back.

    An axis of one pixel with align_corners has no width, every x on it is pixel 0: N has a row of zeros there and no
    inverse. On the way back every pixel is x = 0, the middle.
    """
    N, back = xp.eye(3, dtype=dtype), xp.eye(3, dtype=dtype)
    for axis, n in enumerate(reversed(size)):
        # x_p = x r + middle, x = (x_p - middle) / r
        r, middle = pixels_per_unit(n, align_corners), (n - 1) / 2
        N[axis, axis], N[axis, 2] = r, middle
        back[axis, axis], back[axis, 2] = (1 / r, -middle / r) if r else (0, 0)
    return N, back


def _between(left, matrix, right):
    """The upper two rows of left, matrix, right multiplied, for matrix (B, 2, 3); and the cache."""
    usable = usable_images(matrix)
    product = left[:2] @ _square(keep(usable, matrix)) @ right
    return keep(usable, product, get_array_module(matrix).inf), PixelCache(left[:2, :2], right, usable)


def _between_backward(name, d, cache):
    """The matrix stood between two others: the derivative is the product with both transposed."""
    left, right, usable = cache
    check_arrays(**{name: (d, "B 2 3")}, right=(right, "3 3"))
    check_gradient(name, d, (*usable.shape, 2, 3))
    return keep(usable, left.T @ d @ right.T)


def theta_from_pixels_forward(M, *, in_size, out_size, align_corners=True):
    r"""\(A_\theta = N_{in}^{-1} M N_{out}\), N from normalised coordinates to pixels: a theta for a matrix in pixels.

    M (B, 2, 3) takes the output's pixel (x, y, 1) to the input's pixel (x, y), in columns and rows, 0 the centre of the
    first; in_size (H, W), out_size (H', W') -> theta (B, 2, 3), cache.

    An axis of one pixel, with align_corners, has no width: every x on it is pixel 0. For such an output the column of
    theta is 0, for such an input the row.
    """
    check_arrays(M=(M, "B 2 3"))
    check_size("in_size", in_size)
    check_size("out_size", out_size)
    xp = get_array_module(M)
    _, back = _to_pixels(xp, in_size, align_corners, M.dtype)
    N_out, _ = _to_pixels(xp, out_size, align_corners, M.dtype)
    return _between(back, M, N_out)


def theta_from_pixels_backward(dtheta, cache):
    r"""\(\partial L / \partial M = N_{in}^{-T} \; \partial L / \partial A_\theta \; N_{out}^T\), in its upper two rows.

    dtheta (B, 2, 3) -> dM (B, 2, 3).
    """
    return _between_backward("dtheta", dtheta, cache)


def theta_to_pixels_forward(theta, *, in_size, out_size, align_corners=True):
    r"""\(M = N_{in} A_\theta N_{out}^{-1}\): the matrix in pixels of a theta, as in `theta_from_pixels_forward`.

    theta (B, 2, 3) -> M (B, 2, 3), cache. On an axis of one pixel, with align_corners: for such an output the column of
    M is 0, for such an input the row.
    """
    check_arrays(theta=(theta, "B 2 3"))
    check_size("in_size", in_size)
    check_size("out_size", out_size)
    xp = get_array_module(theta)
    N_in, _ = _to_pixels(xp, in_size, align_corners, theta.dtype)
    _, back = _to_pixels(xp, out_size, align_corners, theta.dtype)
    return _between(N_in, theta, back)


def theta_to_pixels_backward(dM, cache):
    r"""\(\partial L / \partial A_\theta = N_{in}^T \; \partial L / \partial M \; N_{out}^{-T}\), in its upper two rows.

    dM (B, 2, 3) -> dtheta (B, 2, 3).
    """
    return _between_backward("dM", dM, cache)
