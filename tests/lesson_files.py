"""The lessons' files, for the tests of exercises and of notebooks."""

import ast
from pathlib import Path

import pytest

LESSONS = Path(__file__).parents[1] / "lessons"
NOTEBOOKS = sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))


def checks():
    """The module of that name, which stands beside the notebooks, as do those that it imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LESSONS))
        import checks

        checks.exercises()  # imports them all

    return checks


def names_of_exercises():
    """The numbers of all exercises, read without running them."""
    for path in sorted((LESSONS / "exercises").glob("lesson_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXERCISES":
                yield from (key.value for key in node.value.keys)
