"""Losses over several studies: each one's score in each, those of rivals included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lossforge.validation.comparison import Comparison
from lossforge.validation.statistics import t_quantile


def loss_of(row: Comparison) -> str:
    """What tables call the loss of a row."""
    return row.loss or row.formula


def scores_by_study(rows: Sequence[Comparison]) -> dict[str, list[float]]:
    """Mean score of each loss and rival in every study, by name; those that are not in all studies are left out.

    Seeds differ where pairs were decided early, so a loss has its study's first rival's score, of most seeds, with
    its own paired gain over it; a rival has that of its own most seeds.
    """
    studies = list(dict.fromkeys(row.title for row in rows))
    first = {row.title: row.rival for row in reversed(rows)}
    base: dict[str, tuple[int, float]] = {}
    for row in rows:
        if row.rival == first[row.title]:
            base[row.title] = max(base.get(row.title, (0, 0.0)), (row.seeds, row.rival_accuracy))
    found: dict[str, dict[str, tuple[int, float]]] = {}
    for row in rows:
        gained = [(loss_of(row), base[row.title][1] + row.gain / 100)] if row.rival == first[row.title] else []
        for name, score in (*gained, (row.rival, row.rival_accuracy)):
            own = found.setdefault(name, {})
            if own.get(row.title, (0, 0.0))[0] < row.seeds:
                own[row.title] = (row.seeds, score)
    return {
        name: [own[study][1] for study in studies] for name, own in found.items() if all(one in own for one in studies)
    }


@dataclass(frozen=True, slots=True)
class OverStudies:
    """A loss beside a rival over all studies: the mean of its gains with a 95 % interval, in points.

    Of these very studies, each counted once: the interval covers seeds, and not other studies.
    """

    loss: str
    rival: str
    studies: int
    gain: float
    low: float
    high: float


def over_studies(rows: Sequence[Comparison]) -> list[OverStudies]:
    """The mean of gains of each loss and rival that are in every study; nothing where there is one study only.

    Errors of independent means add up by their squares, with the degrees of freedom of Welch and Satterthwaite.
    """
    studies = {row.title for row in rows}
    pairs: dict[tuple[str, str], dict[str, Comparison]] = {}
    for row in rows:
        pairs.setdefault((loss_of(row), row.rival), {})[row.title] = row
    return [
        _over(loss, rival, list(found.values()))
        for (loss, rival), found in pairs.items()
        if len(studies) > 1 and set(found) == studies
    ]


def _over(loss: str, rival: str, rows: list[Comparison]) -> OverStudies:
    variances = [((row.high - row.low) / 2 / t_quantile(0.975, row.seeds - 1)) ** 2 for row in rows]
    total = sum(variances)
    degrees = total**2 / sum(one**2 / (row.seeds - 1) for one, row in zip(variances, rows, strict=True))
    gain = fmean(row.gain for row in rows)
    half = t_quantile(0.975, degrees) * math.sqrt(total) / len(rows)
    return OverStudies(loss, rival, len(rows), gain, gain - half, gain + half)
