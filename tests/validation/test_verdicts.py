"""Verdicts of pairs and over all rivals, and how often 2,000 simulated studies are told what is not so."""

from __future__ import annotations

import itertools
import random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from lossforge.validation.sequential import at_look, planned_looks
from lossforge.validation.statistics import PairedDifference, paired_difference
from lossforge.validation.verdicts import (
    LEAST_SEEDS,
    LossVerdict,
    Pair,
    Verdict,
    judge_losses,
    judge_pairs,
    undecided,
)

ALL, BASE, NONE = LossVerdict.BETTER_THAN_ALL_KNOWN, LossVerdict.BETTER_THAN_CROSS_ENTROPY, LossVerdict.NO_BETTER


def seen(gain: float, p: float, count: int = 8, error: float = 1.0) -> PairedDifference:
    return PairedDifference(gain, gain - 2 * error, gain + 2 * error, p, count, error)


def pair(gain: float, p: float, *, loss: str = "a", rival: str = "cross_entropy", **more: float) -> Pair:
    return Pair(loss, rival, seen(gain, p, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "verdict"),
    [
        (pair(1.0, 0.049), Verdict.BETTER),
        (pair(-1.0, 0.049), Verdict.WORSE),
        (pair(1.0, 0.05), Verdict.NOT_SEPARABLE),
        (pair(0.1, 0.4, error=0.1), Verdict.EQUIVALENT),
        (pair(0.1, 0.01, error=0.04), Verdict.BETTER),  # what is shown is never called equivalence
        (pair(0.5, 0.4, error=0.01), Verdict.NOT_SEPARABLE),
        (pair(1.0, 0.0, count=LEAST_SEEDS), Verdict.BETTER),
        (pair(1.0, 0.0, count=LEAST_SEEDS - 1), Verdict.NOT_SEPARABLE),
        (pair(0.0, 1.0, count=2, error=1e-9), Verdict.NOT_SEPARABLE),
        (pair(1.0, float("nan")), Verdict.NOT_SEPARABLE),
    ],
)
def test_a_pair_has_one_of_four_verdicts(one: Pair, verdict: Verdict) -> None:
    (judged,) = judge_pairs([one], margin=0.5)
    assert judged.verdict is verdict
    assert (judged.seeds_needed is not None) <= (verdict is Verdict.NOT_SEPARABLE)


def test_losses_beside_one_rival_are_corrected_for_their_number_and_rivals_are_not() -> None:
    losses = [pair(1.0, 0.02, loss=name) for name in "abc"]
    assert [one.p_adjusted for one in judge_pairs(losses)] == pytest.approx([0.06] * 3)
    rivals = [pair(1.0, 0.02, rival=name) for name in ("cross_entropy", "ngl", "focal")]
    assert [one.p_adjusted for one in judge_pairs(rivals)] == [0.02] * 3
    one, three = judge_pairs([pair(0.8, 0.2)]), judge_pairs([pair(0.8, 0.2, loss=name) for name in "abc"])
    assert one[0].seeds_needed is not None
    assert three[0].seeds_needed is not None
    assert one[0].seeds_needed < three[0].seeds_needed
    assert undecided([*three, *judge_pairs(losses[:1])]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("pairs", "verdict", "nearest"),
    [
        ([pair(1, 0.01), pair(2, 0.001, rival="ngl", error=0.5)], ALL, "cross_entropy"),
        ([pair(2, 0.01), pair(1, 0.2, rival="ngl")], BASE, "ngl"),
        ([pair(2, 0.01), pair(-1, 0.001, rival="ngl")], BASE, "ngl"),
        ([pair(1, 0.2), pair(2, 0.001, rival="ngl")], NONE, "cross_entropy"),
        ([pair(-1, 0.001), pair(-2, 0.001, rival="ngl")], NONE, "ngl"),
        ([pair(1, 0.001)], BASE, "cross_entropy"),  # no other known loss was there
        ([pair(1, 0.001, rival="ngl")], ALL, "ngl"),
        ([pair(1, 0.001, count=3), pair(1, 0.001, rival="ngl", count=3)], NONE, "cross_entropy"),
    ],
)
def test_a_loss_is_better_than_all_only_where_each_test_says_so(
    pairs: list[Pair], verdict: LossVerdict, nearest: str
) -> None:
    judged = judge_losses(pairs)["a"]
    assert (judged.verdict, judged.nearest_known) == (verdict, nearest)


def test_over_all_rivals_losses_are_corrected_for_their_number() -> None:
    pairs = [
        pair(1, 0.03, loss=loss, rival=rival) for loss, rival in itertools.product("ab", ["cross_entropy", "ngl", "x"])
    ]
    assert {one.verdict for one in judge_losses(pairs).values()} == {NONE}
    assert [one.p_adjusted for one in judge_losses(pairs).values()] == pytest.approx([0.06] * 2)
    assert judge_losses(pairs[:3])["a"].verdict is ALL
    assert judge_losses(pairs[:3])["a"].p_adjusted == 0.03  # three rivals, and no correction for them


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(0, 0.1)), min_size=6, max_size=6))
def test_better_than_all_is_better_in_every_pair(drawn: list[tuple[float, float]]) -> None:
    places = list(itertools.product("abc", ["cross_entropy", "ngl"]))
    pairs = [pair(*one, loss=loss, rival=rival) for one, (loss, rival) in zip(drawn, places, strict=True)]
    verdicts = dict(zip(places, (one.verdict for one in judge_pairs(pairs, margin=0.0)), strict=True))
    for loss, judged in judge_losses(pairs).items():
        mine = [verdict for (name, _), verdict in verdicts.items() if name == loss]
        if judged.verdict is ALL:
            assert mine == [Verdict.BETTER] * 2
        assert (judged.verdict is NONE) <= (verdicts[loss, "cross_entropy"] is not Verdict.BETTER)


STUDIES = 2_000
LOSSES, RIVALS = 4, ("cross_entropy", "ngl")


def studies(gains: list[float], seeds: int, first: int) -> list[list[Pair]]:
    """Studies of losses with these true gains over both rivals; each loss and rival varies alike from seed to seed."""
    generator = numpy.random.default_rng(first)
    losses = generator.normal(size=(STUDIES, len(gains), seeds)) + numpy.array(gains)[:, None]
    rivals = generator.normal(size=(STUDIES, len(RIVALS), seeds))
    return [
        [
            Pair(f"{loss}", rival, paired_difference((own[loss] - known[place]).tolist(), resolution=1e-9))
            for loss in range(len(gains))
            for place, rival in enumerate(RIVALS)
        ]
        for own, known in zip(losses, rivals, strict=True)
    ]


def test_two_thousand_studies_without_a_difference_find_one_as_seldom_as_they_say() -> None:
    found = studies([0.0] * LOSSES, 8, first=0)
    pairs = [judge_pairs([one for one in study if one.rival == "ngl"], margin=0.0) for study in found]
    wrong = [any(one.verdict in (Verdict.BETTER, Verdict.WORSE) for one in study) for study in pairs]
    assert numpy.mean(wrong) <= 0.06
    assert numpy.mean(wrong) > 0.02  # and it is no empty test
    all_known = [any(one.verdict is ALL for one in judge_losses(study).values()) for study in found]
    assert numpy.mean(all_known) <= 0.06


def test_losses_as_good_as_one_rival_are_not_called_better_than_all() -> None:
    # The hardest case of "better than each": far ahead of one rival, and level with the other.
    found = studies([0.0] * LOSSES, 8, first=1)
    shifted = [
        [
            Pair(one.loss, one.rival, seen(one.difference.mean + 9, 1e-9) if one.rival == "ngl" else one.difference)
            for one in study
        ]
        for study in found
    ]
    wrong = [any(one.verdict is ALL for one in judge_losses(study).values()) for study in shifted]
    assert 0.005 < numpy.mean(wrong) <= 0.06


def test_a_difference_is_found_as_often_as_the_power_says() -> None:
    # 19 seeds: an effect of 0.7 standard deviations of the paired differences has a power of 82 %.
    found = studies([0.7 * 2**0.5], 19, first=2)
    better = [judge_pairs(study[:1], margin=0.0)[0].verdict is Verdict.BETTER for study in found]
    assert numpy.mean(better) == pytest.approx(0.82, abs=0.03)


def test_what_differs_by_the_margin_is_seldom_called_equivalent() -> None:
    found = studies([0.5] * LOSSES, 24, first=3)
    wrong = [
        any(one.verdict is Verdict.EQUIVALENT for one in judge_pairs(study[:: len(RIVALS)], margin=0.5))
        for study in found
    ]
    assert numpy.mean(wrong) <= 0.06


def test_early_looks_find_no_more_than_they_are_allowed_and_their_intervals_hold() -> None:
    looks = planned_looks(16)
    draws = numpy.random.default_rng(4).normal(0.0, 1.0, (STUDIES, 16))
    wrong, held, seeds = 0, 0, []
    for values in draws.tolist():
        for look in looks:
            found = at_look(values[:look], looks, resolution=1e-9)
            (judged,) = judge_pairs([Pair("a", "ngl", found)], margin=0.0)
            if judged.verdict is not Verdict.NOT_SEPARABLE:
                break
        wrong += judged.verdict is not Verdict.NOT_SEPARABLE
        held += found.low <= 0 <= found.high
        seeds.append(look)
    assert 0.03 < wrong / STUDIES <= 0.06
    assert held / STUDIES >= 0.93
    assert set(seeds) == set(looks)


def test_an_independent_computation_agrees() -> None:
    draw = random.Random(0)
    scores = {
        name: [draw.gauss(mean, 1) for _ in range(12)]
        for name, mean in {"a": 1.5, "b": 0.4, "cross_entropy": 0.0, "ngl": 0.3}.items()
    }
    pairs, expected = [], {}
    for loss, rival in itertools.product("ab", RIVALS):
        differences = [x - y for x, y in zip(scores[loss], scores[rival], strict=True)]
        pairs.append(Pair(loss, rival, paired_difference(differences, resolution=1e-9)))
        expected[loss, rival] = float(ttest_rel(scores[loss], scores[rival]).pvalue)
    for one, judged in zip(pairs, judge_pairs(pairs), strict=True):
        other = expected["ab".replace(one.loss, ""), one.rival]
        own = expected[one.loss, one.rival]
        holm = min(1, 2 * own) if own <= other else max(own, min(1, 2 * other))
        assert judged.p_adjusted == pytest.approx(holm)
    for loss, over_all in judge_losses(pairs).items():
        largest = {
            name: max(
                expected[name, rival] if numpy.mean(scores[name]) > numpy.mean(scores[rival]) else 1.0
                for rival in RIVALS
            )
            for name in "ab"
        }
        first, second = sorted("ab", key=largest.__getitem__)
        holm = {first: min(1, 2 * largest[first])}
        holm[second] = max(holm[first], largest[second])
        assert over_all.p_adjusted == pytest.approx(holm[loss])
