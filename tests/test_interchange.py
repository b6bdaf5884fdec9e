"""docs/interchange.md: its code is run, its table of options is read, and what it says of the other libraries is so."""

import contextlib
import io
import pathlib
import re

import numpy
import pytest
from checks_of_kernels import SPLINE
from checks_of_pairs import close, normalised

from stn_scratch import sample3d_forward, sample_backward, sample_forward
from stn_scratch.sampling.kernels import KERNELS
from stn_scratch.sampling.padding import PADDINGS

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "interchange.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PEERS = {"PyTorch": "torch", "SciPy": "scipy.ndimage", "OpenCV": "cv2"}
COLUMN = dict(zip(PEERS, (1, 2, 3), strict=True))
H, W = 5, 7
both_conventions = pytest.mark.parametrize("align_corners", [True, False])


# The code.

@pytest.mark.parametrize("block", [0, 1, 2, 3], ids=["here", *PEERS])
def test_the_code_prints_what_its_comments_say(block):
    assert len(BLOCKS) == 4
    if block:
        pytest.importorskip([*PEERS.values()][block - 1], minversion="5" if block == 3 else None)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(BLOCKS[0] + (BLOCKS[block] if block else ""), "docs/interchange.md", "exec"), {})
    promised = re.findall(r"^print.*?  # (.*)$", BLOCKS[0] + (BLOCKS[block] if block else ""), re.MULTILINE)
    assert output.getvalue().splitlines() == promised
    assert len(promised) == (1, 3, 3, 4)[block]


# The table of options.

def rows(option):
    """The table's rows whose first cell sets this option: lists of cells."""
    lines = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in PAGE.splitlines()]
    return [cells for cells in lines if cells[0].startswith(f"{option}=")]


def options(cell, names=None):
    return eval(f"dict({cell})", dict(names or {}))


def points(n=400):
    """Random points in pixels, up to a whole image away."""
    rng = numpy.random.default_rng(1)
    return rng.uniform(-W, 2 * W, (1, n)), rng.uniform(-H, 2 * H, (1, n))


def grid_of(x_p, y_p, align_corners=True):
    return numpy.stack([normalised(x_p, W, align_corners), normalised(y_p, H, align_corners)])[None]


def image(C=3, size=(H, W)):
    return numpy.random.default_rng(2).random((1, *size, C))


def by_torch(U, x_p, y_p, cells, align_corners):
    torch = pytest.importorskip("torch")
    given = {"align_corners": align_corners} | {k: v for cell in cells for k, v in options(cell).items()}
    grid = torch.from_numpy(numpy.moveaxis(grid_of(x_p, y_p, given["align_corners"]), 1, -1))
    V = torch.nn.functional.grid_sample(torch.from_numpy(numpy.moveaxis(U, -1, 1)), grid, **given)
    return numpy.moveaxis(V.numpy(), 1, -1)


def by_scipy(U, x_p, y_p, cells, align_corners):
    ndimage = pytest.importorskip("scipy.ndimage")
    given = {k: v for cell in cells for k, v in options(cell).items()}
    V = [ndimage.map_coordinates(U[0, :, :, c], [y_p, x_p], **given) for c in range(U.shape[3])]
    return numpy.stack(V, axis=-1)[None]


def by_opencv(U, x_p, y_p, cells, align_corners):
    cv2 = pytest.importorskip("cv2", minversion="5")
    given = {k: v for cell in cells for k, v in options(cell, vars(cv2)).items()}
    return cv2.remap(U[0].astype("float32"), x_p.astype("float32"), y_p.astype("float32"), **given)[None]


@pytest.mark.parametrize("peer, sample, tolerance", [
    ("PyTorch", by_torch, 1e-13), ("SciPy", by_scipy, 1e-13), ("OpenCV", by_opencv, 2e-6)], ids=PEERS)
@pytest.mark.parametrize("kernel", rows("kernel"), ids=lambda cells: cells[0])
@pytest.mark.parametrize("padding", rows("padding"), ids=lambda cells: cells[0])
@both_conventions
def test_each_option_means_the_same(peer, sample, tolerance, kernel, padding, align_corners):
    here = {"align_corners": align_corners} | options(kernel[0]) | options(padding[0])
    cells = kernel[COLUMN[peer]], padding[COLUMN[peer]]
    if "none" in cells:
        assert (peer, kernel[0]) == ("SciPy", 'kernel="bicubic"')
        return
    U, (x_p, y_p) = image(), points()
    V, _ = sample_forward(U, grid_of(x_p, y_p, here["align_corners"]), **here)
    close(sample(U, x_p, y_p, cells, align_corners), V, tolerance)


def test_the_table_has_all_options():
    assert [options(cells[0])["kernel"] for cells in rows("kernel")] == list(KERNELS)
    assert list(dict.fromkeys(options(cells[0])["padding"] for cells in rows("padding"))) == list(PADDINGS)
    for cells in rows("kernel") + rows("padding"):
        assert len(cells) == 4


# What is said in words.

def test_align_corners_is_off_by_default_in_torch():
    torch = pytest.importorskip("torch")
    U, grid = torch.from_numpy(image()), torch.from_numpy(grid_of(*points())).permute(0, 2, 3, 1)
    with pytest.warns(UserWarning, match="align_corners"):
        V = torch.nn.functional.grid_sample(U.permute(0, 3, 1, 2), grid)
    close(V.permute(0, 2, 3, 1).numpy(), sample_forward(U.numpy(), grid.permute(0, 3, 1, 2).numpy(),
                                                        align_corners=False)[0], 1e-13)


def test_volumes_in_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = numpy.random.default_rng(3)
    U, p = rng.random((4, 5, 7)), rng.uniform(-3, 9, (3, 2, 6, 8))
    grid = numpy.stack([normalised(x, n, True) for x, n in zip(p, (7, 5, 4), strict=True)])[None]  # x, y, z
    V, _ = sample3d_forward(U[None, ..., None], grid)
    close(ndimage.map_coordinates(U, p[::-1], order=1, mode="grid-constant"), V[0, ..., 0], 1e-13)


@pytest.mark.parametrize("sample, cell, pixels", [
    (by_torch, 'mode="nearest"', [0, 2, 2]), (by_scipy, "order=0", [1, 2, 3]),
    (by_opencv, "interpolation=INTER_NEAREST", [0, 2, 2])], ids=PEERS)
def test_half_way_between_two_pixels(sample, cell, pixels):
    U = numpy.broadcast_to(numpy.arange(W, dtype="float64")[:, None], (1, H, W, 1)).copy()
    x_p, y_p = numpy.array([[0.5, 1.5, 2.5]]), numpy.array([[1.0, 1.0, 1.0]])
    V, _ = sample_forward(U, grid_of(x_p, y_p), kernel="integer")
    assert V.ravel().tolist() == [1, 2, 3]
    assert sample(U, x_p, y_p, [cell], True).ravel().tolist() == pixels


@pytest.mark.parametrize("sample, cells, fades", [
    (by_torch, ['mode="bilinear"', 'padding_mode="zeros"'], True),
    (by_scipy, ["order=1", 'mode="grid-constant"'], True),
    (by_scipy, ["order=1", 'mode="constant"'], False),
    (by_opencv, ["interpolation=INTER_LINEAR", "borderMode=BORDER_CONSTANT"], True)])
def test_half_outside(sample, cells, fades):
    U, x_p, y_p = numpy.ones((1, H, W, 1)), numpy.array([[-0.75, -0.25, W - 0.5]]), numpy.array([[1.0, 2.0, 3.0]])
    V, _ = sample_forward(U, grid_of(x_p, y_p))
    close(V.ravel(), [0.25, 0.75, 0.5], 1e-15)
    close(sample(U, x_p, y_p, cells, True).ravel(), V.ravel() * fades, 1e-7)


@pytest.mark.parametrize("padding, mode", [("zeros", "zeros"), ("border", "border"), ("reflect", "reflection")])
@both_conventions
def test_the_slope_on_a_pixel(padding, mode, align_corners):
    """At every pixel of a row; sizes of which both conventions hit the pixels without rounding."""
    torch = pytest.importorskip("torch")
    n = 9 if align_corners else 8
    U = numpy.random.default_rng(4).random((1, n, n, 1))
    x = normalised(numpy.arange(float(n)), n, align_corners)
    grid = numpy.stack([x, numpy.full(n, normalised(3.0, n, align_corners))]).reshape(1, 2, 1, n)
    V, cache = sample_forward(U, grid, padding=padding, align_corners=align_corners)
    _, dgrid = sample_backward(numpy.ones_like(V), cache)

    leaf = torch.from_numpy(grid.transpose(0, 2, 3, 1)).requires_grad_()
    torch.nn.functional.grid_sample(torch.from_numpy(U.transpose(0, 3, 1, 2)), leaf, padding_mode=mode,
                                    align_corners=align_corners).sum().backward()
    actual, row = leaf.grad.numpy()[0, 0, :, 0], U[0, 3, :, 0]
    right = 4 * (numpy.append(row[1:], 0) - row)  # 4 pixels a unit; black on the right of the last
    close(dgrid[0, 0, 0, :-1], right[:-1], 1e-13)
    close(actual[1:-1], right[1:-1], 1e-13)
    close(actual[[0, -1]], right[[0, -1]] * (padding == "zeros"), 1e-13)


def test_not_a_number():
    """Only forward, and only with zeros: other ways end the process."""
    torch = pytest.importorskip("torch")
    grid = grid_of(*points(4))
    grid[0, 0, 0, 2] = numpy.nan
    U = image()
    V, cache = sample_forward(U, grid)
    assert not V[0, 0, 2].any() and not sample_backward(numpy.ones_like(V), cache)[1][0, :, 0, 2].any()
    theirs = torch.nn.functional.grid_sample(torch.from_numpy(U).permute(0, 3, 1, 2),
                                             torch.from_numpy(grid).permute(0, 2, 3, 1), align_corners=True)
    assert theirs[0, :, 0, 2].isnan().all()


def test_cubic_splines_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    U, (x_p, y_p) = image(1), points()
    V, _ = sample_forward(U, grid_of(x_p, y_p), kernel=SPLINE, padding="border")
    theirs = ndimage.map_coordinates(U[0, :, :, 0], [y_p, x_p], order=3, mode="nearest", prefilter=False)
    close(theirs, V[0, :, :, 0], 1e-13)
    rows, columns = numpy.mgrid[:H, :W].astype(float)
    close(ndimage.map_coordinates(U[0, :, :, 0], [rows, columns], order=3, mode="mirror"), U[0, :, :, 0], 1e-13)


# OpenCV's accuracy.

M = numpy.array([[0.83, 0.31, 1.3], [-0.29, 0.91, 2.7]])
Y_P, X_P = numpy.einsum("ij,jhw->ihw", M[::-1], numpy.stack([*numpy.mgrid[:69, :89][::-1], numpy.ones((69, 89))]))


def differences_from_opencv(C, dtype, step=None):
    """The largest one of warpAffine and of remap, on 64 x 80 pixels; `step`: ours has its coordinates rounded to it."""
    cv2 = pytest.importorskip("cv2", minversion="5")
    U = numpy.random.default_rng(5).random((64, 80, C)).astype(dtype)
    x_p, y_p = (X_P, Y_P) if step is None else (numpy.rint(a / step) * step for a in (X_P, Y_P))
    grid = numpy.stack([normalised(x_p, 80, True), normalised(y_p, 64, True)])[None]
    V, _ = sample_forward(U[None].astype("float64"), grid)
    warped = cv2.warpAffine(U, M, (89, 69), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    remapped = cv2.remap(U, X_P.astype("float32"), Y_P.astype("float32"), cv2.INTER_LINEAR)
    return [abs(theirs.reshape(V[0].shape) - V[0]).max() for theirs in (warped, remapped)]


@pytest.mark.parametrize("C", [1, 3, 4])
def test_opencv_is_accurate_for_some_images(C):
    assert max(differences_from_opencv(C, "float32")) <= 1e-5


@pytest.mark.parametrize("C, dtype", [(2, "float32"), (1, "float64"), (3, "float64")])
def test_opencv_rounds_the_coordinates_of_others(C, dtype):
    """If this fails on a later OpenCV, that one is more accurate: change the page."""
    assert all(0.01 < difference < 1 / 32 for difference in differences_from_opencv(C, dtype))
    assert differences_from_opencv(C, dtype, step=1 / 32)[1] <= 1e-6


def test_opencv_is_wrong_at_the_edge_of_float64_by_a_cubic():
    cv2 = pytest.importorskip("cv2", minversion="5")
    if cv2.__version__ != "5.0.0":
        pytest.skip("said of OpenCV 5.0.0 only")
    x_p, y_p = (a.astype("float32") for a in points())
    single, double = (cv2.remap(image(1)[0].astype(dtype), x_p, y_p, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
                      for dtype in ("float32", "float64"))
    taps_inside = (x_p >= 1) & (x_p < W - 2) & (y_p >= 1) & (y_p < H - 2)
    wrong = abs(double - single) > 1 / 32
    assert taps_inside.sum() > 10 and not wrong[taps_inside].any() and wrong[~taps_inside].mean() > 0.9
