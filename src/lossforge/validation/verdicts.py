"""What paired comparisons amount to: a verdict on each loss beside each rival, and one on each loss over all rivals.

Everything follows from mean, error and p-value of each pair. Pairs of one rival are corrected (Holm) for the number of
losses that were tried; equivalence too. A loss over all rivals is an intersection-union test (Berger 1982): "better
than each of them" is claimed only where each single test says so, hence its p-value is the largest of theirs, and the
number of rivals asks for no correction; the number of losses tried does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lossforge.validation.paired import equivalence_p, seeds_to_separate
from lossforge.validation.sequential import repeated_equivalence_p
from lossforge.validation.statistics import PairedDifference, holm

LEAST_SEEDS = 4
"""Seeds below which nothing is called better, worse or equivalent.

Two or three agree by accident too often: Student's t then rests on a spread that one or two numbers tell (its 95 %
quantile is 12.7 and 4.3, against 3.2 for four), and without trust in that spread, two or three differences of one sign
are what chance alone gives once in two or four times. The interval is printed all the same.
"""
SIGNIFICANT = 0.05
"""The adjusted p-value below which a difference counts."""
BASELINE = "cross_entropy"
"""The rival's name that `LossVerdict` speaks of."""
MARGIN = 0.5
"""Percentage points within which two losses are equivalent, unless a plan says otherwise."""


class Verdict(StrEnum):
    """Of one loss beside one rival.

    A difference that is shown is never called equivalence, however small: what is equivalent is within the margin and
    not told apart.
    """

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NOT_SEPARABLE = "not_separable"

    @property
    def words(self) -> str:
        """As people read it."""
        return self.replace("_", " ")


class LossVerdict(StrEnum):
    """Of one loss over all rivals.

    With cross-entropy as the only rival the first is never given: nothing else that is known was there.
    """

    BETTER_THAN_ALL_KNOWN = "better_than_all_known"
    BETTER_THAN_CROSS_ENTROPY = "better_than_cross_entropy"
    NO_BETTER = "no_better"


@dataclass(frozen=True, slots=True)
class Pair:
    """A loss beside a rival in one study; ``p`` of the difference is the unadjusted one."""

    loss: str
    rival: str
    difference: PairedDifference


@dataclass(frozen=True, slots=True)
class PairJudgement:
    """``p_adjusted`` of the difference and ``p_equivalent`` are Holm's over the losses beside this rival.

    ``seeds_needed``, of what is not separable, would separate the two with a probability of 80 % (None: no number up
    to 10,000 would).
    """

    verdict: Verdict
    p_adjusted: float
    p_equivalent: float
    seeds_needed: int | None

    @classmethod
    def open(cls) -> PairJudgement:
        """Of a pair that nothing is known of yet."""
        return cls(Verdict.NOT_SEPARABLE, 1.0, 1.0, None)


@dataclass(frozen=True, slots=True)
class LossJudgement:
    """``p_adjusted`` is that of "better than each rival", Holm's over the losses tried.

    ``nearest_known`` is the rival beside which least speaks for the loss.
    """

    verdict: LossVerdict
    p_adjusted: float
    nearest_known: str


def judge_pairs(
    pairs: Sequence[Pair], *, margin: float = MARGIN, resolution: float = 0.0, looks: tuple[int, ...] = ()
) -> list[PairJudgement]:
    """A judgement of each pair of one study, in order. ``margin`` (0: no equivalence) in the differences' unit.

    ``resolution`` is what one test sample is worth: no number of seeds shows a smaller difference. Where the study was
    looked at before its end, differences are those of `lossforge.validation.sequential.at_look` at one of the
    ``looks``, and p-values of equivalence are corrected for them too.
    """
    by_rival = _grouped(pair.rival for pair in pairs)
    judged: dict[int, PairJudgement] = {}
    for places in by_rival.values():
        found = [pairs[place].difference for place in places]
        adjusted = holm([one.p for one in found])
        equivalent = holm([_equivalence(one, margin, looks) for one in found])
        for place, one, p, p_equivalent in zip(places, found, adjusted, equivalent, strict=True):
            verdict, needed = verdict_of(one, p, p_equivalent), None
            if verdict is Verdict.NOT_SEPARABLE:
                needed = seeds_to_separate(one, alpha=SIGNIFICANT / len(found), resolution=resolution)
            judged[place] = PairJudgement(verdict, p, p_equivalent, needed)
    return [judged[place] for place in range(len(pairs))]


def _equivalence(difference: PairedDifference, margin: float, looks: tuple[int, ...]) -> float:
    p = equivalence_p(difference, margin)
    return repeated_equivalence_p(p, difference.count, looks) if looks else p


def _grouped(names: Iterable[str]) -> dict[str, list[int]]:
    """The places of each name, in the order in which names first occur."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(name, []).append(place)
    return groups


def verdict_of(difference: PairedDifference, p_adjusted: float, p_equivalent: float) -> Verdict:
    """The verdict that adjusted p-values of a difference and of equivalence amount to."""
    if difference.count < LEAST_SEEDS:
        return Verdict.NOT_SEPARABLE
    if p_adjusted < SIGNIFICANT:
        return Verdict.BETTER if difference.mean > 0 else Verdict.WORSE
    return Verdict.EQUIVALENT if p_equivalent < SIGNIFICANT else Verdict.NOT_SEPARABLE


def judge_losses(pairs: Sequence[Pair]) -> dict[str, LossJudgement]:
    """A judgement of each loss of one study over all its rivals, in the order in which losses first occur."""
    by_loss = _grouped(pair.loss for pair in pairs)
    baseline = [pair for pair in pairs if pair.rival == BASELINE]
    adjusted = holm([pair.difference.p for pair in baseline])
    better = {
        pair.loss
        for pair, p in zip(baseline, adjusted, strict=True)
        if verdict_of(pair.difference, p, 1.0) is Verdict.BETTER
    }
    of_all = holm([max(_p_better(pairs[place].difference) for place in places) for places in by_loss.values()])
    judged = {}
    for (loss, places), p in zip(by_loss.items(), of_all, strict=True):
        nearest = min(places, key=lambda place: _evidence(pairs[place].difference))
        enough = all(pairs[place].difference.count >= LEAST_SEEDS for place in places)
        others = any(pairs[place].rival != BASELINE for place in places)
        if p < SIGNIFICANT and enough and others:
            verdict = LossVerdict.BETTER_THAN_ALL_KNOWN
        elif loss in better:
            verdict = LossVerdict.BETTER_THAN_CROSS_ENTROPY
        else:
            verdict = LossVerdict.NO_BETTER
        judged[loss] = LossJudgement(verdict, p, pairs[nearest].rival)
    return judged


def _p_better(difference: PairedDifference) -> float:
    """p-value of being better: the two-sided one, as everywhere here, and 1 for what is not ahead."""
    return difference.p if difference.mean > 0 else 1.0


def _evidence(difference: PairedDifference) -> tuple[float, float]:
    """How much speaks for a loss beside a rival: the statistic of its test, and among equals the gain."""
    statistic = difference.mean / difference.error if difference.error else math.copysign(math.inf, difference.mean)
    return statistic, difference.mean


def undecided(judged: Sequence[PairJudgement]) -> list[int]:
    """Places of the pairs that more seeds might decide: at a look, all others may stop."""
    return [place for place, one in enumerate(judged) if one.verdict is Verdict.NOT_SEPARABLE]
