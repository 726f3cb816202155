"""Diagrams of comparisons: a forest plot of every interval, and the critical-difference diagram of mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossforge.store.files import told_as_store_error
from lossforge.validation.comparison import Comparison, named, verdict
from lossforge.validation.ranks import RankComparison
from lossforge.validation.standings import loss_of
from lossforge.validation.verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    Verdict.BETTER: "#009E73",
    Verdict.WORSE: "#D55E00",
    Verdict.EQUIVALENT: "#0072B2",
    Verdict.NOT_SEPARABLE: "#777777",
}
_LABEL = 48
_MOST = 400
"""Intervals of one figure; of more the first losses stand there."""


def draw_forest(rows: Sequence[Comparison], path: Path) -> Path:
    """Draw each interval over seeds, and thinner the one over seeds and images, into an SVG or PNG file.

    Raises StoreError where the file cannot be written.
    """
    figure = _figure(9.0, 1.6 + 0.24 * min(len(rows), _MOST))
    axes = figure.add_subplot()
    labels = []
    for place, row in enumerate(rows[:_MOST]):
        colour = _COLOURS[verdict(row)]
        if row.low_images is not None and row.high_images is not None:
            axes.plot([row.low_images, row.high_images], [place, place], color=colour, linewidth=1, alpha=0.6)
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot([row.gain], [place], "o", color=colour, markersize=4)
        labels.append(_short(f"{row.title}: {loss_of(row)} – {named(row.rival)}"))
    axes.axvline(0, color="black", linewidth=0.8)
    margin = rows[0].margin if rows else 0.0
    if margin:
        axes.axvspan(-margin, margin, color="#0072B2", alpha=0.08, linewidth=0)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("gain in points of the study's metric (bold: over seeds; thin: over seeds and test images)")
    for kind, colour in _COLOURS.items():
        axes.plot([], [], color=colour, linewidth=3, label=kind.words)
    axes.legend(fontsize=7, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    return _saved(figure, path)


def draw_critical_difference(ranks: RankComparison, path: Path) -> Path:
    """Draw Demšar's diagram (JMLR 7, 2006): mean ranks on a line, bars over losses that are not told apart.

    Raises StoreError where the file cannot be written.
    """
    count = len(ranks.names)
    half = (count + 1) // 2
    figure = _figure(9.0, 1.8 + 0.24 * half + 0.12 * len(ranks.cliques))
    axes = figure.add_subplot()
    axes.set_axis_off()
    low, high = 1.0, float(count)
    axes.set_xlim(low - 0.45 * (high - low), high + 0.45 * (high - low))
    axes.plot([low, high], [0, 0], color="black", linewidth=1)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, 0.15], color="black", linewidth=0.8)
        axes.text(tick, 0.25, str(tick), ha="center", va="bottom", fontsize=7)
    axes.plot([low, low + ranks.critical_difference], [0.95, 0.95], color="black", linewidth=1.5)
    text = f"critical difference {ranks.critical_difference:.2f} (Nemenyi, {ranks.studies} studies)"
    axes.text(low, 1.05, text, fontsize=7, ha="left", va="bottom")
    for place, bar in enumerate(ranks.cliques):
        held = [ranks.ranks[ranks.names.index(name)] for name in (bar[0], bar[-1])]
        height = -0.22 - 0.2 * place
        axes.plot([held[0] - 0.03, held[1] + 0.03], [height, height], color="#0072B2", linewidth=3)
    begin = -0.45 - 0.2 * len(ranks.cliques)
    for place, (name, rank) in enumerate(zip(ranks.names, ranks.ranks, strict=True)):
        _leader(axes, name, rank, place, half, begin, (low, high))
    axes.set_ylim(begin - 0.35 * (half + 1), 1.4)
    return _saved(figure, path)


def _leader(axes: Axes, name: str, rank: float, place: int, half: int, begin: float, ends: tuple[float, float]) -> None:
    """The line from a mean rank to its loss's name: the better half to the left, the others to the right."""
    left = place < half
    row = place if left else 2 * half - 1 - place
    height = begin - 0.35 * row
    edge = ends[0] - 0.03 * (ends[1] - ends[0]) if left else ends[1] + 0.03 * (ends[1] - ends[0])
    axes.plot([rank, rank, edge], [0, height, height], color="#555555", linewidth=0.8)
    text = f"{_short(named(name))} {rank:.2f}"
    axes.text(edge, height, f"{text} " if left else f" {text}", ha="right" if left else "left", va="center", fontsize=7)


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, min(height, 100.0)), layout="constrained")


def _saved(figure: Figure, path: Path) -> Path:
    import matplotlib

    with told_as_store_error(path), matplotlib.rc_context({"svg.hashsalt": "lossforge", "svg.fonttype": "path"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)
    return path
