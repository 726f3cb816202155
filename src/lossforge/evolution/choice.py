"""Which strategy a space names."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.evolution.genetic import GeneticStrategy, RandomStrategy
from lossforge.evolution.grid import GridStrategy
from lossforge.evolution.ranked import RankedStrategy
from lossforge.evolution.strategy import Strategy
from lossforge.spaces.schema import SearchSpace


def make_strategy(space: SearchSpace, classes: Sequence[int] = ()) -> Strategy:
    """The strategy that the space names. ``classes`` are the numbers of classes of its tasks, for sums of losses."""
    if space.evolution.strategy == "grid":
        return GridStrategy(space, classes)
    if space.evolution.strategy == "random":
        return RandomStrategy(space, classes)
    if space.evolution.surrogate.enabled and not space.fusion.losses:
        return RankedStrategy(space, classes)
    return GeneticStrategy(space, classes)
