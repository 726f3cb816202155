"""More than the study's metric: likelihood, calibration, the worst class, transfer ... of every loss and rival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from lossforge.validation.statistics import paired_difference
from lossforge.validation.study import Result

FINEST = 1e-6
"""Metrics are kept to so many decimals."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A ``measure`` of one loss in a study: mean and standard deviation over seeds, in the measure's own unit.

    ``difference`` with its 95 % interval is to the study's first rival, paired by seed, where both trained; None
    where fewer than two are left, or where the loss is that rival.
    """

    study: str
    loss: str
    measure: str
    mean: float
    deviation: float
    seeds: int
    rival: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def measured(result: Result) -> list[Measured]:
    """Every measure of every loss and rival, measure by measure. Failed trainings have none."""
    contenders = [*result.losses, *result.rivals]
    first = len(result.losses)
    reference, rival = result.tested[first], result.rivals[0].name
    names = list(dict.fromkeys(name for scored in result.tested for name in scored.measures))
    rows = []
    for name in names:
        for place, one in enumerate(contenders):
            values = result.tested[place].measures.get(name, [])
            if not values:
                continue
            pairs = _paired(result.tested[place].lost, values, reference.lost, reference.measures.get(name, []))
            found = paired_difference(pairs, resolution=FINEST) if len(pairs) > 1 and place != first else None
            rows.append(
                Measured(
                    result.study.title,
                    one.name,
                    name,
                    fmean(values),
                    stdev(values) if len(values) > 1 else 0.0,
                    len(values),
                    rival,
                    None if found is None else found.mean,
                    None if found is None else found.low,
                    None if found is None else found.high,
                )
            )
    return rows


def _paired(
    lost: Sequence[bool], values: Sequence[float], other_lost: Sequence[bool], other_values: Sequence[float]
) -> list[float]:
    """Differences of the seeds at which neither failed."""
    mine, other = _by_seed(lost, values), _by_seed(other_lost, other_values)
    return [mine[seed] - other[seed] for seed in sorted(mine.keys() & other.keys())]


def _by_seed(lost: Sequence[bool], values: Sequence[float]) -> dict[int, float]:
    kept = [seed for seed, failed in enumerate(lost) if not failed]
    return dict(zip(kept, values, strict=False))
