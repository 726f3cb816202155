"""What each loss of a sum had of the gradient, epoch by epoch, as the trainings of a run kept it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from lossforge.errors import LossforgeError
from lossforge.losses.weighting_rules import parse_weighting
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage

_MOST_COLUMNS = 6
"""Epochs that a table for people shows."""
_STAGES = (Stage.SEARCH, Stage.CONTROL, Stage.TUNING, Stage.VALIDATION)


@dataclass(frozen=True, slots=True)
class TermShares:
    """Of one sum on a task: for each epoch, a mean over ``trainings``, each of the ``terms``' share of the gradient.

    A share is the length of the loss's gradient on the logits of the epoch's last batch, its weight in it, in those of
    all terms together. ``factors``, by epoch too, are those of a rule that changes the weights; empty without one.
    """

    task: str
    part: str
    formula: str
    terms: tuple[str, ...]
    trainings: int
    shares: tuple[tuple[float, ...], ...]
    factors: tuple[tuple[float, ...], ...] = ()

    @property
    def name(self) -> str:
        """The sum as it was written, in the rule for its weights where it has one."""
        ruled, added = parse_weighting(self.formula), " + ".join(self.terms)
        return added if ruled is None else ruled[0].around([added])


def term_shares(run: Path) -> list[TermShares]:
    """The shares that a run has, those of the last stage for each sum, in the order in which they were trained.

    Raises LossforgeError for a run without any, StoreError for what is no run.
    """
    ledger = Ledger(RunFolder.open(run).ledger_file, read_only=True)
    try:
        rows = [row for stage in _STAGES for row in ledger.trainings(stage)]
    finally:
        ledger.close()
    last: dict[tuple[str, str], str] = {}
    found: dict[tuple[str, str, str], list[tuple[TrainingRow, dict[str, list[list[float]]]]]] = {}
    for row in rows:
        metrics = json.loads(row.metrics)
        if metrics.get("gradient_shares"):
            last[row.task, row.key] = row.stage
            found.setdefault((row.task, row.key, row.stage), []).append((row, metrics))
    if not found:
        raise LossforgeError(
            f"{run}: has no shares of the gradient yet; the re-validation keeps them for sums of named losses, and a "
            "search with fusion.shares = true"
        )
    return [_shares(own) for (task, key, stage), own in found.items() if last[task, key] == stage]


def _shares(rows: Sequence[tuple[TrainingRow, dict[str, list[list[float]]]]]) -> TermShares:
    first, metrics = rows[0]
    return TermShares(
        task=first.task,
        part=first.part,
        formula=first.formula,
        terms=tuple(map(str, metrics["terms"])),
        trainings=len(rows),
        shares=_means([one["gradient_shares"] for _, one in rows]),
        factors=_means([one["term_factors"] for _, one in rows if "term_factors" in one]),
    )


def _means(trainings: Sequence[Sequence[Sequence[float]]]) -> tuple[tuple[float, ...], ...]:
    """Means over trainings, by epoch and term; of as many epochs as all have."""
    return tuple(
        tuple(fmean(values) for values in zip(*epochs, strict=True)) for epochs in zip(*trainings, strict=False)
    )


def share_cells(found: TermShares) -> Iterator[list[str]]:
    """A head, then a line for each term: its share in some epochs, the first and the last among them."""
    count = len(found.shares)
    shown = sorted({round(place * (count - 1) / (_MOST_COLUMNS - 1)) for place in range(_MOST_COLUMNS)})
    yield ["loss", *(f"epoch {place + 1}" for place in shown), *(["weight times, at the end"] if found.factors else [])]
    for number, term in enumerate(found.terms):
        line = [term, *(f"{found.shares[place][number]:.1%}" for place in shown)]
        yield [*line, f"{found.factors[-1][number]:.4g}"] if found.factors else line


def shares_as_csv(shares: Sequence[TermShares]) -> str:
    """All of it as one CSV, a row for each sum, epoch and term."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "part", "formula", "trainings", "epoch", "term", "share", "factor"])
    for one in shares:
        for epoch, values in enumerate(one.shares):
            for place, (term, value) in enumerate(zip(one.terms, values, strict=True)):
                factor = f"{one.factors[epoch][place]:.6g}" if one.factors else ""
                row = [one.task, one.part, one.formula, one.trainings, epoch + 1, term]
                writer.writerow([*row, f"{value:.6f}", factor])
    return text.getvalue()
