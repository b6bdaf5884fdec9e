r"""The bilinear sampler with zeros outside the image, Eq. (5), and its derivatives, Eqs. (6) and (7), written out.

With x between the columns m and m + 1, y between the rows n and n + 1, a = x - m and b = y - n, Eq. (5) is linear along
x in both rows, and then along y:

    U00 --a-- U01       V = (1-b) ((1-a) U00 + a U01) + b ((1-a) U10 + a U11)
     |b   V    |          = U00 + a right + b (down + a bend),
    U10 ----- U11       right = U01 - U00, down = U10 - U00, bend = U11 - U10 - right

A frame of zeros, two pixels wide, is put around the image. A sample that is far outside moves into the frame, where the
four pixels are 0, and so are V and its slopes: no sample needs a mask. `sampler.py` gives the same, and more, for any
kernel and any padding; it is the plain form against which this one is tested.
"""

from typing import NamedTuple

from stn_scratch.backend import get_array_module, scatter_add
from stn_scratch.blocks import blocks_of_images
from stn_scratch.coordinates import pixels_per_unit, to_pixels
from stn_scratch.validate import check_arrays

FRAME = 2
BLOCK = 2 ** 16  # values of V that are worked on at once, so that the work arrays stay in a core's cache
OF_V = 8  # work arrays are about so many of V's size, for one of U's
FEW_CHANNELS = 8  # fewer go one by one: a row of so few numbers is slow to broadcast a and b over


class Cells(NamedTuple):
    index: object  # (n, H', W') of U00 among the pixels of the framed images
    a: object  # (n, H', W', 1) x - m, in [0, 1)
    b: object  # (n, H', W', 1) y - n


class Piece(NamedTuple):
    """Some images and channels that are worked on at once; the slopes of U in their cells are (n, H', W', channels)."""

    images: slice
    channels: slice
    cells: Cells
    right: object
    down: object
    bend: object


class BilinearCache(NamedTuple):
    U: object  # (B, H, W, C)
    grid: object  # (B, 2, H', W')
    pieces: list
    align_corners: bool


def bilinear_forward(U, grid, *, align_corners=True):
    r"""Eq. (5): \(V_i^c = \sum_n^H \sum_m^W U_{nm}^c \max(0, 1 - |x_i - m|) \max(0, 1 - |y_i - n|)\).

    Arguments, shapes and rules as in `sample_forward`, which has checked them.
    """
    B, H, W, C = U.shape
    V = get_array_module(U).empty((B, *grid.shape[2:], C), dtype=U.dtype)
    pieces = []
    for images in blocks_of_images(V, (V.size + U.size // OF_V) // max(1, B), BLOCK):
        index, a, b = cells = _cells(grid[images], (H, W), align_corners)
        for channels in _groups(V):
            U00, U01, U10, U11 = _corners(U[images, :, :, channels], index)
            right, down = U01 - U00, U10 - U00
            bend = U11 - U10 - right
            # Eq. (5), multiplied out: 1, a, b and a b times the corners and their differences
            V[images, :, :, channels] = U00 + a * right + b * (down + a * bend)
            pieces.append(Piece(images, channels, cells, right, down, bend))
    return V, BilinearCache(U, grid, pieces, align_corners)


def bilinear_backward(dV, cache, *, need_dU=True):
    """Eqs. (6) and (7), summed against dV (B, H', W', C) -> dU (B, H, W, C) or None, dgrid (B, 2, H', W')."""
    U, grid, pieces, align_corners = cache
    check_arrays(U=(U, "B H W C"), grid=(grid, "B 2 H' W'"), dV=(dV, "B H' W' C"))
    xp = get_array_module(dV)
    H, W = U.shape[1:3]
    dU, dgrid = xp.empty_like(U) if need_dU else None, xp.zeros_like(grid)
    for images, channels, (index, a, b), right, down, bend in pieces:
        dV_c = xp.ascontiguousarray(dV[images, :, :, channels])
        # Eq. (7): dV/dx = (1-b) (U01 - U00) + b (U11 - U10), dV/dy = (1-a) (U10 - U00) + a (U11 - U01)
        dgrid[images, 0] += xp.einsum("bhwc,bhwc->bhw", dV_c, right + b * bend)
        dgrid[images, 1] += xp.einsum("bhwc,bhwc->bhw", dV_c, down + a * bend)
        if need_dU:
            dU[images, :, :, channels] = _scattered(dV_c, index, a, b, (H, W))
    for axis, size in enumerate((W, H)):
        dgrid[:, axis] *= pixels_per_unit(size, align_corners)
    return dU, dgrid


def _cells(grid, size, align_corners):
    """The cell of every sample of a block."""
    n_images, (H, W) = len(grid), size
    (m, a), (n, b) = (_cell(grid[:, axis], pixels, align_corners) for axis, pixels in enumerate((W, H)))
    row = W + 2 * FRAME
    image = get_array_module(grid).arange(n_images, dtype=m.dtype)[:, None, None] * ((H + 2 * FRAME) * row)
    return Cells(n * row + m + (image + FRAME * (row + 1)), a[..., None], b[..., None])


def _cell(x_s, size, align_corners):
    """Along one axis, m and a = x - m. What is far outside, and what is NaN, comes to stand amid the frame."""
    xp = get_array_module(x_s)
    edge = ((size - 1) / 2 + FRAME - 0.5) / pixels_per_unit(size, align_corners)
    # of a NaN and an edge, fmin and fmax give the edge
    x_p = to_pixels(xp.fmax(xp.fmin(x_s, edge), -edge), size, align_corners)
    m = xp.floor(x_p)
    return m.astype(xp.intp), x_p - m


def _framed(images, H, W):
    """The part of framed images (n, H + 4, W + 4, C) inside the frame."""
    return images[:, FRAME:FRAME + H, FRAME:FRAME + W]


def _corner_shifts(W):
    """How many pixels after U00 stand U00, U01, U10 and U11."""
    row = W + 2 * FRAME
    return 0, 1, row, row + 1


def _corners(U, index):
    """U00, U01, U10, U11 of each cell, (n, H', W', C)."""
    n, H, W, C = U.shape
    xp = get_array_module(U)
    framed = xp.zeros((n, H + 2 * FRAME, W + 2 * FRAME, C), dtype=U.dtype)
    _framed(framed, H, W)[...] = U
    pixels = framed.reshape(-1, C)
    return [xp.take(pixels[shift:], index, axis=0) for shift in _corner_shifts(W)]


def _scattered(dV, index, a, b, size):
    """Eq. (6): dU_nm = sum_i dV_i (1 - |x_i - m|) (1 - |y_i - n|). Samples may share a pixel, so their shares add."""
    (H, W), C = size, dV.shape[3]
    lower = b * dV
    upper = dV - lower
    d01, d11 = a * upper, a * lower
    dU = get_array_module(dV).zeros((len(dV), H + 2 * FRAME, W + 2 * FRAME, C), dtype=dV.dtype)
    pixels = dU.reshape(-1, C)
    for shift, share in zip(_corner_shifts(W), (upper - d01, d01, lower - d11, d11), strict=True):
        scatter_add(pixels[shift:], index.ravel(), share.reshape(-1, C))
    return _framed(dU, H, W)


def _groups(V):
    """The channels that are worked on together, as slices."""
    C = V.shape[3]
    return [slice(c, c + 1) for c in range(C)] if C < FEW_CHANNELS else [slice(0, C)]
