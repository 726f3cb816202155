"""Runs beside each other: how far each is, what leads it, what was shown of it, and which losses they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lossforge.errors import LossforgeError
from lossforge.report.run_data import RunData, read_run
from lossforge.report.verdict_text import headline
from lossforge.spaces.load import forbidden_changes


def compare_runs(paths: Sequence[Path]) -> list[dict[str, str]]:
    """A row for each property, with a column for each run. Raises LossforgeError for what is no run."""
    runs = [read_run(path) for path in paths]
    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise LossforgeError("compare: a run is named twice; name different ones")
    first = runs[0]
    columns = [_told(run, first) for run in runs]
    return [{"": key, **{name: column[key] for name, column in zip(names, columns, strict=True)}} for key in columns[0]]


def _told(run: RunData, first: RunData) -> dict[str, str]:
    best = run.entries[0] if run.entries else None
    changed = forbidden_changes(first.space, run.space)
    shared = set(run.judged) & set(first.judged)
    return {
        "space": run.space.name,
        "seed": str(run.space.seed),
        "other keys than the first": "" if run is first else ", ".join(changed) or "none",
        "generations": f"{run.generations_done} of {run.space.budget.generations}",
        "generated": f"{sum(run.tally.values()):,}",
        "trained": f"{len(run.judged):,}",
        "trained by the first too": "" if run is first else f"{len(shared):,}",
        "cross-entropy": "" if run.control is None else f"{run.control:.2%}",
        "gain of the leader": best.told_gain if best else "",
        "leader": best.formula if best else "",
        "workers' seconds": f"{sum(run.work.values()):,.0f}",
        "shown": headline(run),
    }
