"""Comparisons as a table that people read: a block for each loss, a line for each rival."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.layout import Column, Line, grouped
from lossforge.validation.comparison import Comparison, named, verdict
from lossforge.validation.verdicts import Verdict

_WORDS = {
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.NOT_SEPARABLE: "not separable",
}
_COLUMNS = [
    Column("rival"),
    Column("score"),
    Column("gain [95 % interval]"),
    Column("seeds"),
    Column("verdict"),
]


def comparison_lines(rows: Sequence[Comparison], width: int) -> list[Line]:
    """Lines of up to ``width`` characters: each loss of each study with its score, and every rival below it."""
    several = len({_study(row) for row in rows}) > 1
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        groups.setdefault(_heading(row, several=several), []).append(_cells(row))
    return grouped(_COLUMNS, groups, width)


def _study(row: Comparison) -> str:
    return row.study or row.task


def _heading(row: Comparison, *, several: bool) -> str:
    """Of a loss in a study: which it is, what it scored, and how it was found."""
    study = f"{_study(row)}: " if several else ""
    formula = "" if row.loss in ("", row.formula) else f"  {row.loss} ="
    rate = "" if row.is_own else f", rate {row.learning_rate:g}"
    searched = f", {row.search_gain:+.2f} in the search" if row.searched else ""
    return f"{study}{row.rank}.{formula} {row.formula}   {row.accuracy:.2%}{rate}{searched}{_failed(row.failed)}"


def _cells(row: Comparison) -> tuple[str, ...]:
    interval = f"{row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    rival = named(row.rival) + _failed(row.rival_failed)
    return rival, f"{row.rival_accuracy:.2%}", interval, str(row.seeds), _WORDS[verdict(row)]


def _failed(count: int) -> str:
    return f" ({count} failed)" if count else ""
