"""The checker itself: what it must let through, and what it must catch, by name."""

import re

import numpy
import pytest

from stn_scratch.backend import get_array_module, to_host
from stn_scratch.gradcheck import adjoint_error, check_gradients


def forward(x, W, *, power=2):
    return (x ** power) @ W, (x, W, power)


def backward(dy, cache):
    x, W, power = cache
    return dy @ W.T * power * x ** (power - 1), (x ** power).T @ dy


def absolute_forward(x):
    return abs(x), x


def absolute_backward(dy, x):
    return dy * ((x > 0) * 2.0 - 1)  # at 0 the left slope, -1


def arguments(xp):
    rng = numpy.random.default_rng(5)
    return [xp.asarray(rng.normal(size=shape)) for shape in ((4, 3), (3, 5))]


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_right_pair_passes(xp, power):
    error = check_gradients(forward, backward, arguments(xp), power=power)
    assert isinstance(error, float) and 0 <= error <= 1e-7


def test_arguments_are_not_written_to(xp):
    args = arguments(xp)
    before = [to_host(a).copy() for a in args]
    check_gradients(forward, backward, args)
    for a, b in zip(args, before, strict=True):
        numpy.testing.assert_array_equal(to_host(a), b)


@pytest.mark.parametrize("mistake, name", [
    (lambda dx, dW: (-dx, dW), "x"),
    (lambda dx, dW: (dx / 2, dW), "x"),
    (lambda dx, dW: (dx, -dW), "W"),
    (lambda dx, dW: (dx, dW * (1 + 1e-5)), "W"),
    (lambda dx, dW: (dx * float("nan"), dW), "x"),
], ids=["sign of dx", "factor of dx", "sign of dW", "one in 100,000", "NaN"])
def test_a_mistake_is_named(xp, mistake, name):
    args = arguments(xp)
    with pytest.raises(AssertionError) as caught:
        check_gradients(forward, lambda dy, cache: mistake(*backward(dy, cache)), args)
    number = r"(-?[\d.]+(?:e-?\d+)?|nan)"
    found = re.fullmatch(rf"(\w)\[(\d), (\d)\]: backward gives {number}, finite differences {number}, "
                         r"relative error (\S+) > 1e-07", str(caught.value))
    assert found and found[1] == name
    # both values are the true ones of that entry
    dy = numpy.random.default_rng(0).normal(size=(4, 5))
    true = backward(dy, (*map(to_host, args), 2))
    index = int(found[2]), int(found[3])
    wrong = mistake(*true)["xW".index(name)][index]
    numpy.testing.assert_allclose(float(found[4]), wrong, rtol=1e-7)
    numpy.testing.assert_allclose(float(found[5]), true["xW".index(name)][index], rtol=1e-7)


def test_one_wrong_entry_among_few_is_found(xp):
    def almost(dy, cache):
        dx, dW = backward(dy, cache)
        dW[2, 4] += 1
        return dx, dW

    with pytest.raises(AssertionError, match=r"^W\[2, 4\]: backward gives"):
        check_gradients(forward, almost, arguments(xp), entries=15)


def test_entries_and_seed_choose(xp):
    """Of one entry an error elsewhere may be missed; the seed says which entry it is."""
    def one_wrong(dy, cache):
        dx, dW = backward(dy, cache)
        dx[0, 0] += 1
        return dx, dW

    outcomes = set()
    for seed in range(40):
        try:
            outcomes.add(check_gradients(forward, one_wrong, arguments(xp), entries=1, seed=seed) <= 1e-7)
        except AssertionError:
            outcomes.add("caught")
    assert outcomes == {True, "caught"}


def test_a_loose_tolerance_is_the_callers_choice(xp):
    def a_little_wrong(dy, cache):
        return tuple(1.001 * g for g in backward(dy, cache))

    assert 1e-4 < check_gradients(forward, a_little_wrong, arguments(xp), tolerance=1e-2) < 1e-2


def test_a_kink_is_named(xp):
    x = xp.asarray([[1.0, -2.0], [0.0, 3.0]])
    with pytest.raises(AssertionError, match=r"^x\[1, 0\]: a kink: the slope is \S+ to the right and \S+ to the left; "
                                             r"move the point, or check one side with side='right' or side='left'$"):
        check_gradients(absolute_forward, absolute_backward, (x,))


def test_one_array_is_no_tuple():
    with pytest.raises(TypeError, match="^args must be a tuple of arrays, not ndarray$"):
        check_gradients(absolute_forward, absolute_backward, numpy.ones(3))


def test_another_side():
    with pytest.raises(ValueError, match="^side must be one of 'central', 'right', 'left', not 'rigth'$"):
        check_gradients(absolute_forward, absolute_backward, (numpy.ones(3),), side="rigth")


def test_one_side_of_a_kink(xp):
    x = xp.asarray([[1.0, -2.0], [0.0, 3.0]])
    assert check_gradients(absolute_forward, absolute_backward, (x,), side="left") <= 1e-7
    with pytest.raises(AssertionError, match=r"^x\[1, 0\]: backward gives"):
        check_gradients(absolute_forward, absolute_backward, (x,), side="right")
    right = lambda dy, x: dy * ((x >= 0) * 2.0 - 1)  # noqa: E731
    assert check_gradients(absolute_forward, right, (x,), side="right") <= 1e-7


@pytest.mark.parametrize("name, k", [("x", 0), ("W", 1)])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_only_float64(xp, name, k, dtype):
    args = arguments(xp)
    args[k] = xp.zeros(args[k].shape, dtype=dtype)
    with pytest.raises(TypeError, match=f"^{name} must be float64 for finite differences, not {dtype}$"):
        check_gradients(forward, backward, args)


def test_a_gradient_of_another_shape(xp):
    with pytest.raises(AssertionError, match=r"^the gradient of W has shape \(5, 3\), not \(3, 5\)$"):
        check_gradients(forward, lambda dy, cache: (backward(dy, cache)[0], backward(dy, cache)[1].T), arguments(xp))


def test_a_gradient_too_few(xp):
    with pytest.raises((AssertionError, ValueError)):
        check_gradients(forward, lambda dy, cache: backward(dy, cache)[:1], arguments(xp))


def scalar_forward(x):
    return (x * x).mean(), x


def scalar_backward(dy, x):
    return dy * 2 * x / x.size


def test_a_scalar_result(xp):
    assert check_gradients(scalar_forward, scalar_backward, arguments(xp)[:1]) <= 1e-7
    with pytest.raises(AssertionError, match=r"^x\["):
        check_gradients(scalar_forward, lambda dy, x: dy * x / x.size, arguments(xp)[:1])


def linear_forward(x, W):
    return x @ W, (x, W)


def linear_backward(dy, cache):
    x, W = cache
    return dy @ W.T, x.T @ dy


@pytest.mark.parametrize("argument", [0, 1])
def test_adjoint(xp, argument):
    args = arguments(xp)
    assert adjoint_error(linear_forward, linear_backward, args, argument=argument) <= 1e-12
    for wrong in (lambda dy, c: tuple(-g for g in linear_backward(dy, c)),
                  lambda dy, c: tuple(1.01 * g for g in linear_backward(dy, c)),
                  lambda dy, c: tuple(g * 0 for g in linear_backward(dy, c))):
        assert adjoint_error(linear_forward, wrong, args, argument=argument) > 1e-5


def test_adjoint_of_one_argument_with_options(xp):
    def flip(x, *, axis):
        return get_array_module(x).flip(x, axis), axis

    def flip_back(dy, axis):
        return get_array_module(dy).flip(dy, axis)

    x = arguments(xp)[0]
    assert adjoint_error(flip, flip_back, (x,), axis=1) <= 1e-12
    assert adjoint_error(flip, lambda dy, axis: dy, (x,), axis=1) > 1e-3
