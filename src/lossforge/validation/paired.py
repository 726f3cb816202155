"""What stands beside the paired t-test: other tests of no difference, equivalence, effect size, and seeds needed.

The t-test of `lossforge.validation.statistics` decides; these say whether it can be trusted, and what would settle an
open question. Differences are in the unit of the caller (percentage points), one a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from lossforge.validation.statistics import PairedDifference, t_quantile, t_tail

POWER = 0.8
"""Probability with which the seeds that are named would separate two losses."""
MOST_SEEDS = 10_000
"""Seeds beyond which none are named: nobody trains so many."""
_DRAWS = 9_999
_DIGITS = 9
"""Decimals in which differences are equal, and so tied: beyond them they differ by rounding."""


@dataclass(frozen=True, slots=True)
class OtherTests:
    """``p_wilcoxon`` and ``p_sign``, two-sided; the BCa bootstrap's 95 % interval; ``effect_size``, Hedges' g."""

    p_wilcoxon: float
    p_sign: float
    low_bca: float
    high_bca: float
    effect_size: float


def other_tests(differences: Sequence[float], *, resolution: float) -> OtherTests:
    """All of them. ``resolution``: see `lossforge.validation.statistics.paired_difference`."""
    low, high = bca_interval(differences)
    effect = effect_size(differences, resolution=resolution)
    return OtherTests(wilcoxon_p(differences), sign_p(differences), low, high, effect)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Exact two-sided p-value of Wilcoxon's signed-rank test (1945); zeros are left out, ties share their mean rank.

    The distribution of the rank sum is that of all signs being equally likely, ties or not; 1 where all are zero.
    """
    import numpy
    from scipy.stats import rankdata

    kept = numpy.array([value for value in (round(one, _DIGITS) for one in differences) if value])
    if not len(kept):
        return 1.0
    # Twice the mean ranks are whole numbers, so that sums of them are places in a table.
    ranks = numpy.rint(2 * rankdata(abs(kept))).astype(int)
    chances = numpy.zeros(ranks.sum() + 1)
    chances[0] = 1.0
    for rank in ranks:
        chances[rank:] = (chances[rank:] + chances[:-rank]) / 2
        chances[:rank] /= 2
    seen = int(ranks[kept > 0].sum())
    return min(1.0, 2 * float(min(chances[: seen + 1].sum(), chances[seen:].sum())))


def sign_p(differences: Sequence[float]) -> float:
    """Exact two-sided p-value of the sign test; zeros are left out, and 1 where all are."""
    from scipy.stats import binomtest

    signs = [value > 0 for value in (round(one, _DIGITS) for one in differences) if value]
    return float(binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0


def bca_interval(differences: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Bootstrap interval of the mean, corrected for bias and acceleration (Efron 1987), of draws that never vary.

    With fewer than some twenty seeds it is known to be too short; it shows skewness, and decides nothing.
    """
    import numpy
    from scipy.stats import bootstrap

    mean = fmean(differences)
    if len({round(one, _DIGITS) for one in differences}) == 1:
        return mean, mean
    found = bootstrap(
        (numpy.array(differences),),
        numpy.mean,
        confidence_level=confidence,
        n_resamples=_DRAWS,
        method="BCa",
        rng=numpy.random.Generator(numpy.random.PCG64(0)),
    ).confidence_interval
    return float(found.low), float(found.high)


def effect_size(differences: Sequence[float], *, resolution: float) -> float:
    """Mean over standard deviation of the paired differences, with Hedges' correction (1981) for few of them.

    The standard deviation is taken to be no smaller than ``resolution``. Beyond 0.8 people speak of a large effect.
    """
    degrees = len(differences) - 1
    correction = math.exp(
        math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2) - math.log(degrees / 2) / 2 if degrees > 1 else 0.0
    )
    return correction * fmean(differences) / max(stdev(differences), resolution)


def equivalence_p(difference: PairedDifference, margin: float) -> float:
    """p-value of two one-sided tests (Schuirmann 1987) that the mean is not within ±``margin``; the larger of both.

    Below 0.05 exactly where the 90 % interval lies within the margin. 1 where ``margin`` is 0.
    """
    if margin <= 0:
        return 1.0
    nearest = margin - abs(difference.mean)
    return t_tail(nearest / difference.error, difference.count - 1)


def power_of(effect: float, count: int, alpha: float = 0.05) -> float:
    """Probability that a two-sided paired t-test on ``count`` pairs finds an effect of so many standard deviations."""
    from scipy.special import nctdtr

    quantile, shift = t_quantile(1 - alpha / 2, count - 1), abs(effect) * math.sqrt(count)
    return float(1 - nctdtr(count - 1, shift, quantile) + nctdtr(count - 1, shift, -quantile))


def seeds_to_separate(
    difference: PairedDifference, *, alpha: float = 0.05, power: float = POWER, resolution: float = 0.0
) -> int | None:
    """The least number of seeds that would find a difference as large as this one with probability ``power``.

    Its mean and spread are taken for the truth. None where more than ``MOST_SEEDS`` would be needed, or where
    the mean is no larger than ``resolution``: that is one test sample, and no number of seeds shows it.
    """
    if abs(difference.mean) <= resolution or not difference.spread:
        return None
    from scipy.special import ndtri

    effect = abs(difference.mean) / difference.spread
    # With a spread that is known fewer are enough, and not by many: begin there.
    needed = float(ndtri(1 - alpha / 2) + ndtri(power))
    if needed > effect * math.sqrt(MOST_SEEDS):
        return None
    count = max(2, math.ceil((needed / effect) ** 2) - 1)
    while count <= MOST_SEEDS:
        if power_of(effect, count, alpha) >= power:
            return count
        count += 1
    return None
