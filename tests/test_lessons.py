"""The lessons: their exercises tell right from wrong, and every notebook runs as it is shipped."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

LESSONS = Path(__file__).parents[1] / "lessons"
NOTEBOOKS = sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module", autouse=True)
def in_lessons():
    """Notebooks import `checks` and `exercises` from the folder they stand in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LESSONS))
        yield


def checks():
    import checks  # found through in_lessons only

    return checks


def names_of_exercises():
    """The numbers of all exercises, read without running them."""
    for path in sorted((LESSONS / "exercises").glob("lesson_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXERCISES":
                yield from (key.value for key in node.value.keys)


every_exercise = pytest.mark.parametrize("name", list(names_of_exercises()))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


# Exercises.

@every_exercise
def test_the_package_function_is_right(name, capsys):
    solution = checks().exercises()[name].solution

    def learners(*arguments):
        return solution(*arguments)

    assert checks().check(name, learners) is learners
    said = capsys.readouterr().out
    assert said.startswith(f"{name} right. Largest difference: ") and said.count("\n") == 1


@every_exercise
def test_each_mistake_is_found_and_named(name, capsys):
    exercise = checks().exercises()[name]
    assert len(exercise.mistakes) >= 2
    for mistake in exercise.mistakes:
        assert checks().check(name, mistake.function) is exercise.solution
        said = capsys.readouterr().out
        assert f"Hint: {mistake.hint}" in said
        assert said.endswith(f"{name} goes on with the package's function.\n")


@every_exercise
def test_the_cases_of_an_exercise_repeat(name):
    exercise = checks().exercises()[name]
    for first, second in zip(exercise.cases(), exercise.cases(), strict=True):
        for a, b in zip(first, second, strict=True):
            if not callable(a):
                np.testing.assert_array_equal(a, b)


def write_nothing():
    raise NotImplementedError


@pytest.mark.parametrize("function, said", [
    (lambda size: write_nothing(), "04.1 is still to be written."),
    (lambda size: None, "04.1 gives nothing yet: does your function end with `return`?"),
    (lambda size: ..., "04.1 gives nothing yet: does your function end with `return`?"),
    (lambda size: 1 / 0, "04.1 stops with ZeroDivisionError: division by zero\n     for arguments of (3, 5)"),
    (lambda size: (np.ones((3, 15)), 1), "04.1 gives 2 results; it should give 1: G."),
    (lambda size: np.ones((15, 3)), "04.1 G has the shape (15, 3); it should be (3, 15), for arguments of (3, 5)."),
    (lambda size: [np.ones(3), np.ones(4)], "04.1 stops with ValueError: "),
    (lambda size: np.ones((15, 3)) if size == (3, 5) else 1 / 0, "04.1 G has the shape (15, 3); it should be (3, 15)"),
    (lambda size: np.full((3, size[0] * size[1]), np.nan), "04.1 not yet. Largest difference: G "),
], ids=["stub", "None", "Ellipsis", "raises", "too many", "shape", "ragged", "later", "NaN"])
def test_what_a_check_says(function, said, capsys):
    solution = checks().exercises()["04.1"].solution
    assert checks().check("04.1", function) is solution
    assert capsys.readouterr().out.startswith(said)


# Notebooks.

def cells(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@every_notebook
def test_a_notebook_runs_as_shipped(path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # small products: threads cost more than they give
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": LESSONS}}).execute()
    warned = [output.text for cell in notebook.cells for output in cell.get("outputs", [])
              if output.get("name") == "stderr"]
    assert not warned


@every_notebook
def test_a_notebook_is_shipped_with_its_pictures(path):
    """Outputs of one clean run, short cells, and a size that a code host shows."""
    code = cells(path, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert max(len(cell.source.splitlines()) for cell in code) <= 25
    assert path.stat().st_size < 1_000_000
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_every_exercise_stands_in_its_notebook_once():
    asked = [(path.name[:2], name) for path in NOTEBOOKS for cell in cells(path, "code")
             for name in re.findall(r'= check\("(\d\d\.\d)", ', cell.source)]
    assert sorted(name for _, name in asked) == sorted(names_of_exercises())
    assert all(name.startswith(number) for number, name in asked)
