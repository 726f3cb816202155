"""What the trainings of one loss on a test part gave, and how two losses compare there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from lossforge.search.scores import as_score, is_score
from lossforge.training.correctness import unpacked
from lossforge.validation.bootstrap import ImageInterval, over_seeds_and_images
from lossforge.validation.statistics import PairedDifference

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from lossforge.store.ledger import TrainingRow


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores in [0, 1], a seed each (0: the training failed); how many failed; which samples were right; who failed.

    ``measures`` are further figures of every training that did not fail, in the order of its seeds; see
    `lossforge.training.metrics`. ``correct`` is ``(seeds, samples)``, or None where that was not kept: by older
    versions, of masks or several labels, and by a training of the user's own.
    """

    scores: list[float]
    failed: int
    correct: NDArray[numpy.bool_] | None
    lost: list[bool] = field(default_factory=list)
    measures: dict[str, list[float]] = field(default_factory=dict)
    classes: int = 0

    @classmethod
    def of(cls, rows: Sequence[TrainingRow], classes: int = 0) -> Scored:
        """From a loss's rows in the ledger, in the order of the seeds; ``classes`` that occur (0: not known)."""
        values = [row.accuracy for row in rows]
        lost = [not is_score(value) for value in values]
        return cls([as_score(value) for value in values], sum(lost), _correct(rows), lost, _measures(rows), classes)

    @property
    def collapsed(self) -> int:
        """Networks that predict one class only: their recall is 1 for it and 0 for all others."""
        recalls = self.measures.get("balanced_accuracy", [])
        classes = self.classes
        return sum(abs(recall - 1 / classes) < _SAME for recall in recalls) if classes else 0

    def first(self, seeds: int) -> Scored:
        """The same of its first seeds."""
        if seeds == len(self.scores):
            return self
        correct = None if self.correct is None else self.correct[:seeds]
        lost, failed = self.lost[:seeds], sum(self.lost[:seeds])
        measures = {name: values[: seeds - failed] for name, values in self.measures.items()}
        return Scored(self.scores[:seeds], failed, correct, lost, measures, self.classes)

    def differences(self, other: Scored) -> list[float]:
        """Percentage points, a seed each, by which this loss is ahead."""
        return [100 * (a - b) for a, b in zip(self.scores, other.scores, strict=True)]


def _measures(rows: Sequence[TrainingRow]) -> dict[str, list[float]]:
    """The plain numbers among the metrics that every training has which did not fail."""
    found = [json.loads(row.metrics) for row in rows if is_score(row.accuracy)]
    names = [
        name
        for name in (found[0] if found else ())
        if all(isinstance(one.get(name), int | float) and not isinstance(one.get(name), bool) for one in found)
    ]
    return {name: [float(one[name]) for one in found] for name in names}


def _correct(rows: Sequence[TrainingRow]) -> NDArray[numpy.bool_] | None:
    """Which samples were right, ``(seeds, samples)``: of a training that failed, none."""
    import numpy

    by_seed = {row.seed: unpacked(json.loads(row.metrics)) for row in rows if is_score(row.accuracy)}
    counts = {None if found is None else len(found) for found in by_seed.values()}
    if len(counts) != 1 or None in counts:
        return None
    none_right = numpy.zeros(counts.pop() or 0, bool)
    return numpy.stack([none_right if (found := by_seed.get(row.seed)) is None else found for row in rows])


def over_images(one: Scored, other: Scored, difference: PairedDifference) -> ImageInterval | None:
    """Interval of the difference in accuracy, in points, over seeds and images; None where correctness is not known."""
    if one.correct is None or other.correct is None or one.correct.shape != other.correct.shape:
        return None
    if min(one.correct.shape) < 2:
        return None
    # Whole numbers until the end, so that the order of adding changes nothing.
    table = one.correct.astype(float) - other.correct.astype(float)
    found = over_seeds_and_images(table, difference.scaled(0.01))
    return ImageInterval(100 * found.low, 100 * found.high, found.images, found.images_to_settle)


_SAME = 1e-5
"""Metrics are kept to six digits."""
_LEAST_STEP = 1e-4
"""What a table shows of a score: a hundredth of a percentage point."""


def finest_step(tested: Sequence[Scored]) -> float:
    """The least difference between two scores that were seen: what one more or one less is worth, or a multiple."""
    seen = sorted({value for one in tested for value in one.scores})
    return max(_LEAST_STEP, min((b - a for a, b in pairwise(seen) if b - a > _LEAST_STEP / 2), default=0.0))
