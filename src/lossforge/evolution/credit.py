"""Which operators have found something, and whether the search finds anything any more: from what is judged alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from lossforge.evolution.strategy import Known

RANKED = "ranked "
"""What the origin of a proposal begins with that a surrogate chose."""
_LIMIT = 3.0
"""An operator's chance becomes at most so many times larger or smaller."""


def credits_of(known: Sequence[Known]) -> dict[str, float]:
    """By which factor each origin's chance is changed, within a third and three: 1 is an origin as good as the mean.

    An operator succeeds where what it found is better than the median of its generation. One that was seldom tried is
    taken to be like the others (a success and a failure are added to what is counted).
    """
    medians = {
        number: median([one.fitness for one in known if one.generation == number])
        for number in {one.generation for one in known}
    }
    won: dict[str, int] = {}
    tried: dict[str, int] = {}
    for one in known:
        origin = one.origin.removeprefix(RANKED)
        tried[origin] = tried.get(origin, 0) + 1
        won[origin] = won.get(origin, 0) + (one.fitness > medians[one.generation])
    if not tried:
        return {}
    mean = (sum(won.values()) + 1) / (sum(tried.values()) + 2)
    return {
        origin: min(max((won[origin] + 1) / (tried[origin] + 2) / mean, 1 / _LIMIT), _LIMIT) for origin in sorted(tried)
    }


def idle(known: Sequence[Known]) -> int:
    """Generations since the best of all was found; 0 where it is of the last one."""
    if not known:
        return 0
    best = max(known, key=lambda one: (one.fitness, -one.generation))
    return max(one.generation for one in known) - best.generation
