"""The README's examples are run, and what they print is what their comments say."""

import contextlib
import io
import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


# strict: an example more or less than these is an error
@pytest.mark.parametrize("code, lines", list(zip(EXAMPLES, [3, 2], strict=True)),
                         ids=["forward, backward, check", "a trained network"])
def test_an_example_prints_what_its_comments_say(code, lines):
    promised = re.findall(r"^print.*?  # (.*)$", code, re.MULTILINE)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, str(README), "exec"), {})
    assert output.getvalue().splitlines() == promised
    assert len(promised) == lines


def test_every_linked_file_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (README.parent / link).is_file()] == []
