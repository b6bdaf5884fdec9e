"""Mutants: mistakes planted into the package one at a time, and the tests that each is caught.

A test module calls `mutants_of()` once, marks what plants a mistake with the decorator that it gives, and then
takes the three tests from `checked_by`.
"""

import numpy
import pytest


def mutants_of():
    """An empty register of mutants, and the decorator that adds to it."""
    mutants = {}

    def mutant(caught, deceived=""):
        """Name a function that plants a mistake, and the checks that must fail and pass, separated by `; `."""
        def add(plant):
            mutants[plant.__name__] = plant, caught.split("; "), [name for name in deceived.split("; ") if name]
            return plant
        return add

    return mutants, mutant


def checked_by(checks, mutants):
    """Three tests: the package passes every check; each mutant fails those that it names, and passes the others."""

    @pytest.mark.parametrize("name", checks)
    def the_package_passes(xp, name):
        checks[name](xp)

    @pytest.mark.parametrize("name, check", [(name, check) for name, (_, caught, _) in mutants.items()
                                             for check in caught])
    def caught(monkeypatch, name, check):
        mutants[name][0](monkeypatch)
        with pytest.raises(AssertionError):
            checks[check](numpy)

    @pytest.mark.parametrize("name, check", [(name, check) for name, (*_, passed) in mutants.items()
                                             for check in passed])
    def deceived(monkeypatch, name, check):
        mutants[name][0](monkeypatch)
        checks[check](numpy)

    return the_package_passes, caught, deceived
