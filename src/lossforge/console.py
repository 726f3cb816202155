"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lossforge.search.progress import LineProgress, LiveProgress, Progress
from lossforge.validation.comparison import LEGEND, Comparison, summaries, told, verdict

if TYPE_CHECKING:
    from lossforge.api import Run
    from lossforge.search.hall_of_fame import Entry


_WIDE = 110
"""Columns below which only the first rival is shown."""


def _console() -> Console:
    # A pipe has no width of its own; formulas should not be folded at 80 there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@contextmanager
def progress(json: bool) -> Iterator[Progress]:
    """Progress on standard error: a live panel on a terminal, lines elsewhere, nothing with ``--json``."""
    if json:
        yield Progress()
    elif sys.stderr.isatty():
        with LiveProgress(Console(stderr=True)) as shown:
            yield shown
    else:
        yield LineProgress(lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201


def print_json(value: object) -> None:
    """Print JSON to standard output."""
    sys.stdout.write(json_module.dumps(value, indent=1) + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    """Print dictionaries of the same keys."""
    if json:
        print_json([dict(row) for row in rows])
        return
    table = Table(*(rows[0] if rows else ("nothing here",)), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row.values()))
    _console().print(table)


def print_facts(facts: Mapping[str, Any], json: bool) -> None:
    """Print one dictionary."""
    if json:
        print_json(dict(facts))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[bold]{name.replace('_', ' ')}", escape(_text(value)))
    _console().print(table)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def print_losses(losses: list[dict[str, Any]], json: bool) -> None:
    """Print what `lossforge.inspection.losses.explain` found."""
    if json:
        print_json(losses)
        return
    console = _console()
    for loss in losses:
        table = Table.grid(padding=(0, 2))
        for name, value in _loss_rows(loss):
            table.add_row(f"[bold]{name}", escape(str(value)))
        console.print(table)
        if loss is not losses[-1]:
            console.print()


_SHORT = 100
"""Characters up to which the LaTeX of a derivative is worth a line."""


def _loss_rows(loss: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Name and text of everything that is told of a loss; what it does not have, or would repeat, is left out."""
    relative = loss["nearest"]
    yield "loss", loss["loss"]
    yield "formula", loss["formula"]
    if loss["label_smoothing"]:
        yield "smoothing", f"targets mixed with {loss['label_smoothing']:g} of the uniform distribution"
    if loss["simplified"] != loss["formula"]:
        yield "simplified", loss["simplified"]
    if loss["latex"]:
        yield "LaTeX", loss["latex"]
        yield "df/dp", loss["derivative"] or "too long to read"
    if loss["derivative_latex"] and len(loss["derivative_latex"]) <= _SHORT:
        yield "its LaTeX", loss["derivative_latex"]
    if loss["size"] is not None:
        yield "size", loss["size"]
        yield "signature", loss["signature"] or "none: the gradient is zero"
    yield "screens", _verdict(loss["screen"])
    yield "least at", _by_classes(loss["minimiser"], "p_t = {:.3g}")
    yield "gradient", _by_classes(loss["gradient_ratio"], "{:.3g} x cross-entropy's")
    yield "nearest", f"{relative['name']} (cosine of the gradients {relative['similarity']:.3f})"


def _verdict(screen: Mapping[str, Any]) -> str:
    verdict = "passes" if screen["passed"] else f"rejected by {screen['rejected_by']}: {screen['reason']}"
    return verdict + (" (with its sign repaired: -f descends)" if screen["sign_repaired"] else "")


def _by_classes(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{form.format(value)} for {classes} classes" for classes, value in values.items())


def print_hall_of_fame(entries: list[Entry], json: bool) -> None:
    """Print the leaders of a run."""
    if json:
        print_json([asdict(entry) for entry in entries])
        return
    from lossforge.spaces.task_section import metric_title

    measured = metric_title(entries[0].metric if entries else "accuracy")
    table = Table("rank", "formula", "size", "gain", "seeds", measured, "cross-entropy", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(
            str(entry.rank),
            escape(entry.formula),
            str(entry.size),
            f"{entry.gain:+.2f}",
            str(entry.seeds),
            f"{entry.accuracy:.2%}",
            f"{entry.control:.2%}",
        )
    console = _console()
    console.print(table)
    console.print(f"[dim]gain: percentage points of validation {measured} over cross-entropy, in the search")


def print_validation(rows: list[Comparison], json: bool) -> None:
    """Print a re-validation: one line a loss and task, one column a rival."""
    if json:
        print_json(told(rows))
        return
    from lossforge.spaces.task_section import metric_title
    from lossforge.validation.second_optimizer import under_both

    console = _console()
    rivals = list(dict.fromkeys(row.rival for row in rows))
    hidden = rivals[1:] if console.width < _WIDE else []
    rivals = [rival for rival in rivals if rival not in hidden]
    tasks = list(dict.fromkeys(row.task for row in rows))
    several = ["task"] if len(tasks) > 1 else []
    headings = [f"against {_rival_title(rival)}" for rival in rivals]
    table = Table("rank", "formula", "size", *several, "gain in search", *headings, box=None, pad_edge=False)
    by_place = {(row.rank, row.task, row.rival): row for row in rows}
    for task in tasks:
        for rank in sorted({row.rank for row in rows}):
            first = by_place[rank, task, rivals[0]]
            cells = [_interval(by_place[rank, task, rival]) for rival in rivals]
            place = [task] if several else []
            table.add_row(
                str(rank), escape(first.formula), str(first.size), *place, f"{first.search_gain:+.2f}", *cells
            )
    console.print(table)
    if hidden:
        console.print(f"[dim]a wider window, or --json, shows the rivals {', '.join(hidden)} too")
    if rows:
        rates = ", ".join(
            f"{row.rival} {row.rival_learning_rate:g}"
            for row in by_place.values()
            if row.rank == 1 and row.task == tasks[0]
        )
        measured = metric_title("+".join(dict.fromkeys(row.metric for row in rows)))
        console.print(
            f"[dim]against ...: percentage points of test {measured} with 95 % interval, {rows[0].seeds} paired fresh "
            f"seeds, every loss at its own best learning rate ({rates}); {LEGEND}"
        )
        if sentence := under_both(rows):
            console.print(f"[dim]{sentence}")
        for sentence in summaries(rows):
            console.print(escape(sentence))


def _rival_title(rival: str) -> str:
    """A name reads as words; a formula stays as it is."""
    return rival.replace("_", " ") if rival.isidentifier() else escape(rival)


def _interval(row: Comparison) -> str:
    mark = verdict(row).mark
    star = f" {mark}" if mark else ""
    star += f" ({row.failed} failed)" if row.failed else ""
    star += f" (rival: {row.rival_failed} failed)" if row.rival_failed else ""
    return f"{row.gain:+.2f} [{row.low:+.2f}, {row.high:+.2f}]{star}".replace("[", r"\[")


def print_run(run: Run, json: bool) -> None:
    """Print what a search found, and what to type next."""
    if json:
        print_json(
            {
                "run": str(run.path),
                "hall_of_fame": [asdict(entry) for entry in run.hall_of_fame],
                "validation": told(run.validation),
                "verdict": summaries(run.validation),
            }
        )
        return
    console = _console()
    if run.validation:
        print_validation(run.validation, json)
    else:
        print_hall_of_fame(run.hall_of_fame[:5], json)
    console.print(f"\nrun folder: [bold]{escape(str(run.path))}")
    console.print(
        f"  more generations  lossforge resume {run.path} --set budget.generations=40\n"
        f"  validate further  lossforge validate {run.path} --seeds 32\n"
        f"  export as Python  lossforge export {run.path}",
        markup=False,
    )
