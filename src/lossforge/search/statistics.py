"""Paired differences: mean, 95 % interval, p-value, and the correction for having tried several losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of paired differences with its t-interval; ``p`` is two-sided, against no difference.

    ``error`` is the mean's standard error as the interval has it, with what the resolution adds.
    """

    mean: float
    low: float
    high: float
    p: float
    count: int
    error: float

    @classmethod
    def of_interval(cls, mean: float, low: float, high: float, p: float, count: int) -> PairedDifference:
        """The same from its 95 % t-interval, as results keep it."""
        return cls(mean, low, high, p, count, (high - low) / 2 / t_quantile(0.975, count - 1))

    def scaled(self, factor: float) -> PairedDifference:
        """The same in another unit; ``factor`` is above 0."""
        low, high, error = self.low * factor, self.high * factor, self.error * factor
        return PairedDifference(self.mean * factor, low, high, self.p, self.count, error)

    @property
    def spread(self) -> float:
        """Standard deviation of a single difference that this error comes of."""
        return self.error * math.sqrt(self.count)


def t_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's t with ``degrees`` of freedom, above 0."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def t_tail(value: float, degrees: float) -> float:
    """Probability that Student's t with ``degrees`` of freedom is above ``value``."""
    from scipy.special import stdtr

    return float(stdtr(degrees, -value))


def paired_difference(differences: Sequence[float], confidence: float = 0.95, *, resolution: float) -> PairedDifference:
    """Student's t on paired differences, in their unit, no finer than ``resolution``.

    ``resolution`` is the least difference that can be seen, above 0: what one test sample, or one pixel of a mask, is
    worth. Scores are multiples of it, so that differences may be equal by rounding alone, and the spread is taken
    to be no smaller than it. Nor does the interval reach less far than it to either side, however many seeds there
    are: they share their test samples, and a gain of one sample, seen on every seed, is a gain on one sample. The
    p-value is of the same error as the interval: below 1 - ``confidence`` exactly where the interval leaves 0 out.

    Raises ValueError for fewer than two differences, for one that is not finite, and for a resolution of 0 or less.
    """
    count = len(differences)
    if count < 2:
        raise ValueError(f"an interval needs two differences or more, not {count}")
    if not all(map(math.isfinite, differences)):
        raise ValueError("an interval needs differences that are finite numbers")
    if not 0 < resolution < math.inf:
        raise ValueError(f"the resolution must be a finite number above 0, not {resolution!r}")
    mean, spread = fmean(differences), max(stdev(differences), resolution)
    quantile = t_quantile((1 + confidence) / 2, count - 1)
    error = max(spread / math.sqrt(count), resolution / quantile)
    p = 2 * t_tail(abs(mean) / error, count - 1)
    return PairedDifference(mean, mean - quantile * error, mean + quantile * error, p, count, error)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): the chance of any false discovery stays below each."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - step)))
        adjusted[index] = running
    return adjusted
