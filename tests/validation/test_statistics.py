from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from lossforge.validation.statistics import holm, paired_difference

ACCURACIES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20)
RESOLUTIONS = st.floats(1e-6, 1)
FINE = 1e-12
"""A resolution that changes nothing."""
P_VALUES = st.lists(st.floats(0, 1), max_size=10)


@settings(deadline=None)
@given(pairs=ACCURACIES, confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_mean_interval_and_p_are_those_of_scipy(pairs: list[tuple[float, float]], confidence: float) -> None:
    differences = [a - b for a, b in pairs]
    mean = math.fsum(differences) / len(differences)
    # scipy warns of lost precision where differences are equal but for rounding.
    assume(max(abs(difference - mean) for difference in differences) > 1e-6)
    found = paired_difference(differences, confidence, resolution=FINE)
    expected = ttest_rel([a for a, _ in pairs], [b for _, b in pairs])
    interval = expected.confidence_interval(confidence)
    assert found.count == len(pairs)
    assert found.mean == pytest.approx(mean, abs=1e-12)
    assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-9)
    assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-9)


def test_values_worked_out_by_hand() -> None:
    # Mean 2, standard deviation 1, error 1 / sqrt(3); t(0.975, 2 degrees) = 4.302653.
    found = paired_difference([1.0, 2.0, 3.0], resolution=0.5)
    assert found.mean == 2
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    # For 2 degrees of freedom p = 1 - t / sqrt(2 + t**2), with t**2 = 12.
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-12)


@settings(deadline=None)
@given(pairs=ACCURACIES, resolution=RESOLUTIONS)
def test_turning_the_comparison_round_turns_the_interval_round(
    pairs: list[tuple[float, float]], resolution: float
) -> None:
    there = paired_difference([a - b for a, b in pairs], resolution=resolution)
    back = paired_difference([b - a for a, b in pairs], resolution=resolution)
    assert (back.mean, back.low, back.high) == (-there.mean, -there.high, -there.low)
    assert back.p == there.p
    assert there.low < there.mean < there.high
    assert 0 <= there.p <= 1


@settings(deadline=None)
@given(pairs=ACCURACIES, resolution=RESOLUTIONS)
def test_p_is_below_five_percent_exactly_where_the_interval_leaves_zero_out(
    pairs: list[tuple[float, float]], resolution: float
) -> None:
    found = paired_difference([a - b for a, b in pairs], resolution=resolution)
    assume(abs(found.p - 0.05) > 1e-9)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


@settings(deadline=None)
@given(pairs=ACCURACIES, resolution=RESOLUTIONS, repeated=st.integers(1, 40))
def test_no_interval_is_finer_than_the_resolution(
    pairs: list[tuple[float, float]], resolution: float, repeated: int
) -> None:
    found = paired_difference([a - b for a, b in pairs] * repeated, resolution=resolution)
    reach = resolution * (1 - 1e-9)
    assert found.mean - found.low >= reach
    assert found.high - found.mean >= reach


@pytest.mark.parametrize("count", [2, 4, 8, 32, 1000])
@pytest.mark.parametrize("steps", [1, -1, 0])
def test_one_test_sample_is_no_proof_on_however_many_seeds(count: int, steps: int) -> None:
    found = paired_difference([steps * 0.25] * count, resolution=0.25)
    assert found.mean == steps * 0.25
    assert found.p >= 0.05 * (1 - 1e-9)
    assert found.low <= 1e-12
    assert found.high >= -1e-12
    assert found.p == 1 or steps


def test_the_floors_by_hand() -> None:
    # t(0.975) = 3.182446 for 3 degrees of freedom, 2.364624 for 7.
    four = paired_difference([1.0] * 4, resolution=0.25)
    assert four.high - four.mean == pytest.approx(3.182446 * 0.25 / 2, abs=1e-6)  # the spread is one resolution
    eight = paired_difference([1.0] * 8, resolution=0.25)
    assert eight.high - eight.mean == pytest.approx(0.25, abs=1e-12)  # 2.364624 * 0.25 / sqrt(8) is less than it
    # What varies by more than the resolution is as it was.
    wide = [0.0, 1.0, 2.0, 3.0]
    assert paired_difference(wide, resolution=0.25) == paired_difference(wide, resolution=1e-9)


def test_a_large_gain_that_never_varies_is_shown_and_has_some_width() -> None:
    found = paired_difference([5.0] * 8, resolution=0.25)
    assert 0 < found.p < 1e-6
    assert (found.low, found.high) == pytest.approx((4.75, 5.25))


@pytest.mark.parametrize("differences", [[], [0.5]])
def test_an_interval_needs_two_differences(differences: list[float]) -> None:
    with pytest.raises(ValueError, match=f"two differences or more, not {len(differences)}"):
        paired_difference(differences, resolution=0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_interval(wrong: float) -> None:
    with pytest.raises(ValueError, match="differences that are finite numbers"):
        paired_difference([0.1, wrong, 0.2], resolution=0.1)
    for resolution in (wrong, 0.0, -1.0):
        with pytest.raises(ValueError, match="resolution must be a finite number above 0"):
            paired_difference([0.1, 0.2], resolution=resolution)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(0)
    hits = 0
    for _ in range(1_000):
        found = paired_difference([draw.gauss(0.3, 1.0) for _ in range(8)], resolution=FINE)
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
