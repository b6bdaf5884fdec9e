"""The check behind each exercise: `f = check("04.1", my_function)`.

It runs your function beside the package's own on small cases, says the largest difference of each result, and, if they
differ, looks whether yours does what a well-known mistake does. You get your function back if it is right, and the
package's if it is not: so a notebook always runs to its end.
"""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-9  # of the largest entry, where that is above 1; the cases are float64


class Mistake(NamedTuple):
    function: object  # does what the mistake does
    hint: str  # names it, and asks the question that leads out


class Exercise(NamedTuple):
    solution: object  # the package's function, or one made of them
    cases: object  # () -> list of tuples of arguments
    results: tuple  # the names of what the function gives
    mistakes: tuple = ()  # Mistake, ...


def exercises():
    """Every exercise of every lesson, by its number."""
    found = {}
    for path in sorted((Path(__file__).parent / "exercises").glob("lesson_*.py")):
        found |= import_module(f"exercises.{path.stem}").EXERCISES
    return found


def check(name, function):
    """Compare the function with the package's. Prints the verdict; gives the function that the notebook goes on with.

    Raises KeyError for a number that no exercise has.
    """
    exercise = import_module(f"exercises.lesson_{name[:2]}").EXERCISES[name]
    problem = _problem(exercise, function)
    if problem is None:
        print(f"{name} right. {_differences(exercise, function)}")
        return function
    print(f"{name} {problem}\n{name} goes on with the package's function.")
    return exercise.solution


def _problem(exercise, function):
    """A sentence about what is wrong; None if nothing is."""
    for case in exercise.cases():
        expected = _as_tuple(exercise.solution(*_copies(case)))
        try:
            given = function(*_copies(case))
            shapes = [np.shape(g) for g in _as_tuple(given)]
        except NotImplementedError:
            return "is still to be written."
        except Exception as error:  # whatever a learner's function may raise
            return f"stops with {type(error).__name__}: {error}\n     for arguments of {_shapes(case)}"
        if given is None or given is Ellipsis:
            return "gives nothing yet: does your function end with `return`?"
        given = _as_tuple(given)
        if len(given) != len(expected):
            return f"gives {len(given)} results; it should give {len(expected)}: {', '.join(exercise.results)}."
        for result, shape, e in zip(exercise.results, shapes, expected, strict=True):
            if shape != np.shape(e):
                return (f"{result} has the shape {shape}; it should be {np.shape(e)}, for arguments of "
                        f"{_shapes(case)}.{_hint(exercise, function)}")
    if _largest(exercise, function) > TOLERANCE:
        return f"not yet. {_differences(exercise, function)}{_hint(exercise, function)}"
    return None


def _hint(exercise, function):
    """The hint of the mistake that does what the function does, in every case."""
    for mistake in exercise.mistakes:
        if _agree(exercise, function, mistake.function):
            return f"\n     Hint: {mistake.hint}"
    return ""


def _agree(exercise, function, other):
    for case in exercise.cases():
        try:
            ours = _as_tuple(function(*_copies(case)))
        except Exception:  # in a later case than the one that was reported
            return False
        theirs = _as_tuple(other(*_copies(case)))
        if len(ours) != len(theirs) or any(np.shape(a) != np.shape(b) for a, b in zip(ours, theirs, strict=True)):
            return False
        if max(_difference(a, b) for a, b in zip(ours, theirs, strict=True)) > TOLERANCE:
            return False
    return True


def _difference(a, b):
    """The largest difference; as a part of b's largest entry, where that is above 1. NaN is equal to NaN only."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.size == 0:
        return 0.0
    apart = np.where(np.isnan(a) & np.isnan(b), 0, np.abs(a - b))
    return float(np.nan_to_num(apart, nan=np.inf).max() / np.nanmax(np.abs(b), initial=1))


def _per_result(exercise, function):
    largest = dict.fromkeys(exercise.results, 0.0)
    for case in exercise.cases():
        results = zip(exercise.results, _as_tuple(function(*_copies(case))),
                      _as_tuple(exercise.solution(*_copies(case))), strict=True)
        for name, given, expected in results:
            largest[name] = max(largest[name], _difference(given, expected))
    return largest


def _largest(exercise, function):
    return max(_per_result(exercise, function).values())


def _differences(exercise, function):
    parts = [f"{name} {value:.1e}" for name, value in _per_result(exercise, function).items()]
    return f"Largest difference: {', '.join(parts)}."


def _as_tuple(results):
    return results if isinstance(results, tuple) else (results,)


def _copies(case):
    """A function that writes into its arguments must not spoil the next one's."""
    return [a.copy() if isinstance(a, np.ndarray) else a for a in case]


def _shapes(case):
    return ", ".join(f"shape {a.shape}" if isinstance(a, np.ndarray) else getattr(a, "__name__", repr(a)) for a in case)
