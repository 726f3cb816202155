"""The learning rate at which a loss is at its best, by a recorded sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from lossforge.errors import LossforgeError
from lossforge.evaluation.records import Training
from lossforge.search.recorder import Recorder
from lossforge.search.scores import as_score
from lossforge.store.ledger import TrainingRow

MAX_EXTENSIONS = 3
"""Rates added beyond an end of the grid while the best rate lies at that end."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Mean accuracy (0 to 1) by learning rate, and the best rate; ``failed`` where no rate trained at all.

    ``reason`` is then why one of the trainings failed.
    """

    accuracies: dict[float, float]
    best: float
    at_edge: bool
    failed: bool = False
    reason: str = ""


TrainingsAt = Callable[[float], list[Training]]
"""Trainings of one loss at a learning rate."""


def sweep_together(
    recorder: Recorder, losses: dict[str, TrainingsAt], rates: list[float], stage: str
) -> dict[str, Sweep]:
    """Tune several losses on one grid, in the same way. Failed trainings count as in `as_score`.

    While a loss is best at an end of the grid, a further rate is tried beyond that end, up to
    ``MAX_EXTENSIONS`` times. Among equals the lower rate wins.
    """
    found: dict[str, dict[float, float]] = {name: {} for name in losses}
    reasons = dict.fromkeys(losses, "")
    wanted = {name: list(rates) for name in losses}
    for _ in range(MAX_EXTENSIONS + 1):
        jobs = [(name, rate, losses[name](rate)) for name, missing in wanted.items() for rate in missing]
        rows = iter(recorder.run([training for _, _, trainings in jobs for training in trainings], stage))
        for name, rate, trainings in jobs:
            answers = list(islice(rows, len(trainings)))
            found[name][rate] = _mean_accuracy(answers)
            reasons[name] = reasons[name] or next((row.reason for row in answers if row.accuracy is None), "")
        wanted = {name: _beyond(found[name]) for name in losses}
        if not any(wanted.values()):
            break
    return {name: _chosen(accuracies, reasons[name]) for name, accuracies in found.items()}


def _mean_accuracy(rows: list[TrainingRow]) -> float:
    return fmean(as_score(row.accuracy) for row in rows)


def _best(accuracies: dict[float, float]) -> float:
    return min(accuracies, key=lambda rate: (-accuracies[rate], rate))


def _beyond(accuracies: dict[float, float]) -> list[float]:
    """The rate to try next: half or double the best one where that is at an end."""
    rates = sorted(accuracies)
    best = _best(accuracies)
    if len(rates) < 2 or not any(accuracies.values()):
        return []
    ratio = rates[1] / rates[0] if best == rates[0] else rates[-1] / rates[-2]
    if best == rates[0]:
        return [float(f"{best / ratio:.3g}")]
    return [float(f"{best * ratio:.3g}")] if best == rates[-1] else []


def _chosen(accuracies: dict[float, float], reason: str) -> Sweep:
    best = _best(accuracies)
    failed = not any(accuracies.values())
    return Sweep(accuracies, best, best in (min(accuracies), max(accuracies)), failed, reason if failed else "")


def require_trained(sweep: Sweep, name: str) -> Sweep:
    """The sweep, or LossforgeError where every training failed at every rate."""
    if sweep.failed:
        tried = ", ".join(f"{rate:g}" for rate in sorted(sweep.accuracies))
        why = f", such as by: {sweep.reason}" if sweep.reason else ""
        raise LossforgeError(
            f"{name}: every training failed at every learning rate ({tried}){why}; check task and recipe"
        )
    return sweep
