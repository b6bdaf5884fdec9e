"""What a grid makes of parameters that it cannot compute with: nothing. One rule for every family.

An image whose parameters hold NaN, infinity, or a number beyond LARGEST is not *usable*. Its whole grid is put FAR
away, where the sampler samples nothing, whatever the padding, and its parameters get the gradient 0. So no NaN, no
overflow and no warning comes out, and the other images of the batch do not notice.

There is no `grid[~usable] = ...` here: on a GPU such an assignment waits for the device to count the images.
"""

from stn_scratch.backend import get_array_module

LARGEST = 1e15  # up to it, no float32 overflows on the way through a grid, a product or an inverse
FAR = 1e35  # the sampler counts a coordinate beyond 1e30 as infinite


def usable_images(theta):
    """theta (B, ...) -> (B,): which images have only numbers to compute with."""
    small = get_array_module(theta).abs(theta) <= LARGEST  # False for NaN, too
    return small.all(axis=tuple(range(1, theta.ndim)))


def keep(usable, a, otherwise=0):
    """a (B, ...), but `otherwise` in the images that are not usable (B,)."""
    return get_array_module(a).where(usable.reshape(-1, *[1] * (a.ndim - 1)), a, otherwise)


def usable_or_far(theta):
    """Affine theta (B, n, n + 1) -> theta, with zeros and the shift FAR in the images that are not usable; usable (B,).
    """
    usable = usable_images(theta)
    theta = keep(usable, theta)
    theta[:, :, -1] = keep(usable, theta[:, :, -1], FAR)
    return theta, usable
