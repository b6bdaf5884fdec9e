"""A function beside its equations: the source on the right, and on the left what its docstring and comments say."""

import ast
import html
import inspect
import re
import textwrap
from typing import NamedTuple

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from stn_scratch.reading.mathematics import typeset

STYLE = """
.stn-reading { border-collapse: collapse; width: 100%; margin-bottom: 28px; font: 15px/1.45 Georgia, serif;
               color: #1a1a1a; background: #fff; table-layout: fixed; }
.stn-reading td { vertical-align: top; padding: 3px 14px; border: 0; text-align: left !important;
                   white-space: normal; }
.stn-reading td.said { width: 35%; background: #fbf7ee; overflow-wrap: anywhere; }
.stn-reading td.code { background: #f7f8fa; }
.stn-reading tr.first td { border-top: 2px solid #d8d0bd; }
.stn-reading pre { margin: 0; font: 12px/1.6 Menlo, Consolas, monospace; white-space: pre-wrap;
                   background: none; }
.stn-reading .number { color: #9a9a9a; user-select: none; }
.stn-reading .said p { margin: 0 0 .55em; overflow: auto hidden; }
.stn-reading .said p.lines { padding-left: 1.2em; text-indent: -1.2em; }
.stn-reading .said code { font: 13px Menlo, Consolas, monospace; background: #efe9da; padding: 0 2px; }
.stn-reading math { font-size: 1.12em; }
.stn-reading h3 { margin: 6px 0; font: bold 15px Menlo, Consolas, monospace; }
"""


class Row(NamedTuple):
    said: str  # HTML: a comment, or the docstring
    numbers: list  # the file's line numbers of ...
    code: list  # ... these lines of HTML


def beside(*functions):
    """Each function beside its equations: an object that a notebook shows, and whose `html` is a piece of a page.

    Raises TypeError for what is not a function with a source.
    """
    return Beside(functions)


class Beside:
    """Tables of two columns: the words and formulas of docstring and comments, and the lines that they belong to."""

    def __init__(self, functions):
        for function in functions:
            if not inspect.isfunction(function):
                raise TypeError(f"beside() reads functions written in Python, not {function!r}")
        self.functions = functions

    @property
    def html(self):
        colours = HtmlFormatter(style="friendly").get_style_defs(".stn-reading")
        return f"<style>{STYLE}{colours}</style>\n" + "\n".join(map(_table, self.functions))

    def _repr_html_(self):
        return self.html

    def __repr__(self):
        return f"beside({', '.join(function.__qualname__ for function in self.functions)})"


def page(*functions, title):
    """A whole HTML page, complete in itself: nothing is fetched from a network."""
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>body {{ margin: 24px auto; max-width: 1480px; }}</style></head>\n"
            f"<body>{beside(*functions).html}</body></html>\n")


def _table(function):
    heading = f"{function.__module__}.{function.__qualname__}"
    lines = [f'<table class="stn-reading"><tr><td class="said"><h3>{function.__name__}</h3></td>'
             f'<td class="code">{html.escape(heading)}</td></tr>']
    for row in rows(function):
        code = "\n".join(f'<span class="number">{number:4d}</span>  {line}'
                         for number, line in zip(row.numbers, row.code, strict=True))
        lines.append(f'<tr class="first"><td class="said">{row.said}</td><td class="code"><pre>{code}</pre></td></tr>')
    return "\n".join([*lines, "</table>"])


def rows(function):
    """The rows of a function: its signature beside its docstring, then each comment beside the lines that follow it."""
    source, first = inspect.getsourcelines(function)
    source = textwrap.dedent("".join(source)).splitlines()
    coloured = highlight("\n".join(source), PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).splitlines()
    documented = _docstring_lines(source)
    # a helper's docstring is written as comments are
    found = [Row(_docstring(inspect.getdoc(function) or "", comment=function.__name__.startswith("_")), [], [])]
    comment = []
    for k, line in enumerate(source):
        if k in documented:
            continue
        if line.strip().startswith("#"):
            comment.append(line.strip()[1:].strip())
            continue
        if comment:
            found.append(Row(f"<p>{typeset(' '.join(comment), comment=True)}</p>", [], []))
            comment = []
        if line.strip() or found[-1].code:
            found[-1].numbers.append(first + k)
            found[-1].code.append(coloured[k])
    return found


def _docstring_lines(source):
    """The numbers of the lines that the docstring fills."""
    body = ast.parse("\n".join(source)).body[0].body[0]
    value = body.value if isinstance(body, ast.Expr) else None
    is_docstring = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return range(body.lineno - 1, body.end_lineno) if is_docstring else range(0)


def _docstring(text, *, comment):
    """Paragraphs; a list of arguments keeps its lines."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if any(re.search(r"\S {2,}\S", line) for line in lines):
            for entry in re.split(r"\n(?=\S)", block):
                name, _, meaning = re.sub(r" {2,}|\n *", "\n", entry).partition("\n")
                meaning = typeset(" ".join(meaning.split()), comment=comment)
                paragraphs.append(f'<p class="lines"><code>{name}</code> {meaning}</p>')
        else:
            paragraphs.append(f"<p>{typeset(' '.join(lines), comment=comment)}</p>")
    return "".join(paragraphs)
