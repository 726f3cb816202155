"""Comparisons as a table that people read: a block for each loss, a line for each rival."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.layout import Column, Line, grouped, table
from lossforge.validation.comparison import Comparison, named, verdict
from lossforge.validation.ranks import compare_ranks
from lossforge.validation.standings import over_studies, scores_by_study

_COLUMNS = [
    Column("rival"),
    Column("score"),
    Column("gain [95 % interval]"),
    Column("seeds"),
    Column("verdict"),
]


def comparison_lines(rows: Sequence[Comparison], width: int) -> list[Line]:
    """Lines of up to ``width`` characters: each loss of each study with its score, and every rival below it.

    Where there is one rival only, each study with its losses.
    """
    if len({row.rival for row in rows}) == 1 and len({row.title for row in rows}) < len(rows):
        return _against_one(rows, width)
    several = len({row.title for row in rows}) > 1
    most: dict[tuple[str, int], Comparison] = {}
    for row in rows:
        kept = most.setdefault((row.title, row.rank), row)
        if row.seeds > kept.seeds:
            most[row.title, row.rank] = row
    groups = {
        _heading(one, several=several): [_cells(row) for row in rows if (row.title, row.rank) == place]
        for place, one in most.items()
    }
    return grouped(_COLUMNS, groups, width)


def _against_one(rows: Sequence[Comparison], width: int) -> list[Line]:
    columns = [Column("loss", "formula"), *_COLUMNS[1:]]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        what = row.loss if row.loss and not row.searched else row.formula
        cells = (f"{row.rank}. {what}{_failed(row.failed)}", f"{row.accuracy:.2%}", *_cells(row)[2:])
        groups.setdefault(f"{row.title}: against {named(row.rival)}", []).append(cells)
    return grouped(columns, groups, width)


def mean_lines(rows: Sequence[Comparison], width: int) -> list[Line]:
    """The mean of each loss's gains over all studies, beside every rival; nothing where there is one study only."""
    found = sorted(over_studies(rows), key=lambda one: -one.gain)
    if not found:
        return []
    columns = [
        Column(f"mean over {found[0].studies} studies", "formula"),
        Column("rival"),
        Column("gain [95 % interval]"),
    ]
    cells = [[named(one.loss), named(one.rival), f"{one.gain:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"] for one in found]
    return table(columns, cells, width)


def rank_lines(rows: Sequence[Comparison]) -> list[str]:
    """Mean ranks over the studies, best first, and what can be told apart; nothing where there are too few of both."""
    scores = scores_by_study(rows)
    studies = len({row.title for row in rows})
    if len(scores) < 2 or studies < 2:
        return []
    found = compare_ranks(scores)
    told = "; ".join(f"{named(name)} {rank:.2f}" for name, rank in zip(found.names, found.ranks, strict=True))
    apart = f"ranks that differ by {found.critical_difference:.2f} or more are told apart (Nemenyi)"
    return [f"mean ranks over {studies} studies: {told}", f"{apart}; p = {found.p_friedman:.2g} that none differs"]


def _heading(row: Comparison, *, several: bool) -> str:
    """Of a loss in a study, by its row of most seeds: which it is, what it scored, and how it was found."""
    study = f"{row.title}: " if several else ""
    what = row.loss if row.loss and not row.searched else row.formula
    rate = "" if row.is_own else f", rate {row.learning_rate:g}"
    searched = f", {row.search_gain:+.2f} in the search" if row.searched else ""
    return f"{study}{row.rank}. {what}   {row.accuracy:.2%}{rate}{searched}{_failed(row.failed)}"


def _cells(row: Comparison) -> tuple[str, ...]:
    interval = f"{row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
    rival = named(row.rival) + _failed(row.rival_failed)
    return rival, f"{row.rival_accuracy:.2%}", interval, str(row.seeds), verdict(row).words


def _failed(count: int) -> str:
    return f" ({count} failed)" if count else ""
