r"""Sampling kernels k of Eq. (3), each as the few taps that are not zero.

On one cell of the pixel lattice, between two neighbouring pixels, a kernel is smooth. With the sample at a distance
a in [0, 1] from the cell's first pixel, tap j (pixel cell + j) has the weight k(a - j) and the slope k'(a - j): at
x = 2.3 the bilinear cell is 2, a = 0.3, and pixels 2 and 3 weigh 0.7 and 0.3. (For "integer" the cell is the nearest
pixel, and a lies in [-0.5, 0.5).) What is not smooth is the step from cell to cell: a sample *on* a pixel belongs to
the cell on its right or on its left, and that choice is the one-sided derivative there.

`KERNELS` holds the kernels without parameters, by name. `Gaussian` and `Triangle` have a width, from Phi: `at(Phi)`
is such a kernel with its derivative for Phi. How many taps there are is fixed by the kernel object, never by Phi.
"""

from dataclasses import dataclass
from functools import partial
from math import log
from typing import NamedTuple

from stn_scratch.backend import get_array_module
from stn_scratch.validate import check_whole


class Kernel(NamedTuple):
    offsets: tuple  # of the taps, from the cell's first pixel
    cell: object  # (x_p, side) -> first pixel of the cell, as a float
    weights: object  # a -> one weight for each tap
    slopes: object  # a -> dk/dx for each tap
    dPhi: object = None  # a -> dk/dPhi for each tap; None: no parameters

    @property
    def looks_further(self):
        """True if there are taps beyond the two pixels of the cell."""
        return not set(self.offsets) <= {0, 1}


def _nearest_cell(x_p, side):
    # Eq. (4): floor(x + 0.5), a half rounds up
    return get_array_module(x_p).floor(x_p + 0.5)


def _cell(x_p, side):
    """The cell that a step in the direction `side` (+1 right, -1 left; a number or an array) moves through."""
    xp = get_array_module(x_p)
    if isinstance(side, int):
        return xp.floor(x_p) if side > 0 else xp.ceil(x_p) - 1
    return xp.where(side > 0, xp.floor(x_p), xp.ceil(x_p) - 1)


# Cubic convolution: R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on
# Acoustics, Speech, and Signal Processing 29 (6), 1981. With A = k'(1), PyTorch's choice (Keys prefers -1/2):
#   k(d) = (A + 2) |d|^3 - (A + 3) |d|^2 + 1         for |d| <= 1
#   k(d) = A |d|^3 - 5 A |d|^2 + 8 A |d| - 4 A       for 1 < |d| < 2
# Both pieces meet with one slope, so there is no kink anywhere.
A = -0.75


def _bicubic_weights(a):
    def near(d):
        return ((A + 2) * d - (A + 3)) * d * d + 1

    def far(d):
        return ((A * d - 5 * A) * d + 8 * A) * d - 4 * A

    return far(1 + a), near(a), near(1 - a), far(2 - a)


def _bicubic_slopes(a):
    def near(d):
        return (3 * (A + 2) * d - 2 * (A + 3)) * d

    def far(d):
        return (3 * A * d - 10 * A) * d + 8 * A

    # d|x - m|/dx is +1 for the pixels on the left of the sample and -1 for those on its right
    return far(1 + a), near(a), -near(1 - a), -far(2 - a)


KERNELS = {
    # Eq. (4): the nearest pixel with weight 1; flat wherever it is differentiable
    "integer": Kernel((0,), _nearest_cell, lambda a: (1 + 0 * a,), lambda a: (0 * a,)),
    # Eq. (5): the tent max(0, 1 - |d|); Eq. (7): its slope, -1 left of the sample and +1 right of it
    "bilinear": Kernel((0, 1), _cell, lambda a: (1 - a, a), lambda a: (-1 + 0 * a, 1 + 0 * a)),
    "bicubic": Kernel((-1, 0, 1, 2), _cell, _bicubic_weights, _bicubic_slopes),
}


@dataclass(frozen=True)
class KernelOfWidth:
    r"""A kernel k(d; Phi) whose width is learnt: wider where the transformer zooms out, so that less aliases.

    radius  whole number of pixels, 2 or more: k is 0 from there on, so an axis has 2 radius taps, whatever Phi is

    Any real Phi is a width: `width = narrowest + (widest - narrowest) / (1 + exp(-Phi))`. It can be neither negative
    nor wider than the taps, and Phi = 0 is the middle. The far ends are flat: start between -4 and 4.

    Eq. (3) does not normalise, and no bump h(d) on a lattice of pixels adds up to 1 by itself: divided by its integral,
    a triangle 1.5 pixels wide still ripples by 11 %. So k is h over the sum of its own copies, one a pixel:
    \(k(d) = h(d) / \sum_j h(d - j)\). That is a function of d alone, as Eq. (3) asks, and its taps add up to exactly 1:
    a constant image stays constant, and has no slope, for every width. (At the edge of the image with
    padding="zeros", the taps outside are missing and it darkens, as with every kernel.)

    Raises ValueError for a radius that is not a whole number of at least 2.
    """

    radius: int = 3

    def __post_init__(self):
        check_whole("radius", self.radius)
        if self.radius < 2:
            raise ValueError(f"radius must be at least 2 pixels, not {self.radius}")

    def width_of(self, Phi):
        """The width, in pixels, that an array Phi stands for; any shape."""
        low, high = self.bounds
        # 1 / (1 + exp(-Phi)) without its overflow
        return low + (high - low) * (1 + get_array_module(Phi).tanh(Phi / 2)) / 2

    def Phi_of(self, width):
        """The number Phi of a width in pixels. Raises ValueError unless it lies between the bounds, both excluded."""
        low, high = self.bounds
        if not low < width < high:
            raise ValueError(f"width must be between {low} and {high} pixels, not {width!r}")
        return log((width - low) / (high - width))

    def at(self, Phi):
        """The kernel of one Phi for each sample: an array that broadcasts against the samples."""
        width = self.width_of(Phi)
        return Kernel(tuple(range(1 - self.radius, self.radius + 1)), _cell, partial(self._weights, width),
                      partial(self._slopes, width), partial(self._dPhi, width))

    def _distances(self, a):
        """d = x - m for each tap."""
        return [a - j for j in range(1 - self.radius, self.radius + 1)]

    def _weights(self, width, a):
        h = [self._h(d, width) for d in self._distances(a)]
        total = sum(h)
        return [h_j / total for h_j in h]

    def _slopes(self, width, a):
        # a = 1 only where the sample belongs to the cell on its left: the slope on the left is asked for
        right = a < 1
        return self._quotient_rule(width, a, [self._dh_dx(d, width, right) for d in self._distances(a)])

    def _dPhi(self, width, a):
        low, high = self.bounds
        # s = 1 / (1 + exp(-Phi)) has the derivative s (1 - s)
        dwidth = (width - low) * (high - width) / (high - low)
        return self._quotient_rule(width, a, [self._dh_dwidth(d, width) * dwidth for d in self._distances(a)])

    def _quotient_rule(self, width, a, dh):
        r"""\(k_j = h_j / \sum h\), so \(dk_j = (dh_j - k_j \sum dh) / \sum h\)."""
        total, dtotal = sum(self._h(d, width) for d in self._distances(a)), sum(dh)
        return [(dh_j - k_j * dtotal) / total for dh_j, k_j in zip(dh, self._weights(width, a), strict=True)]


class Gaussian(KernelOfWidth):
    r"""A Gaussian of learnable width: \(h(d) = e^{-d^2 / 2 w^2} - e^{-R^2 / 2 w^2}\) for |d| <= R, the radius.

    w is its standard deviation, from 1/2 to R/2 pixels. It is cut at R and lowered by its value there: V is continuous.
    What is left at the cut is a kink, met where a sample stands on a pixel: `lattice` chooses the slope, the one inside
    the support on that side, and 0 outside. Everywhere else k is smooth, in d and in Phi. See `KernelOfWidth`.
    """

    @property
    def bounds(self):
        return 0.5, self.radius / 2

    def _bell(self, d, width):
        return get_array_module(width).exp(-(d * d) / (2 * width * width))

    def _h(self, d, width):
        return self._bell(d, width) - self._bell(self.radius, width)

    def _dh_dx(self, d, width, right):
        return -d / (width * width) * self._bell(d, width)

    def _dh_dwidth(self, d, width):
        R = self.radius
        return (d * d * self._bell(d, width) - R * R * self._bell(R, width)) / width ** 3


class Triangle(KernelOfWidth):
    r"""A triangle of learnable width: \(h(d) = \max(0, 1 - |d| / w)\), w from 1, which is bilinear, to the radius.

    Kinks: at d = 0, so where a sample stands on a pixel, and at the feet d = -w and d = w, so where it stands w from a
    pixel: on the lattice too if w is whole, between pixels if not. On the lattice `lattice` chooses the slope; between
    pixels it is the one on the right. A foot that stands on a pixel is a kink in Phi as well: dPhi there is the slope
    for a growing width. See `KernelOfWidth`.
    """

    @property
    def bounds(self):
        return 1, self.radius

    def _h(self, d, width):
        xp = get_array_module(width)
        return xp.maximum(0, 1 - xp.abs(d) / width)

    def _dh_dx(self, d, width, right):
        xp = get_array_module(width)
        # one step on from a kink: rising over [-w, 0), falling over [0, w); one step back: over (-w, 0] and (0, w]
        rises = xp.where(right, (d >= -width) & (d < 0), (d > -width) & (d <= 0))
        falls = xp.where(right, (d >= 0) & (d < width), (d > 0) & (d <= width))
        return (rises.astype(d.dtype) - falls.astype(d.dtype)) / width

    def _dh_dwidth(self, d, width):
        xp = get_array_module(width)
        distance = xp.abs(d)
        return (distance <= width) * distance / (width * width)
