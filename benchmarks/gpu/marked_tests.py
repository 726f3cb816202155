"""Part 2: the tests that need a GPU, the quickest first, each its own case."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from gpu.parts import ROOT, Case, Settings, Tell

if TYPE_CHECKING:
    from pathlib import Path

_QUICK = ("one_launch", "less_than_linearly", "what_the_cpu_gives", "small_cnn", "mlp")
"""Parts of the names of quick tests, in the order in which they are run."""


def cases(settings: Settings) -> list[Case]:
    seen = _Seen()
    code = _pytest(seen, "--collect-only", "-m", "gpu", *map(str, marked_files(ROOT / "tests")))
    if not seen.found:
        raise RuntimeError(f"pytest found no test that is marked gpu (exit code {int(code)})")
    return [Case(node, partial(_run, node), 70) for node in quickest_first(seen.found)]


def marked_files(folder: Path) -> list[Path]:
    """Test files with the marker: the others need not be imported."""
    return [path for path in sorted(folder.rglob("test_*.py")) if "mark.gpu" in path.read_text(encoding="utf-8")]


def quickest_first(nodes: list[str]) -> list[str]:
    """What is named in `_QUICK`, in its order, then the others."""
    return sorted(
        nodes, key=lambda node: next((place for place, name in enumerate(_QUICK) if name in node), len(_QUICK))
    )


class _Seen:
    """A plugin of pytest's that remembers what was found and what came of it."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.outcome, self.told = "not run", ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.found = [item.nodeid for item in items if item.get_closest_marker("gpu")]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcome = report.outcome
            told = report.longrepr
            self.told = str(told[-1] if isinstance(told, tuple) else told or "")


def _pytest(plugin: object, *words: str) -> int:
    # What else is installed on the machine may have plugins, which import what they like, and warn.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "--rootdir", str(ROOT)]
    return int(pytest.main([*options, *words], plugins=[plugin]))


def _run(node: str, tell: Tell) -> None:
    seen = _Seen()
    code = _pytest(seen, str(ROOT / node))
    tell("outcome", seen.outcome)
    if seen.outcome == "skipped":
        tell("why", seen.told)
    elif seen.outcome != "passed" or code:
        raise AssertionError(f"{seen.outcome}, exit code {code}: {seen.told[-1500:]}")
