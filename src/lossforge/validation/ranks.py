"""Several losses over several studies: mean ranks, Friedman's test, and which losses Nemenyi's test cannot tell apart.

As Demšar has it (Statistical comparisons of classifiers over multiple data sets, JMLR 7, 2006, 1-30); the data of
his critical-difference diagram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RankComparison:
    """Losses in the order of their mean ranks (1 is the best), lowest first.

    ``p_friedman`` is of no difference among them, by Friedman's statistic ``chi_square``: the share of 20,000 draws, in
    which each study's ranks are dealt anew, that have one as large. It is never 0, and right for few studies too.
    ``cliques`` are the maximal groups, each of two or more neighbours, whose ranks differ by less than
    ``critical_difference``: bars of the diagram.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    studies: int
    chi_square: float
    p_friedman: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]


def compare_ranks(scores: Mapping[str, Sequence[float]], alpha: float = 0.05) -> RankComparison:
    """Compare losses by their scores in the same studies, in order; the more the better, equal ones share ranks.

    A study is a data set, or any other block that has nothing in common with the next; seeds of one study are none.
    Raises ValueError for fewer than two losses or studies, and where a loss lacks a study.
    """
    import numpy
    from scipy.stats import rankdata

    names, lengths = list(scores), {len(values) for values in scores.values()}
    if len(names) < 2 or len(lengths) != 1 or lengths == {0} or lengths == {1}:
        raise ValueError("ranks need two losses or more, each with a score in the same two studies or more")
    table = rankdata(-numpy.array([scores[name] for name in names], float), axis=0)
    losses, studies = table.shape
    ranks = table.mean(1)
    spread = float((table**2).sum()) - studies * losses * (losses + 1) ** 2 / 4  # with ties it is less
    between = studies**2 * float(((ranks - (losses + 1) / 2) ** 2).sum())
    chi_square = (losses - 1) * between / spread if spread else 0.0
    p = _by_permutation(table)
    distance = critical_difference(losses, studies, alpha)
    order = sorted(range(losses), key=lambda place: (ranks[place], names[place]))
    sorted_names, sorted_ranks = [names[place] for place in order], [float(ranks[place]) for place in order]
    return RankComparison(
        names=tuple(sorted_names),
        ranks=tuple(sorted_ranks),
        studies=studies,
        chi_square=chi_square,
        p_friedman=p,
        critical_difference=distance,
        cliques=tuple(tuple(sorted_names[a:b]) for a, b in _cliques(sorted_ranks, distance)),
    )


_DRAWS = 19_999


def _by_permutation(table: NDArray[numpy.float64]) -> float:
    """p-value of ranks ``(losses, studies)``: each study's are dealt anew. The draws are always the same."""
    import numpy

    losses, studies = table.shape
    generator = numpy.random.Generator(numpy.random.PCG64(0))
    sums = numpy.zeros((_DRAWS, losses))
    for study in range(studies):
        sums += generator.permuted(numpy.broadcast_to(table[:, study], (_DRAWS, losses)), axis=1)
    middle = studies * (losses + 1) / 2
    drawn, seen = ((sums - middle) ** 2).sum(1), ((table.sum(1) - middle) ** 2).sum()
    return float((1 + (drawn >= seen - 1e-9).sum()) / (1 + _DRAWS))


def critical_difference(losses: int, studies: int, alpha: float = 0.05) -> float:
    """Nemenyi's: mean ranks of two of so many losses that differ by it or more are told apart."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, losses, math.inf)) / math.sqrt(2)
    return quantile * math.sqrt(losses * (losses + 1) / (6 * studies))


def _cliques(ranks: Sequence[float], distance: float) -> list[tuple[int, int]]:
    """Begin and end of each longest stretch of rising ranks that spans less than the distance."""
    found: list[tuple[int, int]] = []
    for begin, low in enumerate(ranks):
        end = max(place + 1 for place, rank in enumerate(ranks) if place >= begin and rank - low < distance)
        if end - begin > 1 and (not found or end > found[-1][1]):
            found.append((begin, end))
    return found
