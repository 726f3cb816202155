"""Comparisons on a page: forest plots, mean ranks, and every number in a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from lossforge.report.candidates_plots import short
from lossforge.report.comparison_pictures import common_limits, critical_difference, forest, groups, ranks_of
from lossforge.report.page import figure, table
from lossforge.validation.comparison import LEGEND, Comparison, named, verdict
from lossforge.validation.standings import loss_of

_FORESTS = 60
"""Forest plots of a page; all numbers are in its table."""
_ROWS = 3000


def comparison_body(rows: Sequence[Comparison], name: str) -> str:
    """HTML of everything there is of comparisons."""
    found = groups(rows)
    several = len({group.study for group in found}) > 1
    x = common_limits(rows)
    figures: list[str] = []
    for group in found[:_FORESTS]:
        study = f"{escape(group.study)}: " if several else ""
        caption = f"{study}<b>{escape(group.name)}</b>, points of {escape(group.rows[0][1].scored)}"
        figures.append(figure(forest(group, f"{name}-{len(figures) + 1}", x), caption))
    left = len(found) - len(figures)
    more = f'<p class="note">{left} more are in the table.</p>' if left else ""
    legend = (
        '<p class="note">Bold: 95 % interval over seeds, thin: over seeds and test samples. Blue is better, orange '
        f"worse, grey equivalent or open; shaded: the margin. {escape(LEGEND[0].upper() + LEGEND[1:])}.</p>"
    )
    ranks = ranks_of(rows)
    diagram = ""
    if ranks is not None:
        caption = (
            f"<b>Mean ranks over {ranks.studies} studies</b>; bars join losses that Nemenyi’s test cannot tell apart. "
            f"Friedman: p = {ranks.p_friedman:.2g}."
        )
        diagram = figure(critical_difference(ranks), caption, wide=True)
    return f'{diagram}{legend}<div class="grid">{"".join(figures)}</div>{more}{_details(rows, several)}'


def _details(rows: Sequence[Comparison], several: bool) -> str:
    head = ["loss", "rival", "gain", "95 % interval", "p adjusted", "seeds", "score", "rival’s", "verdict"]
    found = []
    for row in rows[:_ROWS]:
        p = "<0.001" if row.p_adjusted < 0.001 else f"{row.p_adjusted:.3f}"
        own = [
            short(loss_of(row)),
            named(row.rival),
            f"{row.gain:+.2f}",
            f"{row.low:+.2f} to {row.high:+.2f}",
            p,
            str(row.seeds),
            f"{row.accuracy:.2%}",
            f"{row.rival_accuracy:.2%}",
            verdict(row).words,
        ]
        found.append([row.title, *own] if several else own)
    names, shift = (["study", *head], 1) if several else (head, 0)
    numbers = [place + shift for place in (2, 3, 4, 5, 6, 7)]
    return f"<details><summary>Every number</summary>{table(names, found, numbers)}</details>"
