"""One pixel's journey: its numbers against the paper's sums and finite differences, and the figure that shows them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from stn_scratch import paper
from stn_scratch.reading import explain_pixel, journey

THETA = np.array([[0.7, -0.3, 0.12], [0.25, 0.8, -0.05]])


@pytest.fixture
def U(rng):
    return rng.uniform(size=(6, 9))


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("i", [(0, 0), (1, 3), (4, 6)])
def test_the_numbers(U, i, align_corners):
    trip = journey(U, THETA, i, size=(5, 7), align_corners=align_corners)
    W, H = (7, 5) if not align_corners else (6, 4)
    x_t, y_t = (2 * i[1] - 6) / W, (2 * i[0] - 4) / H
    np.testing.assert_allclose(trip.target, (x_t, y_t), rtol=0, atol=1e-15)
    np.testing.assert_allclose(trip.source, THETA @ (x_t, y_t, 1), rtol=0, atol=1e-15)
    scale = (8, 5) if align_corners else (9, 6)
    point = np.array(trip.source) * scale / 2 + (4, 2.5)
    np.testing.assert_allclose(trip.point, point, rtol=0, atol=1e-14)
    value = paper.sample(U[None, ..., None], point[:1].reshape(1, 1, 1), point[1:].reshape(1, 1, 1))
    np.testing.assert_allclose(trip.value, float(value.ravel()[0]), rtol=0, atol=1e-14)
    np.testing.assert_allclose(sum(u * w for _, _, u, w in trip.taps), trip.value, rtol=0, atol=1e-14)
    for n, m, u, w in trip.taps:
        assert u == U[n, m]
        np.testing.assert_allclose(w, (1 - abs(point[0] - m)) * (1 - abs(point[1] - n)), rtol=0, atol=1e-13)


def test_dtheta_by_finite_differences(U):
    step, i = 1e-6, (2, 5)
    slopes = np.empty((2, 3))
    for entry in np.ndindex(2, 3):
        e = np.zeros((2, 3))
        e[entry] = step
        slopes[entry] = (journey(U, THETA + e, i).value - journey(U, THETA - e, i).value) / (2 * step)
    trip = journey(U, THETA, i)
    np.testing.assert_allclose(trip.dtheta, slopes, rtol=0, atol=1e-8)
    np.testing.assert_allclose(trip.dtheta, np.outer((trip.dx, trip.dy), (*trip.target, 1)), rtol=0, atol=1e-14)


def test_far_outside_there_is_nothing(U):
    trip = journey(U, [[1, 0, 9], [0, 1, 0]], (0, 0))
    assert trip.taps == [] and trip.value == trip.dx == trip.dy == 0 and not trip.dtheta.any()
    assert "all taps are outside" in texts(explain_pixel(U, [[1, 0, 9], [0, 1, 0]], (0, 0)))


def texts(figure):
    found = "\n".join(text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title])
    plt.close(figure)
    return found


def test_the_figure_says_the_numbers(U):
    trip, said = journey(U, THETA, (2, 5)), texts(explain_pixel(U, THETA, (2, 5)))
    assert len(trip.taps) == 4
    for n, m, value, weight in trip.taps:
        assert f"U[{n},{m}] w" in said and f"{value:.2f}" in said and f"w = {weight:.2f}" in said
        assert f"= {value * weight:7.4f}" in said and f"dL/dU[{n},{m}] = {weight:.3f}" in said
    assert f"V_i, their sum{'':<16}= {trip.value:7.4f}" in said
    assert f"dL/dx_s = {trip.dx:8.4f}" in said and f"dL/dy_s = {trip.dy:8.4f}" in said
    for entry in trip.dtheta.ravel():
        assert f"{entry:8.4f}" in said
    assert "i = (2, 5)" in said


def test_the_figure_marks_the_point_and_its_taps(U):
    trip, figure = journey(U, THETA, (2, 5)), explain_pixel(U, THETA, (2, 5))
    output, image, _ = figure.axes
    (pixel,) = output.patches
    assert pixel.get_center() == pytest.approx((5, 2))
    (point,) = image.lines
    assert (point.get_xdata()[0], point.get_ydata()[0]) == trip.point
    centres = sorted((round(p.get_center()[1]), round(p.get_center()[0])) for p in image.patches)
    assert centres == sorted((n, m) for n, m, _, _ in trip.taps)
    plt.close(figure)


@pytest.mark.parametrize("i", [(6, 0), (0, 9), (-1, 0)])
def test_a_pixel_that_is_not_there(U, i):
    with pytest.raises(ValueError, match=r"^i must be \(row, column\) of an output of 6x9 pixels, not "):
        journey(U, THETA, i)


