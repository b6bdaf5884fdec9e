"""Lesson 14, bug hunt: five samplers (U, grid, dV) -> V, dU, dgrid of one image, each with one mistake."""

import numpy as np
from checks import Exercise, Mistake

from stn_scratch import paper, sample_backward, sample_forward
from stn_scratch.coordinates import axis_points, to_pixels

NUDGE = 2.0 ** -30  # of a pixel: Eq. (7) a nudge to the right of a pixel is the slope on its right


def _sampler(U, grid, dV):
    V, cache = sample_forward(U[None], grid[None])
    dU, dgrid = sample_backward(dV[None], cache)
    return V[0], dU[0], dgrid[0]


def _scale(U):
    H, W, _ = U.shape
    return np.array([W - 1, H - 1])[:, None, None] / 2


def _in_pixels(U, grid):
    H, W, _ = U.shape
    return np.stack([to_pixels(grid[0].astype(float), W, True), to_pixels(grid[1].astype(float), H, True)])


def _sums(U, p, dV, *, nudge=NUDGE, scale=None):
    """The paper's sums at the points p (2, H', W') in pixels; `scale` is the chain rule's factor."""
    image, x, y = U[None].astype(float), p[:1], p[1:]
    weights = paper.d_sample_dU(image, x, y)[0]
    dx = (dV * paper.d_sample_dx(image, x + nudge, y)[0]).sum(axis=-1)
    dy = (dV * paper.d_sample_dy(image, x, y + nudge)[0]).sum(axis=-1)
    dgrid = np.stack([dx, dy]) * (_scale(U) if scale is None else scale)
    return paper.sample(image, x, y)[0], np.einsum("hwc,hwnm->nmc", dV, weights), dgrid


# 1: the scale.

def _scaled_by_W(U, grid, dV):
    scale = _scale(U) + 0.5
    return _sums(U, (grid + 1) * scale, dV, scale=scale)


def _scaled_by_W_minus_2(U, grid, dV):
    scale = _scale(U) - 0.5
    return _sums(U, (grid + 1) * scale, dV, scale=scale)


def _scaled_right_forward_only(U, grid, dV):
    return _sums(U, _in_pixels(U, grid), dV, scale=_scale(U) + 0.5)


# 2: the slope on a pixel.

def _as_printed(U, grid, dV):
    return _sums(U, _in_pixels(U, grid), dV, nudge=0)


def _printed_the_other_way(U, grid, dV):
    """-1 for the pixel itself: the printed slope of the mirrored image."""
    mirrored = _sums(U[::-1, ::-1], _scale(U) * 2 - _in_pixels(U, grid), dV, nudge=0)[2]
    return *_sampler(U, grid, dV)[:2], -mirrored


def _to_the_left(U, grid, dV):
    return _sums(U, _in_pixels(U, grid), dV, nudge=-NUDGE)


def _central(U, grid, dV):
    V, dU, right = _sampler(U, grid, dV)
    return V, dU, (right + _to_the_left(U, grid, dV)[2]) / 2


def _three_pixels(printed):
    """The pixels on both sides, -1 and +1, and the pixel itself, too."""

    def sampler(U, grid, dV):
        V, dU, both_sides = _central(U, grid, dV)
        return V, dU, 2 * both_sides - printed(U, grid, dV)[2]

    return sampler


def _none_on_a_pixel(U, grid, dV):
    p = _in_pixels(U, grid)
    V, dU, dgrid = _sums(U, p, dV)
    return V, dU, dgrid * (p != np.floor(p))


# 3: additions that meet.

def _tap_by_tap(U, grid, dV, add, *, masked=True):
    """dU by `add(dU, index, values)`, once for each of the four taps."""
    H, W, _ = U.shape
    x, y = _in_pixels(U, grid)
    dU = np.zeros_like(U)
    for n in (np.floor(y), np.floor(y) + 1):
        for m in (np.floor(x), np.floor(x) + 1):
            inside = (n >= 0) & (n < H) & (m >= 0) & (m < W)
            weight = (1 - abs(x - m)) * (1 - abs(y - n)) * (inside | (not masked))
            index = np.clip(n, 0, H - 1).astype(int), np.clip(m, 0, W - 1).astype(int)
            add(dU, index, weight[..., None] * dV)
    V, _, dgrid = _sampler(U, grid, dV)
    return V, dU, dgrid


def _add_and_lose(dU, index, values):
    dU[index] += values


def _overwrite(dU, index, values):
    dU[index] = values


# 4: the layout of what was kept.

def _slopes_of(kept):
    def sampler(U, grid, dV):
        V, dU, _ = _sampler(U, grid, dV)
        return V, dU, _sampler(kept(U), grid, dV)[2]

    return sampler


def _reshaped(U):
    H, W, C = U.shape
    return np.moveaxis(U.reshape(C, H, W), 0, -1)


# 5: rounding.

def _rounded(dtype=None):
    """The plain way to pixels, (x + 1) (W - 1)/2, in `dtype`; None: the grid's own."""

    def sampler(U, grid, dV):
        of = dtype or grid.dtype
        p = ((grid.astype(of) + 1) * _scale(U).astype(of)).astype(float)
        # a point on a pixel takes the slope on its right, one beside it the slope of the side where rounding put it
        nudge = np.where(p == np.floor(p), NUDGE, 0)
        return *_sums(U, p, dV)[:2], _sums(U, p + nudge, dV, nudge=0)[2]

    return sampler


def _all_to_the_nearest(U, grid, dV):
    return _sums(U, np.round(_in_pixels(U, grid)), dV)


def _generic(H, W, C, seed, reach=1.3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(H, W, C)), rng.uniform(-reach, reach, (2, 4, 6)), rng.normal(size=(4, 6, C))


def _on_pixels(H, W, C, dtype="float64"):
    """The identity grid; images of eighths, so that float32 is exact wherever the point is."""
    rng = np.random.default_rng(5)
    grid = np.stack(np.broadcast_arrays(axis_points(np, W, True, dtype), axis_points(np, H, True, dtype)[:, None]))
    return tuple(a.astype(dtype) for a in (rng.integers(0, 9, (H, W, C)) / 8, grid, rng.integers(-8, 9, (H, W, C)) / 8))


UNTOUCHED = "as you found it. Which of the tools fails?"

EXERCISES = {
    "14.1": Exercise(_sampler, lambda: [_generic(3, 5, 2, 0), _on_pixels(3, 5, 2)], ("V", "dU", "dgrid"), (
        Mistake(_scaled_by_W, f"{UNTOUCHED} Read an image by the identity: into which pixel must x = +1 fall, and into "
                              "which does it fall here?"),
        Mistake(_scaled_by_W_minus_2, "the black edge is gone, but now the identity ends one pixel early. How many "
                                      "*steps* are there from the first of W pixels to the last?"),
        Mistake(_scaled_right_forward_only, "V is right. On the way back the chain rule passes the same line: what is "
                                            "its slope now?"))),
    "14.2": Exercise(_sampler, lambda: [_generic(3, 5, 2, 1), _on_pixels(3, 5, 2)], ("V", "dU", "dgrid"), (
        Mistake(_as_printed, f"{UNTOUCHED} Stand on a pixel and step to the right: which two tents change, and what do "
                             "your slopes say of each?"),
        Mistake(_printed_the_other_way, "now it is minus the pixel itself. A slope needs *two* pixels: which one is "
                                        "still left out?"),
        Mistake(_to_the_left, "a slope at last, but the one to the left of the pixel. This course takes the right."),
        Mistake(_none_on_a_pixel, "on a pixel the slope is 0 now. The constant image is content; would a transformer "
                                  "that starts as the identity ever move?"),
        Mistake(_central, "the mean of both sides: a fair rule (lesson 7: central). This course takes the right."),
        *(Mistake(_three_pixels(printed), "on a pixel you count three of them. Right minus left of *one* cell: which "
                                          "two?") for printed in (_as_printed, _printed_the_other_way)),
    )),
    "14.3": Exercise(_sampler, lambda: [_generic(3, 5, 2, 2), _on_pixels(3, 5, 2)], ("V", "dU", "dgrid"), (
        Mistake(lambda *case: _tap_by_tap(*case, _add_and_lose),
                f"{UNTOUCHED} Let all samples read one pixel: how much of dV arrives there?"),
        Mistake(lambda *case: _tap_by_tap(*case, _overwrite),
                "each tap erases what the taps before it left. It should add."),
        Mistake(lambda *case: _tap_by_tap(*case, np.add.at, masked=False),
                "they add now. But samples outside give their share to the edge: where is `inside`?"))),
    "14.4": Exercise(_sampler, lambda: [_generic(3, 5, 2, 3), _generic(4, 4, 3, 4)], ("V", "dU", "dgrid"), (
        Mistake(_slopes_of(_reshaped), f"{UNTOUCHED} Print U.reshape(C, H, W)[0] beside U[..., 0]."),
        Mistake(_slopes_of(lambda U: np.repeat(U[..., :1], U.shape[2], axis=2)),
                "every channel gets the slopes of the first."),
        Mistake(_slopes_of(lambda U: U / U.shape[2]),
                "C times too small: all channels read the same point, so what they ask of it adds up."))),
    "14.5": Exercise(_sampler, lambda: [_on_pixels(3, 16, 2, "float32"), _generic(3, 5, 2, 6)], ("V", "dU", "dgrid"), (
        Mistake(_rounded(), f"{UNTOUCHED} Print p of the identity grid minus 0, 1, 2, ... What does floor "
                                      "make of a point a hair to the left?"),
        Mistake(_rounded("float64"), "float64 makes the hair thinner, it does not remove it: x itself has been "
                                      "rounded. Does the same formula in another order keep x = 0 at the middle?"),
        Mistake(_all_to_the_nearest, "you moved *every* point to the nearest pixel: between pixels nothing is "
                                     "interpolated any more."))),
}
