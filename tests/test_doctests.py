"""Every example in a docstring gives what it says."""

from __future__ import annotations

import doctest
import importlib

import pytest
from tests.test_architecture import FILES, SOURCE


def examples() -> list[str]:
    """Modules that have any, by name."""
    files = [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(("lossforge", *path.relative_to(SOURCE).with_suffix("").parts)) for path in files]


def test_there_are_examples() -> None:
    assert len(examples()) > 10


@pytest.mark.parametrize("name", examples())
def test_the_examples_of_a_module_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
