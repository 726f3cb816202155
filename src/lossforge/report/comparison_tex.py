"""Comparisons as a LaTeX table with booktabs: a row for each loss and study, a column for each rival."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.spaces.task_section import metric_title
from lossforge.validation.comparison import Comparison, named, verdict
from lossforge.validation.standings import loss_of
from lossforge.validation.verdicts import Verdict

_MARKS = {
    Verdict.BETTER: r"\textsuperscript{*}",
    Verdict.WORSE: r"\textsuperscript{\textdagger}",
    Verdict.EQUIVALENT: r"\textsuperscript{=}",
    Verdict.NOT_SEPARABLE: "",
}
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it.

    >>> print(escaped("-y_true * log(y_pred)"))
    -y\_true * log(y\_pred)
    """
    return "".join(_SPECIAL.get(one, one) for one in text)


def comparison_tex(rows: Sequence[Comparison]) -> str:
    """A table with its caption; it needs ``\\usepackage{booktabs}``."""
    rivals = list(dict.fromkeys(row.rival for row in rows))
    by_place = {(row.title, row.rank, row.rival): row for row in rows}
    losses = list(dict.fromkeys((row.title, row.rank) for row in rows))
    head = ["study", "loss", "score", *(escaped(named(rival)) for rival in rivals)]
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{ll" + "r" * (1 + len(rivals)) + "}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
    ]
    before = ""
    for study, rank in losses:
        first = next(row for row in rows if (row.title, row.rank) == (study, rank))
        cells = [_cell(by_place.get((study, rank, rival))) for rival in rivals]
        shown = escaped(study) if study != before else ""
        lines.append(" & ".join([shown, _code(loss_of(first)), f"{100 * first.accuracy:.2f}", *cells]) + r" \\")
        before = study
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_caption(rows)}}}", r"\end{table}", ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    return escaped(named(text)) if text.isidentifier() else rf"\texttt{{{escaped(text)}}}"


def _cell(row: Comparison | None) -> str:
    if row is None:
        return "--"
    return f"${row.gain:+.2f}$ [${row.low:+.2f}$, ${row.high:+.2f}$]{_MARKS[verdict(row)]}"


def _caption(rows: Sequence[Comparison]) -> str:
    seeds = sorted({row.seeds for row in rows})
    number = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    metrics = " and ".join(dict.fromkeys(metric_title(row.metric) for row in rows))
    tuned = all(row.tuned for row in rows)
    rates = "every loss and rival at its own best learning rate" if tuned else "no learning rate tuned"
    return (
        f"Differences in percentage points of test {escaped(metrics)} to each rival, with 95\\,\\% intervals, {number} "
        f"paired seeds, {rates}. "
        r"\textsuperscript{*} better, \textsuperscript{\textdagger} worse (Holm's adjusted $p < 0.05$), "
        r"\textsuperscript{=} equivalent (two one-sided tests, "
        f"margin {rows[0].margin:g})."
    )
