"""The README's examples are run, and what they print is what their comments say."""

import contextlib
import io
import pathlib
import re

import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"


EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("code", EXAMPLES, ids=["forward, backward, check", "a trained network"])
def test_an_example_prints_what_its_comments_say(code):
    promised = re.findall(r"^print.*?  # (.*)$", code, re.MULTILINE)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, str(README), "exec"), {})
    assert len(promised) > 1 and output.getvalue().splitlines() == promised


def test_every_linked_file_is_there():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) > 5
    assert [link for link in links if not (README.parent / link).is_file()] == []
