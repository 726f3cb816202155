"""Comparisons as pictures of a page: a forest plot for each loss, and the critical-difference diagram of mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lossforge.report.candidates_plots import short
from lossforge.report.chart import label_of, limits, ticks
from lossforge.report.picture import Picture
from lossforge.validation.comparison import Comparison, named, verdict
from lossforge.validation.ranks import RankComparison, compare_ranks
from lossforge.validation.standings import loss_of, scores_by_study
from lossforge.validation.verdicts import Verdict

_STYLES = {
    Verdict.BETTER: ("own", "point", "label-own"),
    Verdict.WORSE: ("worse-line", "point-worse", "label-ink"),
    Verdict.EQUIVALENT: ("plain-line", "point-plain", "label-ink"),
    Verdict.NOT_SEPARABLE: ("plain-line", "point-plain", "label-ink"),
}
_NAME = 21
_ROW = 24.0


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one forest plot, each with its label: a loss beside its rivals, or a rival beside the losses."""

    study: str
    name: str
    rows: tuple[tuple[str, Comparison], ...]


def groups(rows: Sequence[Comparison]) -> list[Group]:
    """A group for each loss in each study, or for each rival where those are fewer than the losses by far."""
    by_rival = len({row.rival for row in rows}) * 3 < len({row.rank for row in rows})
    found: dict[tuple[str, str], list[tuple[str, Comparison]]] = {}
    for row in rows:
        loss, rival = _name(row), named(row.rival)
        name, label = (f"Each loss beside {rival}", _name(row)) if by_rival else (f"{loss} beside each rival", rival)
        found.setdefault((row.title, name), []).append((label, row))
    return [Group(study, name, tuple(mine)) for (study, name), mine in found.items()]


def _name(row: Comparison) -> str:
    return short(row.loss) if row.loss and not row.searched else f"Rank {row.rank}: {short(loss_of(row))}"


def common_limits(rows: Sequence[Comparison]) -> tuple[float, float]:
    """One scale for the forest plots of a page."""
    return limits([value for row in rows for value in (row.low, row.high)], around=[0.0])


def forest(group: Group, name: str, x: tuple[float, float]) -> Picture:
    """Gains, each with its interval over seeds, and thinner the one over seeds and test images."""
    rows = [row for _, row in group.rows]
    height = 34 + _ROW * len(rows)
    picture = Picture(name, f"{group.study}: {group.name}, gains with intervals", 420, height)
    left, right, bottom = 128.0, 14.0, height - 26

    def at(value: float) -> float:
        return left + (min(max(value, x[0]), x[1]) - x[0]) / (x[1] - x[0]) * (picture.width - left - right)

    margin = rows[0].margin
    if margin:
        picture.box(at(-margin), 2, at(margin) - at(-margin), bottom - 2, "margin", f"within {margin:g} points")
    for value in ticks(*x, 6):
        picture.line([(at(value), 2), (at(value), bottom)], "zero" if value == 0 else "rule")
        picture.text(at(value), bottom + 15, label_of(value, signed=True), "label", "middle")
    for place, (name_of_row, row) in enumerate(group.rows):
        y = 14 + _ROW * place
        line, point, label = _STYLES[verdict(row)]
        told = f"{name_of_row}: {row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}], {verdict(row).words}"
        picture.text(left - 12, y + 4, _shortened(name_of_row), label, "end")
        if row.low_images is not None and row.high_images is not None:
            picture.line([(at(row.low_images), y), (at(row.high_images), y)], "other")
        picture.line([(at(row.low), y), (at(row.high), y)], line, told)
        picture.dot(at(row.gain), y, 4, point, told)
    return picture


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def ranks_of(rows: Sequence[Comparison]) -> RankComparison | None:
    """Mean ranks over studies; None where there are too few losses or studies."""
    scores = scores_by_study(rows)
    if len(scores) < 2 or any(len(values) < 2 for values in scores.values()):
        return None
    return compare_ranks(scores)


def critical_difference(ranks: RankComparison) -> Picture:
    """The diagram: losses on an axis of mean ranks, a bar over those that cannot be told apart."""
    count = len(ranks.names)
    half = (count + 1) // 2
    axis, bars = 46.0, 12.0 * len(ranks.cliques)
    picture = Picture("critical-difference", "Critical-difference diagram", 640, axis + bars + 20 + 20.0 * half)
    low, high = 1.0, float(max(count, 2))

    def at(rank: float) -> float:
        return 150 + (rank - low) / (high - low) * (picture.width - 300)

    picture.line([(at(low), axis), (at(high), axis)], "axis")
    for rank in ticks(low, high, 8):
        if rank == int(rank):
            picture.line([(at(rank), axis - 5), (at(rank), axis)], "axis")
            picture.text(at(rank), axis - 9, f"{rank:g}", "label", "middle")
    difference = min(ranks.critical_difference, high - low)
    picture.line([(at(low), 14), (at(low + difference), 14)], "plain-line")
    picture.text(at(low + difference) + 8, 18, f"critical difference {ranks.critical_difference:.2f}", "label")
    for place, clique in enumerate(ranks.cliques):
        inside = [ranks.ranks[ranks.names.index(one)] for one in clique]
        y = axis + 10 + 12.0 * place
        picture.line([(at(min(inside)) - 3, y), (at(max(inside)) + 3, y)], "own", ", ".join(map(named, clique)))
    for place, (name, rank) in enumerate(zip(ranks.names, ranks.ranks, strict=True)):
        first = place < half
        y = axis + bars + 20 + 20.0 * (place if first else count - 1 - place)
        end = 142.0 if first else picture.width - 142.0
        picture.line([(at(rank), axis), (at(rank), y), (end, y)], "other")
        text = f"{_shortened(named(name))} {rank:.2f}"
        picture.text(end + (-4 if first else 4), y + 4, text, "label-ink", "end" if first else "start")
    return picture
