"""What is known of each candidate: accuracies by task and replicate, and the gain over cross-entropy.

An accuracy here is a task's metric (``task.metric``), accuracy unless it says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from lossforge.evolution.strategy import WORST_FITNESS
from lossforge.store.ledger import TrainingRow

if TYPE_CHECKING:
    from lossforge.spaces.schema import RecipeSection

Accuracies = dict[str, dict[int, float | None]]
"""Accuracy (0 to 1; None: failed) by task and replicate."""


@dataclass(slots=True)
class Judged:
    """One candidate that was trained, as first found."""

    key: str
    formula: str
    size: int
    generation: int
    origin: str
    accuracies: Accuracies = field(default_factory=dict)
    failure: str = ""


class Scores:
    """Every judged candidate of a run, and cross-entropy's accuracies on the same replicates."""

    def __init__(self) -> None:
        self.judged: dict[str, Judged] = {}
        self.control: Accuracies = {}

    def add_control(self, rows: Iterable[TrainingRow]) -> None:
        """Record trainings of cross-entropy."""
        for row in rows:
            self.control.setdefault(row.task, {})[row.replicate] = row.accuracy

    def add(self, rows: Iterable[TrainingRow]) -> None:
        """Record trainings of candidates, found by their key."""
        for row in rows:
            judged = self.judged.get(row.key)
            if judged is not None:
                judged.accuracies.setdefault(row.task, {})[row.replicate] = row.accuracy
                if row.accuracy is None:
                    judged.failure = row.outcome

    def replicates(self, key: str) -> int:
        """Replicates that the candidate was trained on (the fewest over tasks)."""
        return min((len(found) for found in self.judged[key].accuracies.values()), default=0)

    def gains(self, key: str) -> list[float]:
        """Accuracy minus cross-entropy's, a replicate each, averaged over tasks; empty where one failed."""
        by_task = []
        for task, found in self.judged[key].accuracies.items():
            pairs = [(found[replicate], self.control[task][replicate]) for replicate in sorted(found)]
            if any(candidate is None or control is None for candidate, control in pairs):
                return []
            by_task.append([(candidate or 0.0) - (control or 0.0) for candidate, control in pairs])
        return [fmean(values) for values in zip(*by_task, strict=False)]

    def fitness(self, key: str) -> float:
        """Mean gain, in [-1, 1]; the worst value for a candidate that failed."""
        gains = self.gains(key)
        return fmean(gains) if gains else WORST_FITNESS

    def accuracy(self, key: str) -> float:
        """Mean accuracy over tasks and replicates; 0 for a candidate that failed."""
        means = [_mean(found) for found in self.judged[key].accuracies.values()]
        return fmean(means) if means else 0.0

    def control_accuracy(self, key: str) -> float:
        """Cross-entropy's mean accuracy on the candidate's own replicates."""
        means = []
        for task, found in self.judged[key].accuracies.items():
            means.append(_mean({replicate: self.control[task][replicate] for replicate in found}))
        return fmean(means) if means else 0.0

    def ranking(self, seeds: int, without: str) -> list[str]:
        """Keys, best first, without ``without`` (cross-entropy's) and without failures.

        Those trained on ``seeds`` replicates or more come before all others: a mean of few seeds leads by
        luck. Among equals the smaller formula wins.
        """
        keys = [key for key in self.judged if key != without and self.gains(key)]
        return sorted(
            keys,
            key=lambda key: (
                self.replicates(key) < seeds,
                -self.fitness(key),
                self.judged[key].size,
                key,
            ),
        )


def _mean(found: dict[int, float | None]) -> float:
    return fmean(0.0 if value is None else value for value in found.values())


def floors(control: Iterable[TrainingRow], recipe: RecipeSection) -> dict[str, float]:
    """The accuracy on training batches, by task, below which a candidate is stopped early; from cross-entropy's."""
    if not recipe.stop_at:
        return {}
    found: dict[str, list[float]] = {}
    for row in control:
        value = json.loads(row.metrics).get("running_accuracy")
        if value is not None:
            found.setdefault(row.task, []).append(float(value))
    return {task: recipe.stop_below * fmean(values) for task, values in found.items()}
