"""What two functions give for the same cases, side by side: for checks.py and habits.py."""

import numpy as np

TOLERANCE = 1e-9  # of the largest entry, where that is above 1; the cases are float64


def as_tuple(results, count=1):
    """Results as a tuple; a list of so many of them counts as one, too."""
    several = isinstance(results, tuple) or (count > 1 and isinstance(results, list) and len(results) == count)
    return tuple(results) if several else (results,)


def copies(case):
    """A function that writes into its arguments must not spoil the next one's."""
    return [a.copy() if isinstance(a, np.ndarray) else a for a in case]


def results_of(function, case, count=1):
    """The results as arrays of numbers. Raises whatever the function raises."""
    return tuple(np.asarray(r, dtype=float) for r in as_tuple(function(*copies(case)), count))


def apart(a, b):
    """The largest difference of two entries. NaN is equal to NaN only."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    each = np.where(np.isnan(a) & np.isnan(b), 0, np.abs(a - b))
    return float(np.nan_to_num(each, nan=np.inf).max(initial=0))


def difference(a, b):
    """The same as a part of b's largest entry, where that is above 1."""
    return apart(a, b) / float(np.nanmax(np.abs(np.asarray(b, dtype=float)), initial=1))


def equal(a, b):
    """Whether two arrays have one shape and, but for rounding, the same entries."""
    return np.shape(a) == np.shape(b) and difference(a, b) <= TOLERANCE


def agree(function, other, cases, count=1):
    """Whether both give the same in every case. A function that stops agrees with none."""
    try:
        pairs = [(results_of(function, case, count), results_of(other, case, count)) for case in cases]
    except Exception:  # whatever a learner's function may raise, in a later case than the one that was reported
        return False
    return all(len(a) == len(b) and all(map(equal, a, b)) for a, b in pairs)
