"""Mistakes of habit, which every exercise invites: told from the results, or from what Python said.

`hint` and `of_error` give one sentence, or "" where nothing fits; checks.py asks them where no mistake in the list of
the exercise does what the function does.
"""

import inspect
import traceback
from itertools import combinations, permutations

import numpy as np
from compare import agree, copies, equal, results_of

ERRORS = (  # a part of what Python or NumPy says, and what it means
    ("truth value of an array", "`if`, `and`, `not`, `max(a, b)` and `a < b < c` want one True or False; an array "
                                "holds many. What do np.where, np.maximum or a mask do with each entry?"),
    ("converted to Python scalars", "`int`, `float`, `round` and the functions of `math` take one number; this is an "
                                    "array. Which NumPy function does the same to each entry?"),
    ("scalar array", "one whole number is asked for here; this is an array. (`np.max(a, b)` takes b for an axis; the "
                     "larger of two, entry by entry, is np.maximum.)"),
    ("indices must be of integer", "np.floor and np.round give whole numbers of type float; an index has type int."),
    ("only integers, slices", "an index has type int; this one has not."),
    ("is out of bounds", "an index lies outside the array. Are row and column exchanged, is the last index one too "
                         "large, or may a point lie outside? A clip or a mask keeps it in."),
    ("inhomogeneous shape", "the parts have different shapes, so they do not make one array. Is one cut short at the "
                            "edge? (The larger of two arrays, entry by entry, is np.maximum.)"),
    ("could not be broadcast", "two shapes do not fit entry by entry. Compare them from the right: is an axis missing "
                               "(keepdims=True, [:, None]), a window cut short at the edge, or should this be `@`?"),
    ("broadcast input array", "what is written has another shape than the place for it. Is a reshape missing, or is "
                              "the place cut short at the edge?"),
    ("mismatch in its core dimension", "in a matrix product the last axis of the left factor meets the last but one of "
                                       "the right. Which of the two is to be transposed, or reshaped first?"),
    ("enough dimensions", "`@` is for matrices and vectors; between numbers, and entry by entry, it is `*`."),
    ("cannot reshape", "a reshape keeps the number of entries: count them before and after."),
    ("values to unpack", "there are more names, or fewer, than parts: is this what you think it is?"),
    ("zero-size array", "this slice is empty: it begins beyond the edge. How many windows fit?"),
    ("read-only", "this array may not be written to: work on a copy."),
)


def of_error(error, function):
    """Where the learner's function stopped, as "in the line `...`, ", and what the error means."""
    name = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.line for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name and frame.line]
    meaning = next((text for part, text in ERRORS if part in str(error)), "")
    return f"in the line `{lines[-1]}`, " if lines else "", meaning


def hint(exercise, function):
    """What the results betray about a function that gives something wrong, but does not stop."""
    cases = exercise.cases()
    try:
        count = len(exercise.results)
        pairs = [(results_of(function, case, count), results_of(exercise.solution, case, count)) for case in cases]
    except Exception:  # in a later case than the one that was reported
        return ""
    if any(len(ours) != count for ours, _ in pairs):
        return ""
    looks = _order_of_results, _axes, _not_a_number, _sign, _factor, _offset
    for found in (look(exercise.results, pairs) for look in looks):
        if found:
            return found
    asked = _exchanged_arguments, _unused_argument, _written_argument
    found = next((found for found in (ask(exercise, function, cases) for ask in asked) if found), "")
    return found or _same_numbers(exercise.results, pairs)


def _per_result(names, pairs):
    """For each result that is wrong somewhere: its name and [(ours, right), ...], an entry for each case."""
    for k, name in enumerate(names):
        of_one = [(ours[k], right[k]) for ours, right in pairs]
        if not all(equal(*both) for both in of_one):
            yield name, of_one


def _order_of_results(names, pairs):
    for order in permutations(range(len(names))):
        if list(order) != sorted(order) and all(equal(ours[k], right[j]) for ours, right in pairs
                                                for j, k in enumerate(order)):
            return f"the results are right, but in another order: it should be {', '.join(names)}."
    return ""


def _axes(names, pairs):
    for name, both in _per_result(names, pairs):
        if any(a.shape != b.shape for a, b in both) and all(a.size == b.size for a, b in both):
            if all(_transposed(a, b) for a, b in both):
                return f"{name} is right, but its axes stand in another order."
            if all(equal(a.ravel(), b.ravel()) for a, b in both):
                return f"the numbers of {name} are right and in the right order; only the shape is not."
    return ""


def _transposed(a, b):
    return a.ndim == b.ndim <= 5 and any(equal(a.transpose(axes), b) for axes in permutations(range(a.ndim)))


def _not_a_number(names, pairs):
    for name, both in _per_result(names, pairs):
        if any(np.isfinite(b).all() and not np.isfinite(a).all() for a, b in both):
            return f"{name} holds NaN or infinity: by what do you divide, or of what do you take a logarithm?"
    return ""


def _entries(both):
    """All entries of all cases in a row, ours and right; empty where a shape is wrong."""
    if any(a.shape != b.shape for a, b in both):
        return np.empty(0), np.empty(0)
    return tuple(np.concatenate([x.ravel() for x in side]) for side in zip(*both, strict=True))


def _sign(names, pairs):
    for name, both in _per_result(names, pairs):
        ours, right = _entries(both)
        if ours.size and equal(ours, -right):
            return f"{name} has the wrong sign, and nothing else is wrong with it."
    return ""


def _factor(names, pairs):
    for name, both in _per_result(names, pairs):
        factor = _one_factor(*_entries(both))
        if factor is not None:
            return f"{name} is {factor:.4g} times what it should be, everywhere. Which factor is that?"
        factors = [_one_factor(*_entries([each])) for each in both]
        if None not in factors:
            said = ", ".join(f"{factor:.4g}" for factor in factors)
            return f"{name} is a multiple of what it should be: {said} times in the {len(factors)} cases. Of what?"
    return ""


def _one_factor(ours, right):
    """c with ours = c right, in two or more entries that are not 0; None if there is none."""
    there = right != 0
    if there.sum() < 2 or not (ours[there] / right[there])[0]:
        return None
    c = (ours[there] / right[there])[0]
    return c if equal(ours, c * right) else None


def _offset(names, pairs):
    for name, both in _per_result(names, pairs):
        ours, right = _entries(both)
        if ours.size > 2 and np.ptp(right) > 0 and equal(ours, right + (ours - right)[0]):
            return f"{name} is off by {(ours - right)[0]:.4g} everywhere."
    return ""


def _names_of(function, cases):
    """What the function calls its arguments; if it takes them all in one tuple, their numbers."""
    names = list(inspect.signature(function).parameters)[:len(cases[0])]
    return names if len(names) == len(cases[0]) else [f"argument {k + 1}" for k in range(len(cases[0]))]


def _exchanged_arguments(exercise, function, cases):
    """Whether the function does right by two arguments of one shape, each taken for the other."""
    names = _names_of(function, cases)
    for i, j in combinations(range(len(names)), 2):
        if all(np.shape(case[i]) == np.shape(case[j]) and np.ndim(case[i]) > 0 for case in cases):

            def exchanged(*case, i=i, j=j):
                case = list(case)
                case[i], case[j] = case[j], case[i]
                return exercise.solution(*case)

            if agree(function, exchanged, cases, len(exercise.results)):
                return f"you took {names[i]} for {names[j]}, and {names[j]} for {names[i]}."
    return ""


def _unused_argument(exercise, function, cases):
    """Whether a result ought to change with the entries of an argument, and never does."""
    rng = np.random.default_rng(0)
    for k, argument in enumerate(_names_of(function, cases)):
        seen = [_change_with(exercise, function, case, k, rng) for case in cases for _ in range(6)]
        for j, name in enumerate(exercise.results):
            if any(right[j] for _, right in seen) and not any(ours[j] for ours, _ in seen):
                if cases[0][k].dtype.kind == "f":
                    return f"{argument} has no effect on your {name}. What is it for?"
                return f"the order of the entries of {argument} makes no difference to your {name}. Should it not?"
    return ""


def _change_with(exercise, function, case, k, rng):
    """For each result, whether it changes with the entries of argument k: of the function, and of the solution."""
    if not isinstance(case[k], np.ndarray):
        return [[False] * len(exercise.results)] * 2
    changed = copies(case)
    changed[k] = rng.permutation(case[k].ravel()).reshape(case[k].shape)
    if changed[k].dtype.kind == "f":
        changed[k] *= 0.75
    try:
        return [[not equal(a, b) for a, b in zip(*(results_of(f, c, len(exercise.results)) for c in (case, changed)),
                                                 strict=True)] for f in (function, exercise.solution)]
    except Exception:  # an order of the entries that one of them cannot take says nothing
        return [[True] * len(exercise.results)] * 2


def careless(exercise, function):
    """What is wrong with a function whose results are right, in a sentence; or nothing."""
    found = _written_argument(exercise, function, exercise.cases())
    if found or not exercise.silent:
        return found
    try:
        with np.errstate(all="raise"):
            for case in exercise.cases():
                function(*copies(case))
    except FloatingPointError as error:
        return f"on the way NumPy warns: {error}. Give NumPy only numbers of which it has nothing to warn."
    return ""


def _written_argument(exercise, function, cases):
    for case in cases:
        given = copies(case)
        function(*given)
        for name, a, b in zip(_names_of(function, cases), given, case, strict=True):
            if isinstance(b, np.ndarray) and not equal(a, b):
                return f"your function changes the entries of its argument {name}: work on a copy, or put them back."
    return ""


def _same_numbers(names, pairs):
    for name, both in _per_result(names, pairs):
        if all(a.shape == b.shape and a.size > 3 and equal(np.sort(a, axis=None), np.sort(b, axis=None))
               for a, b in both):
            return (f"{name} holds the right numbers, but not in their places: are two indices exchanged, or was "
                    "something reshaped that should be transposed?")
    return ""
