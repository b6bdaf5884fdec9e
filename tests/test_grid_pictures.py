"""grids.png shows the grids as they are: every line, arrow and number against the transformation itself."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.quiver import Quiver

from stn_scratch.coordinates import target_grid, to_pixels
from stn_scratch.grids import TRANSFORMATIONS
from stn_scratch.grids.piecewise import piecewise_affine_grid_forward
from stn_scratch.training.figures import GRID, POINTS
from stn_scratch.training.grid_pictures import draw_grids, triangles
from stn_scratch.training.looks import Shown
from stn_scratch.transformer import Look, SpatialTransformer

H, W, SIZE = 11, 17, (7, 10)  # every control point of a 4 x 4 lattice is on a pixel of the output
AFFINE_FORMS = sorted(set(TRANSFORMATIONS) - {"tps", "piecewise", "projective"})


def a_look(transform, theta, *, channels=1, align_corners=True, size=SIZE):
    theta = np.asarray(theta, dtype="float64")
    U = np.random.default_rng(0).uniform(size=(len(theta), H, W, channels))
    grid, _ = TRANSFORMATIONS[transform].forward(theta, size=size, align_corners=align_corners)
    return Look(U, theta, grid, None, SpatialTransformer(None, transform, size, align_corners=align_corners))


def draw(*looks):
    """The figure, drawn, and its panels: a row for each look."""
    B = len(looks[0].U)
    figure = draw_grids(Shown(looks[0].U, np.arange(B), np.arange(B), list(looks)))
    figure.draw_without_rendering()
    return figure, np.reshape(figure.axes, (len(looks), -1))


def near_identity(transform, rng, B=4, noise=0.2):
    identity = np.array(TRANSFORMATIONS[transform].identity, dtype="float64")
    return identity + noise * rng.normal(size=(B, len(identity)))


def in_pixels(points, align_corners=True):
    """points (2, ...), normalised -> (2, ...)."""
    return np.stack([to_pixels(points[0], W, align_corners), to_pixels(points[1], H, align_corners)])


def arrows(ax):
    """Tails and heads of the arrows of a panel, (2, N) each, in its own units."""
    quiver, = (c for c in ax.collections if isinstance(c, Quiver))
    assert (quiver.angles, quiver.scale_units, quiver.scale) == ("xy", "xy", 1)
    tails = np.stack([quiver.X, quiver.Y])
    return tails, tails + np.stack([quiver.U, quiver.V])


def markers(ax, color):
    return {(line.get_marker(), line.get_markerfacecolor()): line.get_xydata().T for line in ax.lines
            if line.get_color() == color and line.get_marker() != "None"}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("transform", ["tps", "piecewise"])
def test_arrows_go_from_the_lattice_to_the_source_points(transform, align_corners, rng):
    theta = near_identity(transform, rng)
    figure, (row,) = draw(a_look(transform, theta, align_corners=align_corners))
    for k, ax in enumerate(row):
        tails, heads = arrows(ax)
        for j in range(16):
            # row by row, x fastest
            x, y = -1 + 2 * (j % 4) / 3, -1 + 2 * (j // 4) / 3
            np.testing.assert_allclose(tails[:, j], in_pixels((x, y), align_corners), atol=1e-12)
            moved = x + theta[k, 2 * j], y + theta[k, 2 * j + 1]
            np.testing.assert_allclose(heads[:, j], in_pixels(moved, align_corners), atol=1e-12)
        points = markers(ax, POINTS)
        np.testing.assert_array_equal(points["o", "none"], tails)
        np.testing.assert_allclose(points["o", POINTS], heads, atol=1e-12)
        longest = np.hypot(*(heads - tails)).max()
        assert ax.get_xlabel() == f"largest displacement {longest:.1f} pixels"
    assert legend(figure)[2:5] == ["control point, on its lattice", "its source point", "displacement"]


@pytest.mark.parametrize("transform", ["tps", "piecewise"])
def test_the_grid_passes_through_the_source_points(transform, rng):
    look = a_look(transform, near_identity(transform, rng))
    _, (row,) = draw(look)
    for k, ax in enumerate(row):
        at_points = in_pixels(look.grid[k])[:, ::2, ::3].reshape(2, 16)
        np.testing.assert_allclose(arrows(ax)[1], at_points, atol=1e-9)


def test_mesh_of_triangles(rng):
    look = a_look("piecewise", near_identity("piecewise", rng))
    figure, (row,) = draw(look)
    edges = {tuple(sorted(edge)) for triangle in triangles(4) for edge in combinations(triangle, 2)}
    assert len(triangles(4)) == 18 and len(edges) == 12 + 12 + 9
    for ax in row:
        _, source = arrows(ax)
        mesh, = (line for line in ax.lines if np.isnan(line.get_xdata()).any())
        ends = mesh.get_xydata().reshape(-1, 3, 2)[:, :2]  # then NaN: the pen is lifted
        expected = [[source[:, a], source[:, b]] for a, b in sorted(edges)]
        order = np.lexsort(np.sort(ends[..., 0], axis=1).T), np.lexsort(np.sort(np.array(expected)[..., 0], axis=1).T)
        np.testing.assert_allclose(np.sort(ends[order[0]], axis=1), np.sort(np.array(expected)[order[1]], axis=1))
    assert "mesh of triangles" in legend(figure)


def test_every_pixel_is_in_a_triangle_that_is_drawn(rng):
    _, cache = piecewise_affine_grid_forward(rng.normal(size=(1, 4, 4, 2)), size=(23, 31))
    inside = (cache.weight > 1e-9).all(axis=0)  # on an edge, either triangle will do
    assert inside.sum() > 300
    assert {tuple(map(int, vertices)) for vertices in cache.index.T[inside]} == set(triangles(4))


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("transform", AFFINE_FORMS)
def test_axes_of_an_affine_grid(transform, align_corners, rng):
    look = a_look(transform, near_identity(transform, rng), align_corners=align_corners)
    _, (row,) = draw(look)
    G = target_grid(np, SIZE, align_corners, "float64")
    for k, ax in enumerate(row):
        A = np.linalg.lstsq(G.T, look.grid[k].reshape(2, -1).T)[0].T  # grid = A G
        middle = A[:, 2]
        ends = middle[:, None] + A[:, :2] * (G[0].max(), G[1].max())
        tails, heads = arrows(ax)
        np.testing.assert_allclose(tails, in_pixels(np.stack([middle, middle], axis=1), align_corners), atol=1e-9)
        np.testing.assert_allclose(heads, in_pixels(ends, align_corners), atol=1e-9)
        for text, name, tail, head in zip(ax.texts, ("$x_t$", "$y_t$"), tails.T, heads.T, strict=True):
            assert text.get_text() == name
            np.testing.assert_allclose(text.xy, tail + 0.75 * (head - tail), atol=1e-9)


@pytest.mark.parametrize("transform, theta, expected", [
    ("affine", (0.5, -0.25, 1, 0, -1.234, -0.001), "x_s =  0.50 x_t -0.25 y_t +1.00\ny_s =  0.00 x_t -1.23 y_t +0.00"),
    ("projective", (1, 2, 3, 4, 5, 6, 0.1, -0.2),
     "x_s w =  1.00 x_t +2.00 y_t +3.00\ny_s w =  4.00 x_t +5.00 y_t +6.00\nw     =  0.10 x_t -0.20 y_t +1.00"),
    ("attention", (0.5, -0.126, 0), "s=0.50 t_x=-0.13 t_y=0.00"), ("translation", (1, 2), "t_x=1.00 t_y=2.00"),
    ("rotation", (0.5,), "a=0.50"), ("similarity", (2, -1, 0.5, 0), "s=2.00 a=-1.00 t_x=0.50 t_y=0.00"),
    ("shear", (0.5, -1), "p_1=0.50 p_2=-1.00")])
def test_numbers(transform, theta, expected):
    _, ((ax,),) = draw(a_look(transform, [theta]))
    assert ax.get_xlabel() == expected


def test_the_grid_and_its_first_pixel(rng):
    look = a_look("affine", near_identity("affine", rng), size=(8, 8))  # so small that every line is drawn
    _, (row,) = draw(look)
    for k, ax in enumerate(row):
        lines = [line.get_xydata().T for line in ax.lines if line.get_color() == GRID and line.get_marker() == "None"]
        grid = in_pixels(look.grid[k])
        np.testing.assert_allclose(lines[:8], grid.swapaxes(0, 1))
        np.testing.assert_allclose(lines[8:], grid.transpose(2, 0, 1))
        np.testing.assert_allclose(markers(ax, GRID)["s", GRID], grid[:, :1, 0])
        np.testing.assert_allclose(ax.images[0].get_array(), look.U[k, ..., 0])
        x, y = ax.get_xlim(), ax.get_ylim()
        assert x[0] < grid[0].min() and grid[0].max() < x[1] and y[1] < grid[1].min() and grid[1].max() < y[0]
        assert x[0] < -0.5 and W - 0.5 < x[1] and y[1] < -0.5 and H - 0.5 < y[0]


def test_beyond_the_horizon_nothing_is_drawn():
    look = a_look("projective", [(1, 0, 0, 0, 1, 0, -1.5, 0)], size=(8, 8))
    unseen = np.isinf(look.grid[0, 0])
    assert unseen.sum() == 16  # w = 1 - 1.5 x_t: the last two of eight columns
    _, ((ax,),) = draw(look)
    lines = [line.get_xydata() for line in ax.lines if line.get_marker() == "None"]
    assert not np.isinf(lines).any()
    np.testing.assert_array_equal(np.isnan(lines[:8])[..., 0], unseen)  # row by row
    assert ax.get_xlabel().endswith("\n25 % of it beyond the horizon")


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
@pytest.mark.parametrize("value", [np.inf, 1e12])
def test_a_theta_that_is_no_use_is_drawn_without_a_warning(transform, value):
    theta = np.full((1, len(TRANSFORMATIONS[transform].identity)), value)
    with np.errstate(invalid="ignore"):
        look = a_look(transform, theta)
    _, ((ax,),) = draw(look)
    low, high = ax.get_xlim()
    assert -W < low < -0.5 and W - 0.5 < high < 2 * W
    if not np.isfinite(look.grid).any():
        assert "\n100 % of it " in ax.get_xlabel()


def test_transformers_in_a_row_of_feature_maps(rng):
    first = a_look("affine", near_identity("affine", rng))
    second = a_look("tps", near_identity("tps", rng), channels=32)
    figure, rows = draw(first, second)
    names = [row[0].get_ylabel() for row in rows]
    assert names == ["transformer 1: affine\ninput, pixels",
                     "transformer 2: tps\ninput, pixels\nmean of 32 channels, scaled"]
    for k, ax in enumerate(rows[1]):
        image = ax.images[0]
        np.testing.assert_allclose(image.get_array(), second.U[k].mean(axis=2))
        np.testing.assert_allclose(image.get_clim(), (0, 1.5 * second.U[k].mean(axis=2).max()))
    assert {"axes of the output", "displacement", "outside the image"} < set(legend(figure))


@pytest.mark.parametrize("transform", TRANSFORMATIONS)
def test_no_text_is_cut_off_or_runs_into_another(transform, rng):
    figure, (row,) = draw(a_look(transform, near_identity(transform, rng, noise=0.4), size=(42, 42)))
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= extent.x0 and extent.x1 <= width and 0 <= extent.y0 and extent.y1 <= height
    below = [ax.xaxis.label.get_window_extent() for ax in row]
    assert all(left.x1 < right.x0 for left, right in zip(below, below[1:], strict=False))
    above = figure.legends[0].get_window_extent().y1
    assert all(above <= box.y0 for box in below)
