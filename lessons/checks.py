"""The check behind each exercise: `f = check("04.1", my_function)`.

It runs your function beside the package's own on small cases, says the largest difference of each result, and, if they
differ, looks whether yours does what a well-known mistake does. You get your function back if it is right, and the
package's if it is not: so a notebook always runs to its end.
"""

from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import habits
import numpy as np
from compare import TOLERANCE, agree, apart, as_tuple, copies, difference


class Mistake(NamedTuple):
    function: object  # does what the mistake does
    hint: str  # names it, and asks the question that leads out


class Exercise(NamedTuple):
    solution: object  # the package's function, or one made of them
    cases: object  # () -> list of tuples of arguments
    results: tuple  # the names of what the function gives
    mistakes: tuple = ()  # Mistake, ...
    silent: bool = False  # whether a warning of NumPy's is a mistake


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
        expected = as_tuple(exercise.solution(*copies(case)))
        try:
            given = function(*copies(case))
            if given is None or given is Ellipsis:
                return "gives nothing yet: does your function end with `return`?"
            given = as_tuple(given, len(expected))
            shapes = [np.asarray(g, dtype=float).shape for g in given]
        except NotImplementedError:
            return "is still to be written."
        except Exception as error:  # whatever a learner's function may raise
            where, meaning = habits.of_error(error, function)
            return (f"stops with {type(error).__name__}: {str(error).strip()}\n     {where}for arguments of "
                    f"{_shapes(case)}{_say(meaning)}")
        if len(given) != len(expected):
            results = "1 result" if len(given) == 1 else f"{len(given)} results"
            return f"gives {results}; it should give {len(expected)}: {', '.join(exercise.results)}."
        for result, shape, e in zip(exercise.results, shapes, expected, strict=True):
            if shape != np.shape(e):
                return (f"{result} has the shape {shape}; it should be {np.shape(e)}, for arguments of "
                        f"{_shapes(case)}.{_hint(exercise, function)}")
    if max(_largest(exercise, function, difference).values()) > TOLERANCE:
        more = _hint(exercise, function) or _first_wrong(exercise, function)
        return f"not yet. {_differences(exercise, function)}{more}"
    careless = habits.careless(exercise, function)
    return f"not yet. The results are right, but {careless}" if careless else None


def _hint(exercise, function):
    """The hint of the mistake that does what the function does, in every case; or one that fits any exercise."""
    for mistake in exercise.mistakes:
        if agree(function, mistake.function, exercise.cases(), len(exercise.results)):
            return _say(mistake.hint)
    return _say(habits.hint(exercise, function))


def _say(hint):
    return f"\n     Hint: {hint}" if hint else ""


def _results(exercise, function):
    """(name, given, expected) of each result, case by case."""
    for case in exercise.cases():
        yield from zip(exercise.results, as_tuple(function(*copies(case)), len(exercise.results)),
                       as_tuple(exercise.solution(*copies(case))), strict=True)


def _largest(exercise, function, measure):
    """The largest difference of each result, by such a measure."""
    largest = dict.fromkeys(exercise.results, 0.0)
    for name, given, expected in _results(exercise, function):
        largest[name] = max(largest[name], measure(given, expected))
    return largest


def _differences(exercise, function):
    parts = [f"{name} {value:.1e}" for name, value in _largest(exercise, function, apart).items()]
    return f"Largest difference: {', '.join(parts)}."


def _first_wrong(exercise, function):
    """Where nothing is known about a mistake: how much is right, and one entry that is not."""
    for name, given, expected in _results(exercise, function):
        given, expected = np.asarray(given, dtype=float), np.asarray(expected, dtype=float)
        wrong = ~(np.abs(given - expected) <= TOLERANCE * max(1, np.abs(expected).max()))
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            where = f"{name}[{', '.join(map(str, at))}]" if at else name
            share = f"{name}: {(~wrong).sum()} of {wrong.size} entries are right; " if at else ""
            return f"\n     {share}{where} is {given[at] + 0:.5g}, and should be {expected[at] + 0:.5g}."
    return ""


def _shapes(case):
    return ", ".join(f"shape {a.shape}" if isinstance(a, np.ndarray) else getattr(a, "__name__", repr(a)) for a in case)
