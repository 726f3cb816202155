"""What is known of each candidate: accuracies by task and replicate, and the gain over cross-entropy.

An accuracy here is a task's metric (``task.metric``), accuracy unless it says otherwise.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING, TypeGuard

from lossforge.evolution.strategy import WORST_FITNESS, Known
from lossforge.search.fitness import advantage, aggregated, figure_of
from lossforge.store.ledger import TrainingRow

if TYPE_CHECKING:
    from lossforge.spaces.schema import FitnessSection, RecipeSection

Accuracies = dict[str, dict[int, float | None]]
"""Accuracy (0 to 1; None: failed) by task and replicate."""


@dataclass(slots=True)
class Judged:
    """One candidate that was trained, as first found. ``figures`` are what its fitness is of, where not accuracies."""

    key: str
    formula: str
    size: int
    generation: int
    origin: str
    accuracies: Accuracies = field(default_factory=dict)
    figures: Accuracies = field(default_factory=dict)
    failure: str = ""


FAILED = 0.0
"""What a training that failed counts as, wherever scores are averaged."""


def is_score(accuracy: float | None) -> TypeGuard[float]:
    """Whether a training gave a score: it did not fail, and what it gave is a number."""
    return accuracy is not None and isfinite(accuracy)


def as_score(accuracy: float | None) -> float:
    """A training's accuracy; `FAILED` where it has none.

    >>> as_score(0.9), as_score(None)
    (0.9, 0.0)
    """
    return accuracy if is_score(accuracy) else FAILED


_Place = tuple[bool, float, int, str]
"""What a candidate is ordered by; see `Scores.ranking`."""


class _Order:
    """Candidates in an order that is kept, not sorted anew: a search judges a few at a time, beside all before."""

    def __init__(self) -> None:
        self._places: list[_Place] = []
        self._of: dict[str, _Place] = {}

    def put(self, key: str, place: _Place) -> None:
        """Where a candidate stands from now on."""
        old = self._of.get(key)
        if old == place:
            return
        if old is not None:
            del self._places[bisect_left(self._places, old)]
        insort(self._places, place)
        self._of[key] = place

    def __iter__(self) -> Iterator[str]:
        return (key for _, _, _, key in self._places)


class Scores:
    """Every judged candidate of a run, and cross-entropy's accuracies on the same replicates.

    ``settings`` say what fitness is; the mean gain over tasks unless given.
    """

    def __init__(self, settings: FitnessSection | None = None) -> None:
        # The mean over tasks of differences of accuracies is what `gains` gives anyway.
        plain = settings is None or (settings.measure, settings.aggregate) == ("points", "mean")
        self._settings = None if plain else settings
        self._control_figures: Accuracies = {}
        self.judged: dict[str, Judged] = {}
        self.control: Accuracies = {}
        self._control_key = ""
        self._orders: dict[int, _Order] = {}
        self._moved: dict[int, dict[str, None]] = {}

    def enter(self, candidates: Iterable[Judged]) -> None:
        """Take in candidates, with the accuracies that they have; cross-entropy, as a candidate, with the control's."""
        for judged in candidates:
            if judged.key == self._control_key:
                judged.accuracies = {task: dict(found) for task, found in self.control.items()}
                judged.figures = {task: dict(found) for task, found in self._control_figures.items()}
            self.judged[judged.key] = judged
            self._changed(judged.key)

    def add_control(self, rows: Iterable[TrainingRow]) -> None:
        """Record trainings of cross-entropy."""
        for row in rows:
            self._control_key = row.key
            self.control.setdefault(row.task, {})[row.replicate] = row.accuracy
            self._note(row, self._control_figures)
        self._orders.clear()

    def add(self, rows: Iterable[TrainingRow]) -> None:
        """Record trainings of candidates, found by their key."""
        for row in rows:
            judged = self.judged.get(row.key)
            if judged is not None:
                judged.accuracies.setdefault(row.task, {})[row.replicate] = row.accuracy
                self._note(row, judged.figures)
                if row.accuracy is None:
                    judged.failure = row.outcome
                self._changed(row.key)

    def replicates(self, key: str) -> int:
        """Replicates that the candidate was trained on (the fewest over tasks)."""
        return min((len(found) for found in self.judged[key].accuracies.values()), default=0)

    def gains(self, key: str) -> list[float]:
        """Accuracy minus cross-entropy's, a replicate each, averaged over tasks; empty where one failed."""
        by_task = []
        for task, found in self.judged[key].accuracies.items():
            pairs = [(found[replicate], self.control[task][replicate]) for replicate in sorted(found)]
            gains = [mine - control for mine, control in pairs if is_score(mine) and is_score(control)]
            if len(gains) < len(pairs):
                return []
            by_task.append(gains)
        return [fmean(values) for values in zip(*by_task, strict=False)]

    def gain(self, key: str) -> float:
        """Mean gain, in [-1, 1]; the worst value for a candidate that failed."""
        gains = self.gains(key)
        return fmean(gains) if gains else WORST_FITNESS

    def fitness(self, key: str) -> float:
        """What the search selects by, in [-1, 1]: the mean gain, or see `lossforge.search.fitness`."""
        if self._settings is None or not self.gains(key):
            return self.gain(key)
        by_task = []
        for task, found in self.judged[key].figures.items():
            known = self._control_figures[task]
            pairs = [(found[replicate], known[replicate]) for replicate in sorted(found)]
            by_task.append(
                [advantage(mine, other, self._settings) for mine, other in pairs if is_score(mine) and is_score(other)]
            )
        return aggregated(by_task, self._settings) if all(by_task) else WORST_FITNESS

    def _note(self, row: TrainingRow, figures: Accuracies) -> None:
        if self._settings is not None:
            figures.setdefault(row.task, {})[row.replicate] = figure_of(row, self._settings)

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

    def known(self) -> list[Known]:
        """All that were judged, in that order, for the strategy to learn from."""
        return [
            Known(key, judged.formula, self.fitness(key), self.replicates(key), judged.generation, judged.origin)
            for key, judged in self.judged.items()
        ]

    def leaders(self, count: int) -> list[str]:
        """Keys of the best, failures last; among equals the smaller formula comes first."""
        return list(islice(self._order(0), count))

    def ranking(self, seeds: int, without: str, count: int | None = None) -> list[str]:
        """Keys, best first, without ``without`` (cross-entropy's) and without failures; the first ``count`` of them.

        Those trained on ``seeds`` replicates or more come before all others: a mean of few seeds leads by
        luck. Among equals the smaller formula wins.
        """
        return list(islice((key for key in self._order(seeds) if key != without and self.gains(key)), count))

    def _changed(self, key: str) -> None:
        for moved in self._moved.values():
            moved[key] = None

    def _order(self, seeds: int) -> _Order:
        """Candidates with ``seeds`` replicates or more before all others, then by fitness, size and key."""
        if seeds not in self._orders:
            self._orders[seeds], self._moved[seeds] = _Order(), dict.fromkeys(self.judged)
        order, moved = self._orders[seeds], self._moved[seeds]
        for key in moved:
            place = (self.replicates(key) < seeds, -self.fitness(key), self.judged[key].size, key)
            order.put(key, place)
        moved.clear()
        return order


def _mean(found: dict[int, float | None]) -> float:
    return fmean(map(as_score, found.values()))


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
