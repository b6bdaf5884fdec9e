"""The notebooks: every one runs as it is shipped, and shows its mathematics on any code host."""

import re

import nbformat
import pytest
from latex2mathml.converter import convert
from lesson_files import LESSONS, NOTEBOOKS, names_of_exercises
from nbclient import NotebookClient

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


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


# Mathematics. A code host reads a notebook's Markdown first, then its mathematics: no formula may look like Markdown.

FORMULA = re.compile(r"\$\$(?P<display>.+?)\$\$|(?<!\$)\$(?P<inline>[^$]+)\$(?!\$)", flags=re.DOTALL)
REFUSED = {
    "a backslash before a sign: Markdown removes it (write \\cr, \\lVert; leave thin spaces out)": r"\\[^a-zA-Z]",
    "an underscore that may begin an emphasis (write it behind a letter)": r"(?:^|[^a-zA-Z0-9])_",
    "an asterisk": r"\*",
    "an opening HTML tag": r"<\S",
    "a link": r"\]\(",
    "a command that not every host has": r"\\(?:operatorname|bm|boldsymbol|tag|label|require|newcommand|def|href)\b",
    "an environment that not every host has": r"\\begin\{(?!pmatrix|cases)",
}


def formulas(text):
    """(formula, what stands before it, what stands after it, whether it stands in a line of text)."""
    text = re.sub(r"```.*?```|`[^`]*`", "`", text, flags=re.DOTALL)
    for found in FORMULA.finditer(text):
        yield (found["display"] or found["inline"], text[:found.start()][-1:], text[found.end():][:1],
               found["inline"] is not None)


def faults(text):
    """What is wrong with the mathematics of a Markdown text; nothing, for a good one."""
    rest = FORMULA.sub("", re.sub(r"```.*?```|`[^`]*`", "`", text, flags=re.DOTALL))
    found = ["a dollar sign without its other"] if "$" in rest else []
    found += ["brackets that some hosts do not take for mathematics"] if re.search(r"\\[(\[]", rest) else []
    for formula, before, after, inline in formulas(text):
        found += [what for what, pattern in REFUSED.items() if re.search(pattern, formula)]
        if inline and (formula != formula.strip() or "\n" in formula):
            found += ["a blank at the end of a formula in a line, or a line break in it"]
        if inline and (re.match(r"[^\s(]", before) or re.match(r"[^\s.,;:)?!]", after)):
            found += ["a formula in a line that touches a word, a hyphen or an emphasis"]
    return found


@pytest.mark.parametrize("text", [
    r"$\{a\}$", r"$a\,b$", r"$\|a\|$", r"$$a \\ b$$", r"$\underbrace{a}_b$", r"$$\max(a)_b$$", r"$a * b$", r"$a <b$",
    r"$[a](b)$",
    r"$\operatorname{a}$", r"$\bm a$", r"$$\begin{aligned} a \end{aligned}$$", r"$a", r"\(a\)", r"\[a\]",
    "$a\nb$", "$ a$", "$a$s", "x$a$", "-$a$", "*$a$*",
])
def test_mathematics_that_a_host_may_break_is_found(text):
    assert faults(text)


def test_mathematics_that_hosts_show_is_let_through():
    assert faults(r"""Let $a_i \lt b$, so ($\lVert a_{i} \rVert$) and, costs `$5 \{` aside,

        $$\begin{pmatrix} a_{ij} & 0 \cr 0 & 1 \end{pmatrix}, \quad
        \underset{c}{\underbrace{[a] = b}} \qquad (1)$$
        """) == []


@every_notebook
def test_code_hosts_show_the_mathematics(path):
    for cell in cells(path, "markdown"):
        assert faults(cell.source) == [], cell.source
        for formula, *_ in formulas(cell.source):
            shown = convert(formula)
            assert not re.search(r"<m[ion]>(?:\\|&</)", shown), formula  # a command that was not understood
