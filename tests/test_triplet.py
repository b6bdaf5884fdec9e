"""The triplet hinge, Eq. (8): by hand, by finite differences, closed, and what it refuses."""

import numpy
import pytest
from sentences import raises
from strict import strict

from stn_scratch.backend import to_host
from stn_scratch.gradcheck import check_gradients
from stn_scratch.layers import triplet_hinge_backward, triplet_hinge_forward


def by_hand(e_n, e_m, e_rand, alpha):
    """Eq. (8), one number at a time: the terms, and their margins before the hinge."""
    margins = []
    for n, m, r in zip(e_n.tolist(), e_m.tolist(), e_rand.tolist(), strict=True):
        near = sum((a - b) ** 2 for a, b in zip(n, m, strict=True))
        far = sum((a - b) ** 2 for a, b in zip(n, r, strict=True))
        margins.append(near - far + alpha)
    return [max(0, margin) for margin in margins], margins


@pytest.mark.parametrize("alpha", [0, 0.25, 1.0, 7])
def test_terms_by_hand(xp, rng, alpha):
    codes = rng.normal(size=(3, 9, 4))
    expected, margins = by_hand(*codes, alpha)
    assert 1 <= sum(margin > 0 for margin in margins) <= 8 or alpha == 7
    loss, _ = triplet_hinge_forward(*map(xp.asarray, codes), alpha=alpha)
    numpy.testing.assert_allclose(to_host(loss), expected, rtol=1e-13, atol=1e-13)


def test_alpha_is_one_as_in_the_paper(xp, rng):
    codes = rng.normal(size=(3, 9, 4))
    loss, _ = triplet_hinge_forward(*map(xp.asarray, codes))
    numpy.testing.assert_allclose(to_host(loss), by_hand(*codes, 1)[0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.25, 1.0, 7])
def test_gradients(xp, rng, alpha):
    codes = rng.normal(size=(3, 9, 4))
    assert min(abs(margin) for margin in by_hand(*codes, alpha)[1]) > 1e-2  # off the kink
    assert check_gradients(triplet_hinge_forward, triplet_hinge_backward, tuple(map(xp.asarray, codes)), entries=36,
                           alpha=alpha) <= 1e-7


def test_gradients_by_hand(xp):
    # one open term: near 1, far 4, alpha 5; one closed: near 1, far 9
    e_n, e_m, e_rand = (xp.asarray(a, dtype="float64") for a in ([[0, 0], [0, 0]], [[1, 0], [0, 1]], [[0, 2], [3, 0]]))
    loss, cache = triplet_hinge_forward(e_n, e_m, e_rand, alpha=5)
    assert to_host(loss).tolist() == [2, 0]
    de_n, de_m, de_rand = map(to_host, triplet_hinge_backward(xp.asarray([0.5, 0.5]), cache))
    # d/de_n = 2 (e_rand - e_m), d/de_m = -2 (e_n - e_m), d/de_rand = 2 (e_n - e_rand), each times 0.5
    assert de_n.tolist() == [[-1, 2], [0, 0]]
    assert de_m.tolist() == [[1, 0], [0, 0]]
    assert de_rand.tolist() == [[0, -2], [0, 0]]


def test_a_margin_of_zero_is_closed(xp):
    codes = [xp.asarray(a, dtype="float64") for a in ([[0.0]], [[1.0]], [[2.0]])]
    loss, cache = triplet_hinge_forward(*codes, alpha=3)
    assert float(loss[0]) == 0
    assert [to_host(d).tolist() for d in triplet_hinge_backward(xp.ones(1), cache)] == [[[0.0]]] * 3


def test_the_random_piece_is_left_out_where_not_asked_for(xp, rng):
    codes = [xp.asarray(a) for a in rng.normal(size=(3, 9, 4))]
    loss, cache = triplet_hinge_forward(*codes)
    whole = triplet_hinge_backward(xp.ones_like(loss), cache)
    part = triplet_hinge_backward(xp.ones_like(loss), cache, need_de_rand=False)
    assert part[2] is None
    for a, b in zip(part[:2], whole[:2], strict=True):
        numpy.testing.assert_array_equal(to_host(a), to_host(b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pure_and_of_one_dtype(xp, rng, dtype):
    codes = [xp.asarray(a, dtype=dtype) for a in rng.normal(size=(3, 5, 4))]
    before = [to_host(a).copy() for a in codes]
    loss, cache = triplet_hinge_forward(*codes, alpha=numpy.float64(0.5))
    grads = triplet_hinge_backward(xp.ones_like(loss), cache)
    assert [a.dtype for a in (loss, *grads)] == [dtype] * 4
    for a, b in zip(codes, before, strict=True):
        numpy.testing.assert_array_equal(to_host(a), b)


def test_sentences(rng):
    a, b, c = rng.normal(size=(3, 5, 4))
    with raises(TypeError, "e_n must be a NumPy or CuPy array, not list"):
        triplet_hinge_forward(a.tolist(), b, c)
    with raises(ValueError, "e_m must have shape (P, D) with P = 5, not (4, 4)"):
        triplet_hinge_forward(a, b[:4], c)
    with raises(ValueError, "e_rand must have shape (P, D) with D = 4, not (5, 3)"):
        triplet_hinge_forward(a, b, c[:, :3])
    with raises(TypeError, "e_rand and e_n must be on the same device, not one on the host and one on the GPU"):
        triplet_hinge_forward(a, b, strict.asarray(c))
    with raises(ValueError, "alpha must be a finite number, 0 or more, not -1"):
        triplet_hinge_forward(a, b, c, alpha=-1)
    with raises(ValueError, "e_n must have shape (P, D) with P = 3, not (5, 4)"):
        triplet_hinge_backward(numpy.ones(3), triplet_hinge_forward(a, b, c)[1])
