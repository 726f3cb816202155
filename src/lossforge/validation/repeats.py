"""Many runs of one and the same thing: how far they scatter, how many died, what a gap between a few runs' means says.

Scores are percentage points, a run each. Draws never vary: they begin with a fixed seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from lossforge.search.scores import is_score
from lossforge.validation.paired import equivalence_p
from lossforge.validation.statistics import PairedDifference, paired_difference

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from lossforge.store.ledger import TrainingRow

Scores = Sequence[float | None]
"""Points, a run each, by seed; None where the run failed."""

DRAWS = 100_000
"""Groups of runs that are drawn."""
_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Repeated:
    """Runs of one thing, by seed: score on the training part and held out, in points (None: it failed).

    ``one_class`` and ``dead`` are shares, in [0, 1], of the runs that did not fail; see
    `lossforge.training.metrics.metrics_of_training_part`, which ``task.score_training`` asks for.
    """

    name: str
    trained: tuple[float | None, ...]
    held_out: tuple[float | None, ...]
    one_class: float
    dead: float

    @classmethod
    def of(cls, name: str, rows: Sequence[TrainingRow]) -> Repeated:
        """From rows of the ledger, by seed. Raises ValueError where training parts were not scored."""
        metrics: list[dict[str, Any]] = [json.loads(row.metrics) if is_score(row.accuracy) else {} for row in rows]
        kept = [one for one in metrics if one]
        if not kept or any("train_accuracy" not in one for one in kept):
            raise ValueError(f"{name}: the training part was not scored; set task.score_training = true")
        return cls(
            name,
            tuple(100 * one["train_accuracy"] if one else None for one in metrics),
            tuple(100 * row.accuracy if is_score(row.accuracy) else None for row in rows),
            fmean(one["one_class"] for one in kept),
            fmean(one["dead"] for one in kept),
        )

    @property
    def failed(self) -> int:
        """Runs that have no score."""
        return sum(score is None for score in self.held_out)


@dataclass(frozen=True, slots=True)
class Scatter:
    """Mean and standard deviation of single runs, and of means of ``size`` runs with 95 % of these between the ends."""

    mean: float
    deviation: float
    size: int
    deviation_of_means: float
    low: float
    high: float


def scatter(scores: Scores, size: int = 10) -> Scatter:
    """How far runs scatter, and means of ``size`` drawn with replacement. Raises ValueError for fewer than two runs."""
    import numpy

    known = _known(scores, 2)
    means = numpy.concatenate([known[draw].mean(1) for draw in _with_replacement(len(known), size, 0)])
    low, high = numpy.quantile(means, [0.025, 0.975])
    return Scatter(float(known.mean()), stdev(known.tolist()), size, float(means.std(ddof=1)), float(low), float(high))


def chance_of_gap(scores: Scores, gap: float, size: int = 10) -> float:
    """Probability that means of two groups of ``size`` runs of one thing are ``gap`` points apart, either way, or more.

    A permutation test's p-value: groups that share no run, drawn from all runs, the seen gap counted as one of the
    draws; so it is never 0. Raises ValueError for fewer than twice ``size`` runs.
    """
    import numpy

    known = _known(scores, 2 * size)
    generator = numpy.random.Generator(numpy.random.PCG64(1))
    hits = 0
    for _ in range(DRAWS // _AT_ONCE):
        order = generator.permuted(numpy.tile(numpy.arange(len(known)), (_AT_ONCE, 1)), axis=1)
        means = known[order[:, : 2 * size]].reshape(_AT_ONCE, 2, size).mean(2)
        hits += int((numpy.abs(means[:, 0] - means[:, 1]) >= gap - 1e-9).sum())
    return (hits + 1) / (DRAWS + 1)


def chance_of_lead(first: Scores, second: Scores, lead: float, size: int = 10) -> float:
    """Probability that a mean of ``size`` runs of the first is ``lead`` points or more above one of the second.

    Runs are drawn with replacement, and the lead in question is counted as one of the draws.
    """
    ahead, behind = _known(first, 2), _known(second, 2)
    hits = 0
    draws = zip(_with_replacement(len(ahead), size, 2), _with_replacement(len(behind), size, 3), strict=True)
    for one, other in draws:
        hits += int((ahead[one].mean(1) - behind[other].mean(1) >= lead - 1e-9).sum())
    return (hits + 1) / (DRAWS + 1)


def paired(first: Scores, second: Scores, margin: float, resolution: float) -> tuple[PairedDifference, float]:
    """First less second, paired by seed, and the p-value of two one-sided tests that they are not within ±``margin``.

    Pairs of which one failed are left out. Raises ValueError where fewer than two are left.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    difference = paired_difference([a - b for a, b in pairs], resolution=resolution)
    return difference, equivalence_p(difference, margin)


def _known(scores: Scores, least: int) -> NDArray[numpy.float64]:
    import numpy

    known = [score for score in scores if score is not None]
    if len(known) < least:
        raise ValueError(f"{len(known)} runs have a score, and {least} are needed")
    return numpy.array(known, dtype=float)


def _with_replacement(runs: int, size: int, seed: int) -> Iterator[NDArray[numpy.int64]]:
    """Places of runs, ``(draws, size)``, in pieces."""
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    for _ in range(DRAWS // _AT_ONCE):
        yield generator.integers(runs, size=(_AT_ONCE, size))
