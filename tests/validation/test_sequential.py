"""Looks at some of the seeds: published boundaries, and an error that stays what it was allowed to be."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lossforge.validation.sequential import (
    Spending,
    at_look,
    nominal_levels,
    planned_looks,
    repeated_equivalence_p,
    repeated_p,
)
from lossforge.validation.statistics import paired_difference, t_quantile

LOOKS = (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("spending", "looks", "boundaries"),
    [
        # Published with Lan and DeMets's spending functions for looks that are equally far apart, two-sided 5 %.
        (Spending.OBRIEN_FLEMING, (1, 2, 3, 4), [4.333, 2.963, 2.359, 2.014]),
        (Spending.OBRIEN_FLEMING, (1, 2, 3, 4, 5), [4.877, 3.357, 2.680, 2.290, 2.031]),
        (Spending.POCOCK, (1, 2, 3, 4, 5), [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
)
def test_boundaries_are_the_published_ones(spending: Spending, looks: tuple[int, ...], boundaries: list[float]) -> None:
    levels = nominal_levels(looks, 0.05, spending)
    assert [norm.isf(level / 2) for level in levels] == pytest.approx(boundaries, abs=1.1e-3)


@pytest.mark.parametrize("spending", Spending)
def test_all_of_the_error_is_spent_at_the_end_and_one_look_costs_nothing(spending: Spending) -> None:
    assert spending.spent(1.0, 0.05) == pytest.approx(0.05)
    assert nominal_levels((8,), 0.05, spending) == pytest.approx((0.05,))
    rising = [spending.spent(share / 10, 0.05) for share in range(1, 11)]
    assert rising == sorted(rising)
    assert all(level < 0.05 for level in nominal_levels(LOOKS, 0.05, spending))


def test_looks_double_and_end_with_all_seeds() -> None:
    assert planned_looks(32) == LOOKS
    assert planned_looks(10) == (4, 8, 10)
    assert planned_looks(4) == (4,)
    assert planned_looks(3) == (3,)
    for wrong in ((), (8, 4), (0, 4), (4, 4)):
        with pytest.raises(ValueError, match="must be rising numbers of seeds"):
            nominal_levels(wrong)


@pytest.mark.parametrize("spending", Spending)
def test_ten_thousand_studies_err_as_often_as_allowed(spending: Spending) -> None:
    draws = numpy.random.default_rng(0).normal(size=(10_000, 32))
    rejected = numpy.zeros(len(draws), bool)
    for count, level in zip(LOOKS, nominal_levels(LOOKS, 0.05, spending), strict=True):
        seen = draws[:, :count]
        statistic = seen.mean(1) / seen.std(1, ddof=1) * count**0.5
        rejected |= abs(statistic) > t_quantile(1 - level / 2, count - 1)
    assert 0.042 < rejected.mean() < 0.058


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-3, 3), min_size=4, max_size=4) | st.lists(st.floats(-1, 3), min_size=8, max_size=8),
    st.sampled_from(Spending),
)
def test_p_is_below_five_percent_exactly_where_the_repeated_interval_leaves_zero_out(
    values: list[float], spending: Spending
) -> None:
    found = at_look(values, LOOKS, resolution=0.01, spending=spending)
    assume(abs(found.p - 0.05) > 1e-6)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    plain = paired_difference(values, resolution=0.01)
    assert found.low <= plain.low <= plain.high <= found.high
    assert found.p >= plain.p * (1 - 1e-6)


def test_with_one_look_it_is_the_plain_test() -> None:
    values = [0.2, 0.4, 0.1, 0.5, 0.3]
    assert at_look(values, (5,), resolution=0.1) == paired_difference(values, resolution=0.1)
    assert repeated_p(0.03, 5, (5,)) == 0.03
    with pytest.raises(ValueError, match="5 seeds are none of the looks"):
        at_look(values, LOOKS, resolution=0.1)


@pytest.mark.parametrize("spending", Spending)
def test_the_repeated_p_of_a_level_is_the_error_that_it_was_made_of(spending: Spending) -> None:
    for alpha in (0.001, 0.05, 0.3):
        levels = nominal_levels(LOOKS, alpha, spending)
        assert [repeated_p(level, look, LOOKS, spending) for level, look in zip(levels, LOOKS, strict=True)] == (
            pytest.approx([alpha] * 4, rel=1e-9 if alpha == 0.05 else 1e-4)
        )
    assert repeated_p(1.0, 8, LOOKS, spending) == 1
    assert 0 < repeated_p(1e-40, 32, LOOKS, spending) < 1e-9


def test_equivalence_at_a_look_needs_more_than_at_the_end() -> None:
    assert repeated_equivalence_p(0.02, 8, (8,)) == pytest.approx(0.02)
    assert repeated_equivalence_p(0.02, 8, LOOKS) > 0.02
    assert repeated_equivalence_p(0.7, 8, LOOKS) == 0.7
