"""Writing reports: whole or not at all, on request and at every checkpoint of a search."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lossforge.errors import LossforgeError
from lossforge.report.comparison_page import comparison_page, is_comparison
from lossforge.report.run_page import run_page
from lossforge.store.files import write_atomically

NAME = "report.html"
"""What a report is called in its folder."""
_ELSEWHERE = "name another place with --output"
_SHARE = 20
"""A search writes its page again once this many times as long has passed as the last one took."""


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a run or a comparison; returns its path (default: ``report.html`` in the folder).

    Raises LossforgeError where the folder holds neither, or the file cannot be written; an old page then stays.
    """
    html = comparison_page(folder) if is_comparison(folder) else run_page(folder)
    path = folder / NAME if output is None else output
    if path.is_dir():
        path = path / NAME
    if not path.parent.is_dir():
        raise LossforgeError(f"{path}: there is no folder {path.parent}; make it, or {_ELSEWHERE}")
    write_atomically(path, html, "try again", _ELSEWHERE)
    return path


class ReportKeeper:
    """Keeps the page of a running search up to date. What goes wrong is told, and never stops the search."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._told = False
        self._next = 0.0

    def checkpoint(self) -> None:
        """Write it, unless that would take more than a twentieth of the search's time."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write it now."""
        begun = time.monotonic()
        try:
            write_report(self._folder)
        except Exception as error:  # a search is worth more than its page
            if not self._told:
                self._tell(f"report: could not be written ({type(error).__name__}: {error})")
            self._told = True
        now = time.monotonic()
        self._next = now + _SHARE * (now - begun)
