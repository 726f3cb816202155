"""Tests and figures beside the t-test: against scipy's, published values, and the laws that they keep."""

from __future__ import annotations

import math
import random

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import PermutationMethod, binomtest, bootstrap, nct, t, ttest_1samp, wilcoxon

from lossforge.validation.paired import (
    MOST_SEEDS,
    bca_interval,
    effect_size,
    equivalence_p,
    other_tests,
    power_of,
    seeds_to_separate,
    sign_p,
    wilcoxon_p,
)
from lossforge.validation.statistics import PairedDifference, paired_difference

STEPS = st.lists(st.integers(-6, 6), min_size=2, max_size=8)
"""Differences as a test part has them: whole multiples of a sample, so with zeros and ties."""
FINE = 1e-12


@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_wilcoxon_is_that_of_all_permutations_of_signs(steps: list[int]) -> None:
    kept = [0.2 * step for step in steps if step]
    assume(len(kept) > 1)
    every = PermutationMethod(n_resamples=2 ** len(kept))
    with numpy.errstate(all="ignore"):
        expected = wilcoxon([round(one, 6) for one in kept], method=every).pvalue
    assert wilcoxon_p([0.2 * step for step in steps]) == pytest.approx(expected)


def test_wilcoxon_without_ties_is_scipys_exact_one() -> None:
    draw = random.Random(1)
    for count in (5, 20, 45):
        values = [draw.gauss(0.3, 1) for _ in range(count)]
        assert wilcoxon_p(values) == pytest.approx(wilcoxon(values, method="exact").pvalue)
    assert wilcoxon_p([1.0, 2.0, 3.0, 4.0]) == 0.125  # 2 / 2**4: four seeds cannot say more
    assert wilcoxon_p([0.0, 0.0]) == 1


@given(STEPS)
def test_the_sign_test_counts_signs(steps: list[int]) -> None:
    ahead, behind = sum(step > 0 for step in steps), sum(step < 0 for step in steps)
    expected = binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
    assert sign_p([0.2 * step for step in steps]) == pytest.approx(expected)


def test_bca_is_scipys_and_never_varies() -> None:
    values = [0.1, 0.9, 1.4, 0.4, 3.0, 0.2, 0.3, 0.8]
    low, high = bca_interval(values)
    other = bootstrap((values,), numpy.mean, method="BCa", n_resamples=50_000, rng=7).confidence_interval
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.1)
    assert high - sum(values) / 8 > sum(values) / 8 - low  # the long tail is above
    assert bca_interval(values) == (low, high)
    assert bca_interval([0.25] * 8) == (0.25, 0.25)


def test_effect_size_by_hand() -> None:
    # Mean 2, standard deviation 1; Hedges' factor for 2 degrees of freedom is gamma(1) / gamma(1/2) = 0.5642.
    assert effect_size([1.0, 2.0, 3.0], resolution=0.1) == pytest.approx(2 * 0.56419, abs=1e-4)
    assert effect_size([1.0, 2.0, 3.0], resolution=2.0) == pytest.approx(0.56419, abs=1e-4)
    assert effect_size([1.0] * 9, resolution=0.5) == pytest.approx(2 * (1 - 3 / (4 * 8 - 1)), abs=2e-3)


def test_all_of_them_come_together() -> None:
    values = [0.2, 0.4, -0.2, 0.6, 0.0]
    found = other_tests(values, resolution=0.2)
    assert (found.p_wilcoxon, found.p_sign) == (wilcoxon_p(values), sign_p(values))
    assert (found.low_bca, found.high_bca) == bca_interval(values)
    assert found.effect_size == effect_size(values, resolution=0.2)


@settings(deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=12), st.floats(0.1, 3))
def test_equivalence_is_two_one_sided_t_tests(values: list[float], margin: float) -> None:
    assume(numpy.std(values) > 1e-3)
    found = equivalence_p(paired_difference(values, resolution=FINE), margin)
    above = ttest_1samp(values, -margin, alternative="greater").pvalue
    below = ttest_1samp(values, margin, alternative="less").pvalue
    assert found == pytest.approx(max(above, below), abs=1e-9)
    ninety = paired_difference(values, 0.9, resolution=FINE)
    assume(abs(found - 0.05) > 1e-9)
    assert (found < 0.05) == (-margin < ninety.low and ninety.high < margin)


def test_no_margin_no_equivalence() -> None:
    assert equivalence_p(paired_difference([0.0] * 8, resolution=1e-6), 0.0) == 1


def of_effect(effect: float, count: int = 8) -> PairedDifference:
    return PairedDifference(effect, 0.0, 0.0, 0.5, count, 1 / math.sqrt(count))


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (-0.8, 15)])
def test_seeds_needed_are_those_of_published_tables(effect: float, seeds: int) -> None:
    # Paired t-test, two-sided 5 %, power 80 %: G*Power's numbers for small, medium and large effects.
    assert seeds_to_separate(of_effect(effect)) == seeds
    assert power_of(effect, seeds) >= 0.8 > power_of(effect, seeds - 1)


def test_the_power_that_is_stated_is_seen() -> None:
    draws = numpy.random.default_rng(0).normal(0.7, 1.0, (20_000, 19))
    assert power_of(0.7, 19) == pytest.approx((ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean(), abs=0.01)
    assert power_of(0.0, 8) == pytest.approx(0.05)
    tail = t.ppf(0.975, 11)
    assert power_of(-0.4, 12) == pytest.approx(nct.sf(tail, 11, 0.4 * 12**0.5) + nct.cdf(-tail, 11, 0.4 * 12**0.5))


def test_what_no_number_of_seeds_shows_is_none() -> None:
    assert seeds_to_separate(of_effect(0.0)) is None
    assert seeds_to_separate(of_effect(0.001)) is None
    assert seeds_to_separate(of_effect(0.8), resolution=0.8) is None  # one test sample is no proof
    few, many = seeds_to_separate(of_effect(0.8)), seeds_to_separate(of_effect(0.8), alpha=0.01)
    assert few is not None
    assert many is not None
    assert few < many <= MOST_SEEDS
