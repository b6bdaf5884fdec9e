"""grids.png: the learned sampling grids, large, with the parameters that make them."""

from math import isqrt
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from stn_scratch.coordinates import axis_points
from stn_scratch.training.figures import GRID, OUTSIDE, POINTS, as_shown, draw_grid, draw_image, in_pixels, verdict

DIGITS_SHOWN = 4
MOVED_POINTS = ("tps", "piecewise")
ROWS = {"affine": ("x_s", "y_s"), "projective": ("x_s w", "y_s w", "w    ")}  # of the matrix
LINES = {"affine": 2, "projective": 4}  # of text below a panel, at most; else 1
NAMES = {"attention": ("s", "t_x", "t_y"), "translation": ("t_x", "t_y"), "rotation": ("a",),
         "similarity": ("s", "a", "t_x", "t_y")}


def draw_grids(shown):
    """For each transformer a row of test digits: its input, the grid over it, and what theta says of that grid."""
    columns = min(DIGITS_SHOWN, len(shown.labels))
    heights = [3.3 + 0.16 * LINES.get(look.transformer.transform, 1) for look in shown.seen]
    figure = Figure(figsize=(3.2 * max(columns, 3), sum(heights) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown.seen), columns, squeeze=False)
    legend = {}
    for number, (row, look) in enumerate(zip(axes, shown.seen, strict=True), start=1):
        first = look._replace(U=look.U[:columns], theta=look.theta[:columns], grid=look.grid[:columns])
        legend |= _draw_row(row, first)
        name = f"transformer {number}: " if len(shown.seen) > 1 else ""
        note = as_shown(look.U).note
        row[0].set_ylabel(f"{name}{look.transformer.transform}\ninput, pixels" + (f"\n{note}" if note else ""))
    for ax, label, guess in zip(axes[0], shown.labels, shown.predicted, strict=False):
        verdict(ax, label, guess, shown.null)
    legend["outside the image"] = Patch(color=OUTSIDE)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_row(row, look):
    """One transformer: a panel for each digit, all to one scale; gives what its lines mean, as a legend."""
    transform = look.transformer.transform
    shading = as_shown(look.U)
    grid = in_pixels(look.grid, look)
    lattice, source = control_points(look) if transform in MOVED_POINTS else (None, grid)
    for k, ax in enumerate(row):
        # white at two thirds of the grey scale, for the lines to stand out
        draw_image(ax, look.U, k, shading, dim=1.5)
        draw_grid(ax, grid[k], lines=8, width=1.3)
        if lattice is not None:
            _draw_points(ax, lattice, source[k], mesh=transform == "piecewise")
            text = f"largest displacement {np.hypot(*(source[k] - lattice)).max():.1f} pixels"
        else:
            if transform != "projective":
                _draw_axes(ax, grid[k])
            text = _numbers(transform, look.theta[k])
        ax.set_xlabel(text + _unseen(transform, grid[k]), fontsize=9, family="monospace")
        ax.tick_params(labelsize=8)
        _set_limits(ax, look.U.shape[1:3], grid, source)
    return _legend(transform)


def control_points(look):
    """Where the control points stand (2, K), and where the source point of each lies (B, 2, K), in input pixels."""
    B, n = look.theta.shape
    side = axis_points(np, isqrt(n // 2), True, "float64")
    # row by row, x fastest, as theta counts them
    lattice = np.stack(np.meshgrid(side, side)).reshape(1, 2, -1)
    source = lattice + look.theta.reshape(B, -1, 2).swapaxes(1, 2)
    return in_pixels(lattice, look)[0], in_pixels(source, look)


def _draw_points(ax, lattice, source, *, mesh):
    """The control points (2, K), an arrow from each to its source point, and with `mesh` the triangles of these."""
    if mesh:
        ax.triplot(*source, triangles(isqrt(lattice.shape[1])), color=POINTS, linewidth=0.8)
    ax.plot(*lattice, "o", color=POINTS, markerfacecolor="none", markersize=6)
    ax.plot(*source, "o", color=POINTS, markersize=4)
    _draw_arrows(ax, lattice, source, width=0.008)


def triangles(side):
    """The triangles of a piecewise mesh of side x side vertices: each cell is cut from top left to bottom right."""
    cells = [row * side + column for row in range(side - 1) for column in range(side - 1)]
    return [(v, third, v + side + 1) for v in cells for third in (v + 1, v + side)]


def _draw_axes(ax, grid):
    """Arrows from the middle of an affine grid (2, H', W') along its x_t and y_t axes, to the outline."""
    corners = grid[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    middle = corners.mean(axis=1)
    x_end, y_end = corners[:, [1, 3]].mean(axis=1), corners[:, [2, 3]].mean(axis=1)
    if not np.isfinite(corners).all():
        return
    _draw_arrows(ax, np.stack([middle, middle], axis=1), np.stack([x_end, y_end], axis=1), width=0.012)
    for name, end, other in (("$x_t$", x_end, y_end), ("$y_t$", y_end, x_end)):
        # beside the arrow, away from the other one; y runs down the image, but up a page
        away = (middle - other) * (1, -1) / max(np.hypot(*(middle - other)), 1e-9)
        ax.annotate(name, middle + 0.75 * (end - middle), xytext=9 * away, textcoords="offset points", color=POINTS,
                    fontsize=11, ha="center", va="center", path_effects=[withStroke(linewidth=2, foreground="black")])


def _draw_arrows(ax, tails, heads, *, width):
    """Arrows from tails (2, N) to heads (2, N), in the axes' own units."""
    ax.quiver(*tails, *(heads - tails), angles="xy", scale_units="xy", scale=1, color=POINTS, width=width, zorder=3)


def _numbers(transform, theta):
    """The parameters (n,), rounded: those of a matrix as its rows, written out, all else by its name."""
    numbers = [round(float(t), 2) + 0.0 for t in theta]  # + 0.0: no minus before 0.00
    if transform in ROWS:
        rows = zip(ROWS[transform], numbers[::3], numbers[1::3], [*numbers[2::3], 1.0], strict=False)
        return "\n".join(f"{name} = {a:5.2f} x_t {b:+5.2f} y_t {c:+5.2f}" for name, a, b, c in rows)
    names = NAMES.get(transform, [f"p_{k}" for k in range(1, len(numbers) + 1)])
    return fill(" ".join(f"{name}={number:.2f}" for name, number in zip(names, numbers, strict=True)), width=36)


def _unseen(transform, grid):
    """How much of a grid (2, H', W') is not drawn, as it is not finite."""
    part = 100 * np.isnan(grid[0]).mean()
    return f"\n{part:.0f} % of it {'beyond the horizon' if transform == 'projective' else 'not finite'}" if part else ""


def _set_limits(ax, size, *points):
    """A square with the image and all of the points (B, 2, ...), but none more than half an image beyond its edges."""
    lows, highs = [], []
    for axis, n in ((0, size[1]), (1, size[0])):
        values = np.concatenate([p[:, axis].ravel() for p in points])
        values = np.clip(values[np.isfinite(values)], -0.5 - 0.5 * n, 1.5 * n - 0.5)
        lows.append(values.min(initial=-0.5))
        highs.append(values.max(initial=n - 0.5))
    (x, y), half = np.add(lows, highs) / 2, 0.55 * np.subtract(highs, lows).max()
    ax.set(xlim=(x - half, x + half), ylim=(y + half, y - half), facecolor=OUTSIDE)


def _legend(transform):
    """What is drawn of a transformation: name -> a line that looks like it."""

    def like(color, **style):
        return Line2D([], [], color=color, **{"linestyle": "none", "markersize": 6} | style)

    legend = {"sampling grid, some of its lines": like(GRID, linestyle="-"),
              "output pixel (0, 0)": like(GRID, marker="s")}
    arrow = {"marker": r"$\rightarrow$", "markersize": 14}
    if transform in MOVED_POINTS:
        legend |= {"control point, on its lattice": like(POINTS, marker="o", markerfacecolor="none"),
                   "its source point": like(POINTS, marker="o", markersize=4), "displacement": like(POINTS, **arrow)}
    elif transform != "projective":
        legend["axes of the output"] = like(POINTS, **arrow)
    if transform == "piecewise":
        legend["mesh of triangles"] = like(POINTS, linestyle="-", linewidth=0.8)
    return legend
