"""What a comparison leaves for papers: a LaTeX table, a forest plot, and a critical-difference diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lossforge.report.comparison_plots import draw_critical_difference, draw_forest
from lossforge.report.comparison_tex import comparison_tex
from lossforge.store.files import write_atomically
from lossforge.validation.comparison import Comparison
from lossforge.validation.ranks import compare_ranks
from lossforge.validation.standings import scores_by_study


def write_files(folder: Path, rows: Sequence[Comparison]) -> list[Path]:
    """Write ``table.tex``, ``forest.svg`` and ``.png``, and where there are studies enough to rank losses over,
    ``critical_difference.svg`` and ``.png``; returns the paths. Raises StoreError where that cannot be.
    """
    if not rows:
        return []
    table = folder / "table.tex"
    write_atomically(table, comparison_tex(rows))
    written = [table]
    for ending in ("svg", "png"):
        written.append(draw_forest(rows, folder / f"forest.{ending}"))
    scores = scores_by_study(rows)
    if len(scores) > 1 and all(len(values) > 1 for values in scores.values()):
        ranks = compare_ranks(scores)
        for ending in ("svg", "png"):
            written.append(draw_critical_difference(ranks, folder / f"critical_difference.{ending}"))
    return written
