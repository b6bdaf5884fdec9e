r"""From what stands in a comment to typeset mathematics.

A docstring holds LaTeX between \( and \). A comment holds the same symbols as the code, "dV/dx = U_nm k'(x - m)": here
the mathematics in it is found, word by word, and put into LaTeX. MathML shows it in a browser without a network.
"""

import html
import re

GREEK = {"theta": r"\theta", "Theta": r"\Theta", "Phi": r"\Phi", "lambda": r"\lambda", "alpha": r"\alpha",
         "mu": r"\mu", "eta": r"\eta", "delta": r"\delta", "inf": r"\infty", "sum": r"\sum"}
FUNCTIONS = ("cos", "sin", "log", "exp", "max", "min", "tanh")
OPERATORS = {"->": r"\to", "<=": r"\le", ">=": r"\ge", "+=": r"\mathrel{+}=", "*": r"\cdot", "...": r"\dots"}
# d + one of these is the gradient of the loss
GRADIENTS = ("grid", "theta", "Phi", "logits", "displacement")

IDENTIFIER = re.compile(r"[A-Za-z]+(?:\d+)?(?:_(?:\{[^}]*\}|\w+))?'*")
RATIO = re.compile(r"d(?P<top>\w+(?:\([^)]*\))?|\|[^|]*\|)/d(?P<bottom>\w+)")
TOKEN = re.compile(r"floor\(|" + RATIO.pattern.replace("?P<top>", "").replace("?P<bottom>", "") + "|"
                   + IDENTIFIER.pattern + r"|\d+(?:\.\d+)?|\^\{?-?\w+\}?|->|<=|>=|\+=|\.\.\.|\S|\s+")


def typeset(text, *, comment=False):
    r"""HTML of a text with LaTeX between \( and \); in a comment, its plain formulas are typeset, too."""
    parts = re.split(r"\\\((.*?)\\\)", text, flags=re.DOTALL)
    # the parts alternate: text, LaTeX, text, ...
    return "".join(mathml(part) if k % 2 else (_comment(part) if comment else _prose(part))
                   for k, part in enumerate(parts))


def mathml(latex):
    """LaTeX -> MathML."""
    from latex2mathml.converter import convert  # only pages need it: a machine without it trains and tests

    return convert(" ".join(latex.split()))


def _prose(text):
    """Text with `code` in it -> HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _comment(text):
    """Every stretch of mathematics in a comment -> MathML, the words between as they are."""
    pieces, run = [], []

    def close():
        if any(_is_formula(unit) for unit in run):
            pieces.append(mathml(to_latex(" ".join(run))))
        else:
            pieces.extend(map(_prose, run))
        run.clear()

    for unit in _units(text):
        bare = unit.rstrip(",;:.") if not unit.endswith("...") else unit
        if not _is_mathematical(bare):
            close()
            pieces.append(_prose(unit))
            continue
        run.append(bare)
        if bare != unit:  # a comma or a full stop ends the formula
            close()
            pieces[-1] += unit[len(bare):]
    close()
    return " ".join(pieces)


def _units(text):
    """The words of a text; what stands between brackets or bars belongs to one word."""
    unit = ""
    for word in text.split():
        unit = f"{unit} {word}" if unit else word
        if all(unit.count(a) == unit.count(b) for a, b in ("()", "[]", "{}")) and unit.count("|") % 2 == 0:
            yield unit
            unit = ""
    yield from unit.split()


def _is_mathematical(unit):
    """Whether no word of the language is in a unit: a formula, or a number or an operator that may belong to one."""
    if not unit or unit.endswith("'s") or "`" in unit:
        return False
    # dV/dx is V and x; an index in braces may be anything
    names = RATIO.sub(r"\g<top> \g<bottom>", re.sub(r"\{[^}]*\}", "", unit))
    return all(_is_symbol(name) for name in re.findall(r"[A-Za-z_]\w*", names)) and '"' not in unit


def _is_symbol(name):
    base = name.split("_")[0]
    return len(base) == 1 or "_" in name and len(base) < 3 or base in GREEK or base in FUNCTIONS or base == "floor" or (
        re.fullmatch(r"[A-Za-z]\d+", base) is not None) or _gradient_of(base) is not None


def _is_formula(unit):
    """Whether a mathematical unit is more than a number, a sign, or a word that is also the name of a function."""
    return re.search("[A-Za-z]", unit) is not None and unit not in ("a", "A", "I", "sum", "inf", "floor", *FUNCTIONS)


def _gradient_of(name):
    """U for dU: our name for the gradient of the loss by U. None for other names."""
    rest = name[1:]
    if name[:1] == "d" and (rest in GRADIENTS or re.fullmatch("[A-Zxyzwpb]", rest)):
        return rest
    return None


def to_latex(formula):
    """A formula in the code's own symbols -> LaTeX: "dV/dx = sum_n U_nm" -> \\frac{\\partial V}{\\partial x} = ..."""
    matrix = re.fullmatch(r"(.*?)\[(\[.*\])\]", formula)
    if matrix:
        rows = re.findall(r"\[([^\]]*)\]", matrix[2])
        body = r" \\ ".join(" & ".join(to_latex(entry) for entry in row.split(",")) for row in rows)
        return to_latex(matrix[1]) + rf"\begin{{bmatrix}} {body} \end{{bmatrix}}"
    latex, floors, depth = [], [], 0
    for token in (match[0] for match in TOKEN.finditer(formula)):
        if token == "floor(":
            floors.append(depth)
            depth += 1
            latex.append(r"\lfloor")
            continue
        depth += (token == "(") - (token == ")")
        if token == ")" and floors[-1:] == [depth]:
            floors.pop()
            latex.append(r"\rfloor")
            continue
        latex.append(_token(token))
    return " ".join(latex)


def _token(token):
    if token.isspace():
        return r"\,"
    if ratio := RATIO.fullmatch(token):
        return rf"\frac{{\partial {to_latex(ratio['top'])}}}{{\partial {to_latex(ratio['bottom'])}}}"
    if token.startswith("^"):
        return "^{" + token[1:].strip("{}") + "}"
    if IDENTIFIER.fullmatch(token):
        return _identifier(token)
    return OPERATORS.get(token, token.replace("{", r"\{").replace("}", r"\}"))


def _identifier(token):
    name = token.rstrip("'")
    primes = token[len(name):]
    base, _, index = name.partition("_")
    if _gradient_of(base):
        return rf"\frac{{\partial L}}{{\partial {_identifier(name[1:])}}}"
    if digits := re.fullmatch(r"([A-Za-z])(\d+)", base):
        base, index = digits[1], digits[2] + index
    if base in FUNCTIONS:
        symbol = "\\" + base
    elif base in GREEK:
        symbol = GREEK[base]
    else:
        symbol = base if len(base) == 1 else rf"\mathrm{{{base}}}"
    return symbol + primes + ("_{" + GREEK.get(index.strip("{}"), index.strip("{}")) + "}" if index else "")
