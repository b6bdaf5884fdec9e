"""One pixel's journey: from its place in the output to its value, and back to the gradients that it causes."""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from stn_scratch.coordinates import to_pixels
from stn_scratch.grids.affine import affine_grid_backward, affine_grid_forward
from stn_scratch.sampling import sample_backward, sample_forward
from stn_scratch.validate import check_arrays

POINT, TAP = "#d95f02", "#1b9e77"


class Journey(NamedTuple):
    """What happens to output pixel i, for dL/dV_i = 1 and bilinear sampling."""

    target: tuple  # x_t, y_t, normalised
    source: tuple  # x_s, y_s, normalised
    point: tuple  # x_p, y_p, the same in pixels of U
    taps: list  # (n, m, U_nm, weight): every pixel that Eq. (5) reads; the weight is dV_i/dU_nm, too
    value: float  # V_i
    dx: float  # dV_i/dx_s
    dy: float  # dV_i/dy_s
    dtheta: object  # (2, 3) dV_i/dtheta


def journey(U, theta, i, *, size=None, align_corners=True, lattice="right"):
    """The numbers of one output pixel's way through Eqs. (1), (5), (6), (7).

    U (H, W) one image, theta (2, 3), i = (row, column) of the output, size (H', W') (None: as U) -> Journey. float64,
    padding "zeros".

    Raises ValueError if i is not a pixel of the output.
    """
    U, theta = np.asarray(U, dtype=float), np.asarray(theta, dtype=float)
    check_arrays(U=(U, "H W"), theta=(theta, "2 3"))
    size = size or U.shape
    if not (0 <= i[0] < size[0] and 0 <= i[1] < size[1]):
        raise ValueError(f"i must be (row, column) of an output of {size[0]}x{size[1]} pixels, not {i}")
    grid, cache_grid = affine_grid_forward(theta[None], size=size, align_corners=align_corners)
    V, cache_V = sample_forward(U[None, ..., None], grid, align_corners=align_corners, lattice=lattice)
    dV = np.zeros_like(V)
    dV[0, *i, 0] = 1
    dU, dgrid = sample_backward(dV, cache_V)
    target, _ = affine_grid_forward(np.eye(2, 3)[None], size=size, align_corners=align_corners)
    x_s, y_s = grid[0, :, *i]
    taps = [(int(n), int(m), U[n, m], dU[0, n, m, 0]) for n, m in np.argwhere(dU[0, ..., 0])]
    return Journey(tuple(target[0, :, *i]), (x_s, y_s), (to_pixels(x_s, U.shape[1], align_corners),
                   to_pixels(y_s, U.shape[0], align_corners)), taps, float(V[0, *i, 0]), *dgrid[0, :, *i],
                   affine_grid_backward(dgrid, cache_grid)[0])


def explain_pixel(U, theta, i, *, size=None, align_corners=True, lattice="right"):
    """A figure of one output pixel's journey: where it is read, its taps and weights, its sum, and the way back.

    Arguments as in `journey`. Gives a matplotlib Figure.
    """
    trip = journey(U, theta, i, size=size, align_corners=align_corners, lattice=lattice)
    U = np.asarray(U, dtype=float)
    figure, (output, image, words) = plt.subplots(
        1, 3, figsize=(12.5, 4.8), layout="constrained", width_ratios=(1, 1.2, 1.3))
    _draw_output(output, i, size or U.shape, trip)
    _draw_input(image, U, trip)
    _write(words, trip)
    return figure


def _draw_output(axes, i, size, trip):
    H, W = size
    axes.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5), aspect="equal",
             title=f"output pixel i = ({i[0]}, {i[1]}) stands at\n$(x_t, y_t)$ = ({trip.target[0]:.3g}, "
                   f"{trip.target[1]:.3g})", xlabel="column", ylabel="row")
    if max(size) <= 30:
        axes.set_xticks(np.arange(W + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(H + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#cccccc", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
    axes.locator_params(integer=True)
    axes.add_patch(Rectangle((i[1] - 0.5, i[0] - 0.5), 1, 1, color=POINT))


def _draw_input(axes, U, trip, radius=2.5):
    """The neighbourhood of the source point, each pixel with its value and, where it is a tap, its weight."""
    x, y = trip.point
    H, W = U.shape
    axes.imshow(U, cmap="gray", alpha=0.55, vmin=min(0, U.min()), vmax=max(U.max(), 1e-9))
    weights = {(n, m): weight for n, m, _, weight in trip.taps}
    for n in range(max(0, int(y - radius)), min(H, int(y + radius) + 2)):
        for m in range(max(0, int(x - radius)), min(W, int(x + radius) + 2)):
            weight = weights.get((n, m))
            label = {"ha": "center", "va": "center", "fontsize": 8, "clip_on": True,
                     "bbox": {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}}
            axes.text(m, n - 0.34, f"{U[n, m]:.2f}", **label)
            if weight is not None:
                axes.text(m, n + 0.34, f"w = {weight:.2f}", color=TAP, weight="bold", **label)
                axes.add_patch(Rectangle((m - 0.49, n - 0.49), 0.98, 0.98, fill=False, edgecolor=TAP, linewidth=2.5))
    axes.locator_params(integer=True)
    axes.plot(x, y, "o", color=POINT, markersize=11, markeredgecolor="white", zorder=5)
    axes.set(xlim=(x - radius, x + radius), ylim=(y + radius, y - radius), facecolor="#e8e8f4", xlabel="column m",
             ylabel="row n", title=f"read from U at $(x_s, y_s)$ = ({trip.source[0]:.3g}, {trip.source[1]:.3g}),\n"
                                   f"in pixels ({x:.3g}, {y:.3g})")


def _write(axes, trip):
    lines = ["Forward, Eq. (5): each tap's value times its weight", ""]
    lines += [f"  {f'U[{n},{m}] w':<13} = {value:6.3f} x {weight:.3f} = {value * weight:7.4f}"
              for n, m, value, weight in trip.taps] or ["  no pixel within reach: all taps are outside"]
    lines += [f"  {'V_i, their sum':<30}= {trip.value:7.4f}", "", "Back, for dL/dV_i = 1", "",
              "Eq. (6): to each tap, its weight:"]
    lines += [f"  dL/dU[{n},{m}] = {weight:.3f}" for n, m, _, weight in trip.taps]
    lines += ["", "Eq. (7): to the point, the slopes:", f"  dL/dx_s = {trip.dx:8.4f}", f"  dL/dy_s = {trip.dy:8.4f}",
              "", "Eq. (1): to theta, slope times (x_t, y_t, 1):"]
    lines += ["  " + " ".join(f"{entry:8.4f}" for entry in row) for row in trip.dtheta]
    axes.text(0, 1, "\n".join(lines), family="monospace", fontsize=8.6, va="top", transform=axes.transAxes)
    axes.axis("off")
