"""A published table beside our own, as text, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from lossforge.store.files import write_atomically
from lossforge.validation.comparison import Comparison
from lossforge.validation.published import Beside, Measured, PublishedTable, TableRow, published_table

_WIDTH = 80
_LABEL = 16
_NAME = 10
_CELL = 8
"""At most; tables of many data sets have narrower ones."""


def write_beside(folder: Path, rows: Sequence[Comparison], table: str) -> str:
    """Write ``published.txt``, ``.csv`` and ``.tex`` of the table of that name beside our own; returns the text.

    Raises SpaceError where no study belongs to a data set of the table, and StoreError where they cannot be written.
    """
    beside = Beside(rows, published_table(table))
    text = as_text(beside)
    for ending, content in (("txt", text + "\n"), ("csv", as_csv(beside)), ("tex", as_latex(beside))):
        write_atomically(folder / f"published.{ending}", content)
    return text


def as_text(beside: Beside) -> str:
    """The table for a terminal of 80 columns, with what it means."""
    heads = [*beside.table.sets.values(), "mean"]
    cell = min(_CELL, (_WIDTH - _LABEL) // len(heads))
    lines = [" " * _LABEL + "".join(f"{head:>{cell - 1}} " for head in heads).rstrip()]
    for row in beside.lines():
        if row.loss in beside.begins_block:
            lines.append("")
        cells = [_cell(value, row, beside.table, cell) for value in (*row.values, row.mean)]
        label = f"{_short(beside.label(row.loss)):<{_NAME}}{row.origin:<{_LABEL - _NAME}}"
        lines.append(f"{label}{''.join(cells)}".rstrip())
    cut = {beside.label(loss) for loss in beside.measured} - {_short(beside.label(loss)) for loss in beside.measured}
    notes = [*beside.notes(), *(f"{_short(label)} is {label}" for label in sorted(cut))]
    return "\n".join([*lines, "", *(part for told in notes for part in textwrap.wrap(told, _WIDTH))])


def _short(label: str) -> str:
    return label if len(label) < _NAME else label[: _NAME - 2] + "."


def _cell(value: float | None, row: TableRow, table: PublishedTable, width: int) -> str:
    if value is None:
        return f"{'-':>{width - 1}} "
    if row.is_accuracy:
        return f"{value:>{width - 1}.1f} "
    return f"{value:>+{width - 1}.2f}{'=' if table.rule(value) == 'same' else ' '}"


def as_csv(beside: Beside) -> str:
    """A line for each loss, origin and data set, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["loss", "origin", "formula", "data", "accuracy", "change", "rule", "verdicts"])
    for row in beside.lines():
        for data, value in zip(beside.table.sets, row.values, strict=True):
            if value is not None:
                writer.writerow(_csv_row(beside, row, data, value))
    return text.getvalue()


def _csv_row(beside: Beside, row: TableRow, data: str, value: float) -> list[object]:
    here = row.origin == "here"
    one = beside.measured[row.loss][data] if here else Measured()
    accuracy = value if row.is_accuracy else fmean(one.accuracies.values()) if one.accuracies else ""
    change = 0.0 if row.is_accuracy else value
    verdicts = "; ".join(f"{network}: {found}" for network, found in one.verdicts.items())
    formula = beside.formulas.get(row.loss, "") if here else ""
    return [beside.label(row.loss), row.origin, formula, data, accuracy, change, beside.table.rule(change), verdicts]


def as_latex(beside: Beside) -> str:
    r"""The table for a paper, with ``\usepackage{booktabs}``; changes that are not "same" are bold."""
    heads = " & ".join(["", "", *beside.table.sets.values(), "mean"])
    columns = "ll" + "r" * (len(beside.table.sets) + 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{heads} \\", r"\midrule"]
    for row in beside.lines():
        if row.loss in beside.begins_block:
            lines.append(r"\midrule")
        cells = [_latex_cell(value, row, beside.table) for value in (*row.values, row.mean)]
        lines.append(rf"{' & '.join([beside.label(row.loss), row.origin, *cells])} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_cell(value: float | None, row: TableRow, table: PublishedTable) -> str:
    if value is None:
        return "--"
    if row.is_accuracy:
        return f"${value:.1f}$"
    return f"${value:+.2f}$" if table.rule(value) == "same" else rf"$\mathbf{{{value:+.2f}}}$"
