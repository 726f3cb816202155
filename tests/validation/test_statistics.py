from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from lossforge.validation.statistics import holm, paired_difference

ACCURACIES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20)
P_VALUES = st.lists(st.floats(0, 1), max_size=10)


@settings(deadline=None)
@given(pairs=ACCURACIES, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_mean_interval_and_p_are_those_of_scipy(pairs: list[tuple[float, float]], confidence: float) -> None:
    differences = [a - b for a, b in pairs]
    mean = math.fsum(differences) / len(differences)
    # scipy warns of lost precision where differences are equal but for rounding.
    assume(max(abs(difference - mean) for difference in differences) > 1e-6)
    found = paired_difference(differences, confidence)
    expected = ttest_rel([a for a, _ in pairs], [b for _, b in pairs])
    interval = expected.confidence_interval(confidence)
    assert found.count == len(pairs)
    assert found.mean == pytest.approx(mean, abs=1e-12)
    assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-9)


def test_values_worked_out_by_hand() -> None:
    # Mean 2, standard deviation 1, error 1 / sqrt(3); t(0.975, 2 degrees) = 4.302653.
    found = paired_difference([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    # For 2 degrees of freedom p = 1 - t / sqrt(2 + t**2), with t**2 = 12.
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-12)


@settings(deadline=None)
@given(pairs=ACCURACIES)
def test_turning_the_comparison_round_turns_the_interval_round(pairs: list[tuple[float, float]]) -> None:
    there = paired_difference([a - b for a, b in pairs])
    back = paired_difference([b - a for a, b in pairs])
    assert (back.mean, back.low, back.high) == (-there.mean, -there.high, -there.low)
    assert back.p == there.p
    assert there.low <= there.mean <= there.high
    assert 0 <= there.p <= 1


@settings(deadline=None)
@given(pairs=ACCURACIES)
def test_p_is_below_five_percent_exactly_where_the_interval_leaves_zero_out(
    pairs: list[tuple[float, float]],
) -> None:
    found = paired_difference([a - b for a, b in pairs])
    assume(abs(found.p - 0.05) > 1e-9)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_equal_differences_are_a_point() -> None:
    point = paired_difference([0.1] * 5)
    assert (point.mean, point.low, point.high, point.p) == (0.1, 0.1, 0.1, 0.0)
    zero = paired_difference([0.0] * 5)
    assert (zero.mean, zero.low, zero.high, zero.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("differences", [[], [0.5]])
def test_an_interval_needs_two_differences(differences: list[float]) -> None:
    with pytest.raises(ValueError, match=f"two differences or more, not {len(differences)}"):
        paired_difference(differences)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(0)
    hits = 0
    for _ in range(1_000):
        found = paired_difference([draw.gauss(0.3, 1.0) for _ in range(8)])
        hits += found.low <= 0.3 <= found.high
    assert 925 <= hits <= 975


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.04, 0.01, 0.03, 0.005], [0.06, 0.03, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(p_values: list[float], adjusted: list[float]) -> None:
    assert holm(p_values) == pytest.approx(adjusted)


@settings(deadline=None)
@given(p_values=P_VALUES)
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert len(adjusted) == len(p_values)
    assert all(p <= a <= min(1, p * len(p_values)) for p, a in zip(p_values, adjusted, strict=True))


@settings(deadline=None)
@given(p_values=P_VALUES.filter(bool), order=st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_the_order(p_values: list[float], order: random.Random) -> None:
    places = list(range(len(p_values)))
    order.shuffle(places)
    shuffled = holm([p_values[place] for place in places])
    assert shuffled == pytest.approx([holm(p_values)[place] for place in places])


@settings(deadline=None)
@given(p_values=P_VALUES)
def test_holm_keeps_the_order_of_evidence(p_values: list[float]) -> None:
    adjusted = [value for _, value in sorted(zip(p_values, holm(p_values), strict=True))]
    assert adjusted == sorted(adjusted)
