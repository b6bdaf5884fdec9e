"""Equation beside code: formulas found in comments, every line of a function in its place, pages without a network."""

import inspect
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from stn_scratch import affine_grid_backward, affine_grid_forward, sample_backward
from stn_scratch.network import Dense
from stn_scratch.reading import beside, find, page, rows
from stn_scratch.reading.mathematics import to_latex, typeset
from stn_scratch.reading.names import readable

MATH = re.compile(r"<math.*?</math>")


def squeezed(latex):
    return latex.replace(r"\,", "").replace(" ", "")


@pytest.mark.parametrize("formula, latex", [
    ("U_nm", "U_{nm}"),
    ("A_theta", r"A_{\theta}"),
    ("h31 x", "h_{31}x"),
    ("k'(x - m)", "k'(x-m)"),
    ("dV/dx", r"\frac{\partialV}{\partialx}"),
    ("dk(x - m; Phi_x)/dPhi_x", r"\frac{\partialk(x-m;\Phi_{x})}{\partial\Phi_{x}}"),
    ("d|x - m|/dx", r"\frac{\partial|x-m|}{\partialx}"),
    ("dU_nm", r"\frac{\partialL}{\partialU_{nm}}"),
    ("dtheta", r"\frac{\partialL}{\partial\theta}"),
    ("sum_n,m", r"\sum_{n},m"),
    ("floor(x + (a) 0.5) + (b)", r"\lfloorx+(a)0.5\rfloor+(b)"),
    ("w^2 -> M^T", r"w^{2}\toM^{T}"),
    ("a <= b * c", r"a\leb\cdotc"),
    ("dx_{hs+i-p, ws+j-p} += W_ij", r"\frac{\partialL}{\partialx_{hs+i-p,ws+j-p}}\mathrel{+}=W_{ij}"),
    ("H = [[a, b], [0, 1]]", r"H=\begin{bmatrix}a&b\\0&1\end{bmatrix}"),
    ("max(0, 1 - |d|)", r"\max(0,1-|d|)"),
    ("- sin a", r"-\sina"),
])
def test_to_latex(formula, latex):
    assert squeezed(to_latex(formula)) == latex


@pytest.mark.parametrize("comment, marked", [
    ("Eq. (7): dV/dx = U_nm k'(x - m) k(y - n), and the same for y", "Eq. (7): #, and the same for #"),
    ("im2col: one row for each output pixel, so that the sum over i, j, c is one matrix product",
     "im2col: one row for each output pixel, so that the sum over #, #, # is one matrix product"),
    ("f at every target point: sum_j w_j U(|p - c_j|) + a_x x", "# at every target point: #"),
    ("h33 = 1 is no parameter", "# is no parameter"),
    ("s stands in both places (its size is ours), 2 of 3", "# stands in both places (its size is ours), 2 of 3"),
    ("all x's and y's of a batch: I said A", "all x's and y's of a batch: I said A"),
    ("an edge pixel's centre: `U` < V", "an edge pixel's centre: <code>U</code> #"),
    ("... + lambda_j theta_v, gathered", "#, gathered"),
])
def test_formulas_are_found_among_words(comment, marked):
    assert MATH.sub("#", typeset(comment, comment=True)) == marked


def test_a_docstring_typesets_only_its_latex():
    shown = typeset(r"Eq. (1): \(x_s = \theta_{11}\) for U_nm & `code`")
    assert MATH.sub("#", shown) == "Eq. (1): # for U_nm &amp; <code>code</code>"
    text = "".join(ElementTree.fromstring(MATH.search(shown)[0]).itertext())
    assert text.replace(" ", "") == "xs=θ11"


def documented(function):
    """The source lines that are neither blank, nor comments, nor the docstring's."""
    lines, first = inspect.getsourcelines(function)
    text = "".join(lines)
    doc = re.search(r'^ *r?"""(.*?)"""$', text, re.DOTALL | re.MULTILINE)
    inside = range(text[:doc.start()].count("\n"), text[:doc.end()].count("\n") + 1) if doc else ()
    return [(first + k, line.strip()) for k, line in enumerate(lines)
            if k not in inside and line.strip() and not line.strip().startswith("#")]


def plain(html):
    for code, sign in (("&#39;", "'"), ("&quot;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        html = html.replace(code, sign)
    return html


@pytest.mark.parametrize("name", sorted(readable()))
def test_every_line_stands_once_and_in_order(name):
    function = readable()[name]
    shown = [(number, plain(re.sub("<[^>]*>", "", line)).strip())
             for row in rows(function) for number, line in zip(row.numbers, row.code, strict=True)]
    assert [line for line in shown if line[1]] == documented(function)


@pytest.mark.parametrize("name", sorted(readable()))
def test_every_formula_is_typeset(name):
    said = "".join(row.said for row in rows(readable()[name]))
    assert "\\" not in MATH.sub("", said)
    for math in MATH.findall(said):
        assert "".join(ElementTree.fromstring(math).itertext()).strip()
        assert "\\" not in math


def test_an_equation_stands_beside_the_line_that_implements_it():
    """In the code a comment is right above its line: so it must be here."""
    lines, first = inspect.getsourcelines(affine_grid_backward)
    above = next(k for k, line in enumerate(lines) if line.strip().startswith("# Eq. (1)"))
    row = next(row for row in rows(affine_grid_backward) if row.said.startswith("<p>Eq. (1)"))
    assert row.numbers[0] == first + above + 1
    assert "is linear in" in row.said and "<math" in row.said


def test_a_notebook_shows_what_a_page_shows():
    table = beside(affine_grid_forward, affine_grid_backward)
    assert repr(beside(affine_grid_forward, Dense.backward)) == "beside(affine_grid_forward, Dense.backward)"
    shown = table._repr_html_()
    whole = page(affine_grid_forward, affine_grid_backward, title="Eq. <1>")
    assert shown in whole and "<title>Eq. &lt;1&gt;</title>" in whole
    assert shown.index("affine_grid_forward") < shown.index("affine_grid_backward")


def test_a_page_needs_no_network():
    text = page(*find("sample"), title="sample")
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {"http://www.w3.org/1998/Math/MathML"}
    assert not re.findall(r"<(script|link|img|iframe)\b|@import|url\(", text)


# Names.

def test_a_pair_a_function_and_the_helpers():
    assert [f.__name__ for f in find("affine_grid")[:2]] == ["affine_grid_forward", "affine_grid_backward"]
    backward = find("sample_backward")
    assert backward[0] is sample_backward
    # Eq. (6) is implemented in a private function: it must be there, and only once
    assert "_scatter" in [f.__name__ for f in backward]
    assert len(set(backward)) == len(backward) and all(f.__name__.startswith("_") for f in backward[1:])
    assert {f.__module__ for f in backward} == {sample_backward.__module__}
    # a helper whose result is kept, one inside a comprehension, one inside a generator
    assert "_spline" in [f.__name__ for f in find("tps_grid")]
    assert {"_read_by", "_matrix"} <= {f.__name__ for f in find("conv2d_forward")}
    # one that another module calls, too
    assert "keep_maximum" in [f.__name__ for f in find("max_pool")]
    assert find("paper.sample")[0].__module__ == "stn_scratch.paper"


@pytest.mark.parametrize("name, hint", [("sampel", "did you mean sample"), ("afine_grid", "affine_grid"),
                                        ("zzz", "there are adjoint_error, affine_grid, ")])
def test_an_unknown_name_gets_a_hint(name, hint):
    with pytest.raises(ValueError, match=f"^there is no function '{name}' to read: ") as error:
        find(name)
    assert hint in str(error.value)


@pytest.mark.parametrize("thing", [3, "sample", len, object])
def test_only_functions_can_be_read(thing):
    with pytest.raises(TypeError, match=r"^beside\(\) reads functions written in Python, not "):
        beside(thing)


def test_only_pages_need_latex2mathml(tmp_path):
    """A machine that was not made for this project trains all the same."""
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["latex2mathml"] = None\n')
    done = subprocess.run([sys.executable, "-m", "stn_scratch", "info"], capture_output=True, text=True, timeout=60,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert done.returncode == 0 and "numpy" in done.stdout, done.stderr
