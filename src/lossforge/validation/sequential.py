"""Looks at a study before all its seeds are there, with error rates and intervals that stay what they say.

Each look may spend a part of the error that the whole study is allowed (Lan and DeMets, Biometrika 70, 1983, 659-663).
Boundaries are those of a Brownian motion seen at the looks' shares of the seeds, by the recursion of Armitage,
McPherson and Rowe (1969). They are used as levels of the t-tests at each look, as Jennison and Turnbull (Group
Sequential Methods, 2000, sections 3.8 and 11.5) advise where the variance is estimated: from 4 seeds on an error of
5 % is then 5.3 % with Pocock's spending, and 5.0 % with O'Brien and Fleming's. Interval and p-value are the
repeated ones (Jennison and Turnbull 1989): they hold at every look at once, so for whatever reason one stops at it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.validation.statistics import PairedDifference, paired_difference

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

FIRST_LOOK = 4
"""Seeds of the first look; each further one has twice as many."""
_NODES = 128
"""Nodes of the quadrature between two boundaries: levels are exact to nine digits."""
_FURTHEST = 37.0
"""Standard deviations beyond which float64 knows no probability."""
_KNOTS = 160
_EXACT = (0.01, 0.05, 0.1, 0.9, 0.99, 0.999)
"""Errors that p-values are computed at, beside those of a regular grid; between them they are interpolated."""
_TINY = 1e-300
_LEAST = 1e-12
"""p-values below this are not told apart."""


class Spending(StrEnum):
    """How much of the error may be spent by a look; both are Lan and DeMets's (1983).

    ``POCOCK``: α ln(1 + (e - 1) t) at the share t of the seeds, nearly alike at all looks: large differences stop soon.
    ``OBRIEN_FLEMING``: 4 - 4 Φ(z / √t) with z the quantile of 1 - α/4, both sides together: next to nothing at first,
    and the last look has nearly all of it.
    """

    POCOCK = "pocock"
    OBRIEN_FLEMING = "obrien_fleming"

    def spent(self, share: float, alpha: float) -> float:
        """Error spent by the look at this share of the seeds, in (0, alpha]."""
        from scipy.special import ndtr, ndtri

        if self is Spending.POCOCK:
            return alpha * math.log1p((math.e - 1) * share)
        return float(4 * ndtr(ndtri(alpha / 4) / math.sqrt(share)))


def planned_looks(seeds: int, first: int = FIRST_LOOK) -> tuple[int, ...]:
    """Numbers of seeds at which is looked: 4, 8, 16 ..., and all.

    >>> planned_looks(24)
    (4, 8, 16, 24)
    """
    looks = []
    while first < seeds:
        looks.append(first)
        first *= 2
    return (*looks, seeds)


@lru_cache(maxsize=1024)
def nominal_levels(
    looks: tuple[int, ...], alpha: float = 0.05, spending: Spending = Spending.POCOCK
) -> tuple[float, ...]:
    """Two-sided level of the test at each look, so that all together err with probability ``alpha``.

    ``looks`` are rising numbers of seeds, the last one all that are planned. Raises ValueError for others.
    """
    if not looks or looks[0] < 1 or list(looks) != sorted(set(looks)):
        raise ValueError(f"looks must be rising numbers of seeds, not {looks}")
    motion, spent, levels = _Motion(), 0.0, []
    for look in looks:
        share = look / looks[-1]
        allowed = spending.spent(share, alpha)
        levels.append(motion.look(share, allowed - spent))
        spent = allowed
    return tuple(levels)


class _Motion:
    """Where a Brownian motion may be that has crossed no boundary so far: places, and the probability of each."""

    def __init__(self) -> None:
        import numpy

        self.time = 0.0
        self.places, self.masses = numpy.zeros(1), numpy.ones(1)
        self.nodes, self.weights = numpy.polynomial.legendre.leggauss(_NODES)

    def look(self, time: float, allowed: float) -> float:
        """Move on to ``time``, with a boundary that is crossed with probability ``allowed``; its two-sided level."""
        import numpy
        from scipy.optimize import brentq
        from scipy.special import ndtr

        step = math.sqrt(time - self.time)

        def crossed(boundary: float) -> float:
            return float(self.masses @ (ndtr((self.places - boundary) / step) + ndtr((-boundary - self.places) / step)))

        boundary = _FURTHEST * math.sqrt(time)
        if crossed(boundary) < allowed:
            boundary = float(brentq(lambda at: math.log(max(crossed(at), _TINY) / allowed), 0, boundary, xtol=1e-13))
        places = boundary * self.nodes
        steps = (places[:, None] - self.places) / step
        density = numpy.exp(-(steps**2) / 2) @ self.masses / (step * math.sqrt(2 * math.pi))
        self.time, self.places, self.masses = time, places, boundary * self.weights * density
        return float(2 * ndtr(-boundary / math.sqrt(time)))


def repeated_p(p: float, seeds: int, looks: tuple[int, ...], spending: Spending = Spending.POCOCK) -> float:
    """The least error of a whole study at which a test with this two-sided p-value, at this look, ends it.

    Below 0.05 exactly where the repeated 95 % interval leaves 0 out. ``seeds`` is one of the looks. p itself where
    there is one look only.
    """
    place = looks.index(seeds)
    if len(looks) == 1 or math.isnan(p):
        return p
    logarithm = math.log(max(p, _TINY))
    errors = _errors_at(looks, spending, place)
    if logarithm <= errors.x[0]:
        return _LEAST
    return 1.0 if logarithm >= errors.x[-1] else math.exp(float(errors(logarithm)))


@lru_cache(maxsize=64)
def _errors_at(looks: tuple[int, ...], spending: Spending, place: int) -> PchipInterpolator:
    """The error of a whole study by the level at a look; logarithms of both."""
    from scipy.interpolate import PchipInterpolator

    found: dict[float, float] = {}
    for error in sorted({*(_LEAST ** (step / _KNOTS) for step in range(1, _KNOTS + 1)), *_EXACT}):
        level = math.log(max(nominal_levels(looks, error, spending)[place], _TINY))
        if not found or level > max(found):
            found[level] = math.log(error)
    return PchipInterpolator(list(found), list(found.values()))


def at_look(
    differences: Sequence[float],
    looks: tuple[int, ...],
    *,
    resolution: float,
    confidence: float = 0.95,
    spending: Spending = Spending.POCOCK,
) -> PairedDifference:
    """Paired differences at one of the looks: the repeated interval and p-value, valid whether or not one stops here.

    With one look it is `lossforge.validation.statistics.paired_difference`. Raises ValueError where the differences
    are not as many as one of the looks has seeds.
    """
    if len(differences) not in looks:
        raise ValueError(f"{len(differences)} seeds are none of the looks {looks}")
    level = nominal_levels(looks, 1 - confidence, spending)[looks.index(len(differences))] if len(looks) > 1 else None
    found = paired_difference(differences, confidence if level is None else 1 - level, resolution=resolution)
    return replace(found, p=repeated_p(found.p, found.count, looks, spending))


def repeated_equivalence_p(p: float, seeds: int, looks: tuple[int, ...], spending: Spending = Spending.POCOCK) -> float:
    """The same of a one-sided p-value, as two one-sided tests for equivalence have it."""
    return repeated_p(min(1.0, 2 * p), seeds, looks, spending) / 2 if p < 0.5 else p
