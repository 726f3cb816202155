"""Processes that screen ahead, for a search with more workers than one process can find candidates for.

They are sent formulas and send back what was found of each; which of them answers, or whether any does, changes
nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from typing import Any

from lossforge.expression.canonical import canonical_form
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import Signature
from lossforge.expression.tree import Expression, format_formula
from lossforge.screening.descent import Descent
from lossforge.screening.funnel import Findings, descended, findings_of
from lossforge.screening.settings import Screen, ScreenSettings

WORKERS_EACH = 100
"""Workers of a search to each helper."""

_Plain = tuple[str, str, str, int, bool, bool, str]
"""Screen, reason, key of the signature and its sign, descent: passed, flipped, reason. "" where there is none."""


def helper_count(workers: int) -> int:
    """How many helpers a search with so many workers gets: none for a few, and a core is left to the driver."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(workers // WORKERS_EACH, cores - 1)


class Helpers:
    """So many processes that screen with these settings."""

    def __init__(self, count: int, settings: ScreenSettings) -> None:
        self.count = count
        # Spawned: the driver has threads, which do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _begin, (os.getpid(), asdict(settings)))

    def find(self, forms: Sequence[Expression]) -> Future[list[_Plain]]:
        """Ask for the findings, with descents, of canonical forms."""
        return self._pool.submit(_find, [format_formula(form) for form in forms])

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def findings(forms: Sequence[Expression], plain: Sequence[_Plain]) -> list[Findings]:
    """What helpers said of these forms."""
    found = []
    for form, (screen, reason, key, sign, passed, flipped, told) in zip(forms, plain, strict=True):
        if key:
            found.append(Findings(form, signature=Signature(key, sign), descent=Descent(passed, flipped, told)))
        else:
            found.append(Findings(form, Screen(screen), reason))
    return found


_settings = ScreenSettings()


def _begin(parent: int, settings: dict[str, Any]) -> None:
    global _settings
    _settings = ScreenSettings(**settings)
    # Ctrl-C reaches the whole process group; the driver decides what becomes of its helpers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        threading.Event().wait(1)
    os._exit(1)


def _find(formulas: list[str]) -> list[_Plain]:
    # The same form as the driver's, node for node: what is computed depends on the order of additions.
    found = findings_of([canonical_form(parse_formula(formula)) for formula in formulas], _settings)
    left = [place for place, one in enumerate(found) if one.signature is not None]
    for place, one in zip(left, descended([found[place] for place in left], _settings), strict=True):
        found[place] = one
    return [_plain(one) for one in found]


def _plain(found: Findings) -> _Plain:
    if found.signature is None or found.descent is None:
        return str(found.rejected_by), found.reason, "", 0, False, False, ""
    descent, signature = found.descent, found.signature
    return "", "", signature.key, signature.sign, descent.passed, descent.flipped, descent.reason
