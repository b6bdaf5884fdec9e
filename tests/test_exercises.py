"""The exercises of the lessons tell right from wrong, and name the mistake."""

import numpy as np
import pytest
from lesson_files import checks, names_of_exercises

every_exercise = pytest.mark.parametrize("name", list(names_of_exercises()))


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


def divide(size):
    return 1 / 0


@pytest.mark.parametrize("function, said", [
    (lambda size: write_nothing(), "04.1 is still to be written."),
    (lambda size: None, "04.1 gives nothing yet: does your function end with `return`?"),
    (lambda size: ..., "04.1 gives nothing yet: does your function end with `return`?"),
    (divide, "04.1 stops with ZeroDivisionError: division by zero\n     in the line `return 1 / 0`, for arguments of "
             "(3, 5)\n04.1 goes on"),
    (lambda size: (np.ones((3, 15)), 1), "04.1 gives 2 results; it should give 1: G."),
    (lambda size: np.ones((15, 3)), "04.1 G has the shape (15, 3); it should be (3, 15), for arguments of (3, 5)."),
    (lambda size: [np.ones(3), np.ones(4)], "04.1 stops with ValueError: "),
    (lambda size: "G", "04.1 stops with ValueError: could not convert string to float: 'G'\n     for arguments of "),
    (lambda size: [None], "04.1 G has the shape (1,); it should be (3, 15)"),
    (lambda size: np.ones((15, 3)) if size == (3, 5) else 1 / 0, "04.1 G has the shape (15, 3); it should be (3, 15)"),
    (lambda size: np.full((3, size[0] * size[1]), np.nan), "04.1 not yet. Largest difference: G inf."),
    (lambda size: np.full((3, size[0] * size[1]), 101.0), "04.1 not yet. Largest difference: G 1.0e+02."),
], ids=["stub", "None", "Ellipsis", "raises", "too many", "shape", "ragged", "text", "hollow", "later",
        "NaN", "far"])
def test_what_a_check_says(function, said, capsys):
    solution = checks().exercises()["04.1"].solution
    assert checks().check("04.1", function) is solution
    assert capsys.readouterr().out.startswith(said)


def test_what_a_check_says_where_no_hint_fits(capsys):
    def only_the_ones(size):
        G = checks().exercises()["04.1"].solution(size)
        G[:2] = [[7], [8]]
        return G

    checks().check("04.1", only_the_ones)
    assert "\n     G: 15 of 45 entries are right; G[0, 0] is 7, and should be -1.\n" in capsys.readouterr().out


def moves_in_place(p, v, g, lr, momentum):
    v *= momentum
    v += g
    p -= lr * v
    return p, v


@pytest.mark.parametrize("name, function, said", [
    ("10.1", moves_in_place, "your function changes the entries of its argument p: work on a copy"),
    ("11.2", lambda r2: np.where(r2 > 0, r2 * np.log(r2), 0), "on the way NumPy warns: divide by zero"),
    ("11.2", lambda r2: np.nan_to_num(r2 * np.log(r2)), "on the way NumPy warns: divide by zero"),
])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_right_results_of_a_careless_function(name, function, said, capsys):
    assert checks().check(name, function) is checks().exercises()[name].solution
    assert capsys.readouterr().out.startswith(f"{name} not yet. The results are right, but {said}")


def test_a_list_of_results_is_as_good_as_a_tuple(capsys):
    solution = checks().exercises()["09.2"].solution
    checks().check("09.2", lambda D: list(solution(D)))
    assert capsys.readouterr().out.startswith("09.2 right.")


# Mistakes of habit, on an exercise that has no mistakes of its own.

def products(a, b, c):
    """Two results of three arguments, of which a and c have one shape."""
    return a @ b, a - 2 * c


def writes(a, b, c):
    a[0] = 0
    return products(a, b, c)


def arguments():
    rng = np.random.default_rng(0)
    return [tuple(rng.normal(size=shape) for shape in ((3, 4), (4, 2), (3, 4))) for _ in range(2)]


@pytest.mark.parametrize("function, hint", [
    (lambda a, b, c: products(a, b, c)[::-1], "the results are right, but in another order: it should be p, d."),
    (lambda a, b, c: ((a @ b).T, a - 2 * c), "p is right, but its axes stand in another order."),
    (lambda a, b, c: ((a @ b).ravel(), a - 2 * c), "the numbers of p are right and in the right order; only the "),
    (lambda a, b, c: (a @ b / 0, a - 2 * c), "p holds NaN or infinity"),
    (lambda a, b, c: (a @ b, 2 * c - a), "d has the wrong sign"),
    (lambda a, b, c: (a @ b / 3, a - 2 * c), "p is 0.3333 times what it should be, everywhere."),
    (lambda a, b, c: (a @ b * a[0, 0], a - 2 * c), "p is a multiple of what it should be: 0.1257, "),
    (lambda a, b, c: (a @ b, a - 2 * c + 1), "d is off by 1 everywhere."),
    (lambda a, b, c: products(c, b, a), "you took a for c, and c for a."),
    (lambda a, b, c: (a @ b, a - 2), "c has no effect on your d. What is it for?"),
    (writes, "your function changes the entries of its argument a: "),
    (lambda a, b, c: ((a @ b)[::-1], a - 2 * c), "p holds the right numbers, but not in their places: "),
    (lambda *case: ((case[0] @ case[1]), case[0]), "argument 3 has no effect on your d. What is it for?"),
    (lambda a, b, c: (a @ b, a - 2 * c * c), ""),
    (products, ""),
], ids=["order", "axes", "shape", "NaN", "sign", "factor", "factors", "offset", "exchanged", "unused", "written",
        "places", "no names", "other", "right"])
@np.errstate(divide="ignore")
def test_a_mistake_of_habit_is_named(function, hint):
    import habits  # found through in_lessons only

    said = habits.hint(checks().Exercise(products, arguments, ("p", "d")), function)
    assert said.startswith(hint) if hint else said == ""


def test_of_whole_numbers_only_the_order_is_tried():
    import habits  # found through in_lessons only

    exercise = checks().Exercise(lambda index, a: a[index], lambda: [(np.array([2, 0, 1]), np.arange(1.0, 4))], ("v",))
    said = habits.hint(exercise, lambda index, a: a)
    assert said == "the order of the entries of index makes no difference to your v. Should it not?"


@pytest.mark.parametrize("function, hint", [
    (lambda a, b, c: a if a > 0 else c, "`if`, `and`, `not`"),
    (lambda a, b, c: max(a, c), "`if`, `and`, `not`"),
    (lambda a, b, c: int(a), "`int`, `float`"),
    (lambda a, b, c: np.max(a, c), "one whole number"),
    (lambda a, b, c: a[np.floor(b)], "np.floor and np.round"),
    (lambda a, b, c: a[0.0], "an index has type int"),
    (lambda a, b, c: a[3], "an index lies outside"),
    (lambda a, b, c: np.array([a, b]), "the parts have different shapes"),
    (lambda a, b, c: a + b, "two shapes do not fit"),
    (lambda a, b, c: np.zeros(3).__setitem__(slice(2), a[0]), "what is written"),
    (lambda a, b, c: a @ c, "in a matrix product"),
    (lambda a, b, c: a @ 2.0, "`@` is for matrices"),
    (lambda a, b, c: a.reshape(5), "a reshape keeps"),
    (lambda a, b, c: dict([a]), ""),
    (lambda a, b, c: (lambda x, y: x)(*a), ""),
    (lambda a, b, c: [x for x, y in a], "there are more names"),
    (lambda a, b, c: a[3:].max(), "this slice is empty"),
    (lambda a, b, c: np.broadcast_to(a, (2, 3, 4)).__setitem__(0, 1), "this array may not be written to"),
])
def test_what_python_says_is_told_in_plain_words(function, hint):
    import habits  # found through in_lessons only

    with pytest.raises((TypeError, ValueError, IndexError)) as raised:
        function(*arguments()[0])
    where, meaning = habits.of_error(raised.value, function)
    assert where.startswith("in the line `") and (meaning.startswith(hint) if hint else meaning == "")
