"""A model of what a loss gains, of the direction of its probe gradient.

A forest of extremely randomised trees (Geurts, Ernst and Wehenkel 2006): it takes hundreds of correlated inputs and a
few dozen losses, its trees differ where little is known, and the same losses give the same forest. What a tree leaves
out of its sample tells how well the forest ranks what it has not seen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_FLOOR = -0.2
"""A gain below this is a failure; how far below says nothing of losses that work."""
_FEATURES = 0.1
"""Share of the inputs that a split is looked for in: many of them say the same."""
_FOREIGN = 0.25
"""What a loss of another run weighs: its gain is of another task, or of other seeds."""
_FEW = 10
"""Losses below which a correlation says little."""
_SUBSET = 8
"""Of so many trees one has a say in a Thompson draw."""


class Surrogate:
    """A forest fitted to ``(N, D)`` inputs, gains ``(N,)`` and their numbers of replicates ``(N,)``.

    The first ``foreign`` of them are another run's: they weigh a quarter, and `correlation` is not of them unless there
    is nothing else.
    """

    def __init__(
        self,
        inputs: NDArray[numpy.float64],
        gains: NDArray[numpy.float64],
        replicates: NDArray[numpy.float64],
        trees: int,
        seed: int,
        foreign: int = 0,
    ) -> None:
        import numpy
        from sklearn.ensemble import ExtraTreesRegressor

        targets = numpy.maximum(gains, _FLOOR)
        self._forest: Any = ExtraTreesRegressor(
            trees, max_features=_FEATURES, bootstrap=True, oob_score=True, random_state=seed % 2**32, n_jobs=1
        )
        weights = numpy.sqrt(replicates)
        weights[:foreign] *= _FOREIGN
        self._forest.fit(inputs, targets, sample_weight=weights)
        own = foreign if len(targets) - foreign >= _FEW else 0
        self._correlation = rank_correlation(targets[own:], self._forest.oob_prediction_[own:])

    @property
    def correlation(self) -> float:
        """Rank correlation of gains with what trees said that had not seen them; 0 where all are equal."""
        return self._correlation

    def of_trees(self, inputs: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        """What each tree expects, ``(T, N)``."""
        import numpy

        single = numpy.ascontiguousarray(inputs, dtype=numpy.float32)
        said = [tree.tree_.predict(single)[:, 0] for tree in self._forest.estimators_]
        return numpy.stack(said)

    def mean(self, inputs: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
        """What the forest expects, ``(N,)``."""
        expected: NDArray[numpy.float64] = self.of_trees(inputs).mean(axis=0)
        return expected


def thompson(said: NDArray[numpy.float64], seed: int) -> list[int]:
    """Places in the order of draws: each draw is of the best left in the eyes of a random part of the trees.

    ``said`` is ``(T, N)``. What all trees like comes early, and now and then what a few of them do.
    """
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    trees, count = said.shape
    part = max(1, math.ceil(trees / _SUBSET))
    left = numpy.ones(count, dtype=bool)
    order = []
    for _ in range(count):
        chosen = generator.choice(trees, part, replace=False)
        expected = numpy.where(left, said[numpy.sort(chosen)].mean(axis=0), -numpy.inf)
        best = int(expected.argmax())
        left[best] = False
        order.append(best)
    return order


def rank_correlation(some: Any, others: Any) -> float:
    """Spearman's; 0 where it is not defined, as where all are equal.

    >>> rank_correlation([1, 2, 3], [0.1, 0.2, 0.9]), rank_correlation([1, 1], [2, 3])
    (1.0, 0.0)
    """
    import numpy
    from scipy.stats import spearmanr

    if len(some) < 2 or min(numpy.ptp(numpy.asarray(values)) for values in (some, others)) == 0:
        return 0.0
    return round(float(spearmanr(some, others).statistic), 9)
