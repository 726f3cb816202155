"""A race over replicates: who is clearly behind gets no more of them.

Candidates are trained on the same replicates, so that their differences are paired, and the noise of a difference is
estimated from all of them together: what is left of the gains once each candidate's mean and each replicate's mean are
taken out (as in a two-way layout; Birattari et al., "A racing algorithm for configuring metaheuristics", 2002).

One is dropped that is significantly below as many others as there are places. At most places - 1 others are truly
better than one that belongs among the best, so one of those that it seems below is not: with each comparison at
``error / ((K - 1) * looks)`` such a candidate is dropped with a probability of ``error`` at most, over all looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from lossforge.search.statistics import t_quantile

COHORTS = 4
"""Cohorts that a round of a race fills, so that workers have something to do between two looks."""


def round_lengths(candidates: int, replicates: int, lanes: int) -> int:
    """Replicates that each of so many candidates gets in the next round, of those that are left."""
    return min(replicates, max(1, COHORTS * lanes // max(1, candidates)))


def still_in(gains: Mapping[str, Sequence[float]], places: int, error: float, looks: int) -> list[str]:
    """The candidates that may be among the best ``places``; ``gains`` are each one's, a replicate each.

    All have the same replicates; with fewer than two of them, or no more candidates than places, nobody is dropped.
    ``error`` is the probability of the module's text, ``looks`` the number of times that one looks.
    """
    keys = list(gains)
    count = min((len(own) for own in gains.values()), default=0)
    if len(keys) <= places or count < 2 or error <= 0:
        return keys
    means = {key: fmean(gains[key][:count]) for key in keys}
    by_replicate = [fmean(gains[key][place] for key in keys) for place in range(count)]
    whole = fmean(by_replicate)
    left = sum(
        (gains[key][place] - means[key] - by_replicate[place] + whole) ** 2 for key in keys for place in range(count)
    )
    degrees = (len(keys) - 1) * (count - 1)
    deviation = math.sqrt(2 * left / degrees / count)
    least = deviation * t_quantile(1 - error / ((len(keys) - 1) * looks), degrees)
    ordered = sorted(means.values(), reverse=True)
    # Below the last of the places by so much is below all of them.
    return [key for key in keys if ordered[places - 1] - means[key] <= least]
