"""Gains by seed as a few characters, for terminals that have them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lossforge.report.run_data import read_run

_BARS = "▁▂▃▄▅▆▇█"
_LONGEST = 16


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Values as bars between two heights.

    >>> sparkline([0.0, 0.5, 1.0, 2.0], 0.0, 1.0)
    '▁▅██'
    """
    span = (high - low) or 1.0
    shares = (min(max((value - low) / span, 0.0), 1.0) for value in values[:_LONGEST])
    return "".join(_BARS[min(int(share * len(_BARS)), len(_BARS) - 1)] for share in shares)


def can_be_shown() -> bool:
    """Whether standard output is a terminal that has the characters."""
    try:
        _BARS.encode(sys.stdout.encoding or "ascii")
        return bool(sys.stdout.isatty())
    except (AttributeError, LookupError, UnicodeEncodeError, ValueError):
        return False


def gains_by_seed(run: Path) -> dict[str, str]:
    """A sparkline of the gains of each loss of a run's table on each seed of the search, by its signature.

    All have one scale, from cross-entropy or the worst of them to the best.
    """
    data = read_run(run)
    gains = {
        entry.signature: data.judged[entry.signature].gains for entry in data.entries if entry.signature in data.judged
    }
    values = [0.0, *(gain for found in gains.values() for gain in found)]
    return {signature: sparkline(found, min(values), max(values)) for signature, found in gains.items()}
