"""A run as a notebook shows it: the verdict, the leaders, and how the search went."""

from __future__ import annotations

from html import escape
from pathlib import Path

from lossforge.report.history import by_generation
from lossforge.report.loss_card import typeset
from lossforge.report.run_data import read_run
from lossforge.report.verdict_text import headline

_LEADERS = 5
_CELL = 'style="text-align:left;padding:3px 16px 3px 0"'


def run_html(path: Path) -> str:
    """HTML of a run, without a script or a request. Raises LossforgeError for what is no run."""
    data = read_run(path)
    rows = []
    for entry in data.entries[:_LEADERS]:
        formula = typeset(entry.formula)[0] or f"<code>{escape(entry.formula)}</code>"
        cells = (str(entry.rank), escape(entry.told_gain), str(entry.seeds))
        rows.append(f"<tr>{''.join(f'<td {_CELL}>{cell}</td>' for cell in cells)}<td {_CELL}>{formula}</td></tr>")
    head = "".join(f"<th {_CELL}>{name}</th>" for name in ("rank", "gain, points", "seeds", "loss"))
    leaders = f"<table><tr>{head}</tr>{''.join(rows)}</table>" if rows else ""
    picture = by_generation(data)
    drawn = f'<div style="max-width:460px">{picture.svg(alone=True)}</div>' if picture is not None else ""
    done = f"{data.generations_done} of {data.space.budget.generations} generations, seed {data.space.seed}"
    return (
        f'<div style="max-width:820px"><p><b>{escape(data.space.name)}</b> · {done} · '
        f"<code>{escape(str(data.path))}</code></p><p>{escape(headline(data))}</p>{leaders}{drawn}</div>"
    )
