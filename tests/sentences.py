"""Errors are tested by their whole sentence."""

import re

import pytest


def raises(kind, sentence):
    """The block raises `kind` with exactly this sentence."""
    return pytest.raises(kind, match=f"^{re.escape(sentence)}$")
