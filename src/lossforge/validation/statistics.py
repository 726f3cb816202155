"""Paired differences: mean, 95 % interval, p-value, and the correction for having tried several losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of paired differences with its t-interval; ``p`` is two-sided, against no difference."""

    mean: float
    low: float
    high: float
    p: float
    count: int


def paired_difference(
    differences: Sequence[float], confidence: float = 0.95, resolution: float = 0.0
) -> PairedDifference:
    """Student's t on paired differences. Raises ValueError for fewer than two.

    ``resolution`` is the least difference that can be seen (one test image, or one pixel of a mask): the spread
    is taken to be no smaller, since equal differences of few seeds are no proof of certainty. Where it is 0 and
    all are equal, the interval is a point, and p is 0, or 1 where they are zero.
    """
    count = len(differences)
    if count < 2:
        raise ValueError(f"an interval needs two differences or more, not {count}")
    mean, spread = fmean(differences), max(stdev(differences), resolution)
    if spread == 0:
        return PairedDifference(mean, mean, mean, 1.0 if mean == 0 else 0.0, count)
    from scipy.stats import t

    error = spread / math.sqrt(count)
    reach = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    p = 2 * float(t.sf(abs(mean) / error, count - 1))
    return PairedDifference(mean, mean - reach, mean + reach, p, count)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): the chance of any false discovery stays below each."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - step)))
        adjusted[index] = running
    return adjusted
