"""Check a forward/backward pair: finite differences entry by entry, kinks named, and the adjoint test.

Runs on the host's NumPy, whichever device the pair under test runs on.
"""

import inspect

import numpy as np

from stn_scratch.backend import get_array_module, to_host
from stn_scratch.validate import check_choice

KINK = 1e-3  # one-sided slopes that differ by more, relative to their size, are two slopes


def check_gradients(forward, backward, args, *, step=1e-6, tolerance=1e-7, side="central", entries=40, seed=0,
                    **options):
    """Compare `backward` with finite differences of `forward`, for every differentiable argument.

    forward(*args, **options) -> y, cache and backward(dy, cache) -> a gradient for each of args, in their order
    args     float64 arrays (finite differences in float32 see only rounding)
    side     "central" (the points must be off every kink), or "right" / "left": the one-sided slope, at a kink
    entries  how many entries of each argument are tried, chosen at random
    step, tolerance, seed   of the difference; of the error relative to max(1, both values); of the random draws

    Gives the largest error found. Raises AssertionError with the argument's name, both values and the error, and
    says so if a central difference straddles a kink; TypeError if an argument is not float64; ValueError for another
    side.
    """
    check_choice("side", side, ("central", "right", "left"))
    if not isinstance(args, tuple | list):
        raise TypeError(f"args must be a tuple of arrays, not {type(args).__name__}")
    rng = np.random.default_rng(seed)
    xp = get_array_module(*args)
    names = list(inspect.signature(forward).parameters)[:len(args)]
    for name, a in zip(names, args, strict=True):
        if a.dtype != np.float64:
            raise TypeError(f"{name} must be float64 for finite differences, not {a.dtype.name}")
    y, cache = forward(*args, **options)
    dy = rng.normal(size=y.shape)
    grads = backward(xp.asarray(dy), cache)
    grads = grads if isinstance(grads, tuple) else (grads,)
    if len(grads) != len(args):
        raise AssertionError(f"backward gives {len(grads)} gradients for {len(args)} arguments: {', '.join(names)}")
    worst = 0.0
    for k, (name, grad) in enumerate(zip(names, grads, strict=True)):
        host = to_host(args[k])

        def projected(shift, index, k=k, host=host):
            """<dy, forward> as a function of one entry."""
            moved = host.copy()
            moved[index] += shift
            y_moved, _ = forward(*args[:k], xp.asarray(moved), *args[k + 1:], **options)
            return to_host(y_moved)

        if grad.shape != host.shape:
            raise AssertionError(f"the gradient of {name} has shape {grad.shape}, not {host.shape}")
        for flat in rng.permutation(host.size)[:entries]:
            index = np.unravel_index(flat, host.shape)
            where = f"{name}[{', '.join(map(str, index))}]"
            numeric = _slope(lambda shift, index=index: projected(shift, index), to_host(y), dy, step, side, where)
            analytic = float(to_host(grad)[index])
            error = abs(numeric - analytic) / max(1.0, abs(numeric), abs(analytic))
            if not error <= tolerance:
                raise AssertionError(f"{where}: backward gives {analytic:.9g}, finite differences {numeric:.9g}, "
                                     f"relative error {error:.2g} > {tolerance:.2g}")
            worst = max(worst, error)
    return worst


def _slope(f, y, dy, step, side, where):
    """The slope of <dy, f(shift)> at shift 0, with f(0) = y; differences first, then the sum: nothing cancels."""
    right = ((f(step) - y) * dy).sum() / step if side != "left" else None
    left = ((y - f(-step)) * dy).sum() / step if side != "right" else None
    if side == "right":
        return right
    if side == "left":
        return left
    if abs(right - left) > KINK * max(1.0, abs(right), abs(left)):
        raise AssertionError(f"{where}: a kink: the slope is {right:.9g} to the right and {left:.9g} to the left; "
                             "move the point, or check one side with side='right' or side='left'")
    return (right + left) / 2


def adjoint_error(forward, backward, args, *, argument=0, seed=0, **options):
    """|<A u, v> - <u, A^T v>| / (|A u| |v|) for a pair that is linear in args[argument], A u = forward(...).

    No step size, no tolerance to choose: for a right backward the result is rounding, below 1e-12 in float64.
    """
    rng = np.random.default_rng(seed)
    xp = get_array_module(*args)
    y, cache = forward(*args, **options)
    v = rng.normal(size=y.shape)
    grads = backward(xp.asarray(v), cache)
    grad = grads[argument] if isinstance(grads, tuple) else grads
    y, u, grad = to_host(y), to_host(args[argument]), to_host(grad)
    return abs((y * v).sum() - (u * grad).sum()) / (np.linalg.norm(y) * np.linalg.norm(v))
