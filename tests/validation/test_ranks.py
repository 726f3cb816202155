"""Ranks over studies: scipy's Friedman statistic, Demšar's critical differences, and the bars of the diagram."""

from __future__ import annotations

import numpy
import pytest
from scipy.stats import friedmanchisquare

from lossforge.validation.ranks import compare_ranks, critical_difference


@pytest.mark.parametrize(
    ("losses", "studies", "alpha", "expected"),
    [(4, 14, 0.05, 1.25), (4, 14, 0.1, 1.12), (5, 30, 0.05, 1.114), (2, 6, 0.05, 1.960 / 6**0.5)],
)
def test_critical_differences_are_demsars(losses: int, studies: int, alpha: float, expected: float) -> None:
    assert critical_difference(losses, studies, alpha) == pytest.approx(expected, abs=5e-3)


def test_friedmans_statistic_is_scipys_with_ties_too() -> None:
    table = numpy.random.default_rng(1).integers(0, 6, (5, 12)).astype(float)
    found = compare_ranks({f"loss {place}": row.tolist() for place, row in enumerate(table)})
    expected = friedmanchisquare(*table)
    assert found.chi_square == pytest.approx(expected.statistic)
    assert found.p_friedman == pytest.approx(expected.pvalue, abs=0.05)  # chi-square is near
    assert sum(found.ranks) == pytest.approx(15)
    assert list(found.ranks) == sorted(found.ranks)


def test_the_best_has_rank_one_and_neighbours_within_the_difference_share_a_bar() -> None:
    scores = {"poor": [0.1] * 30, "good": [0.9] * 30, "fair": [0.5, 0.49] * 15, "other": [0.49, 0.5] * 15}
    found = compare_ranks(scores)
    assert found.names == ("good", "fair", "other", "poor")
    assert found.ranks == (1, 2.5, 2.5, 4)
    assert found.critical_difference < 1
    assert found.cliques == (("fair", "other"),)
    assert found.p_friedman == 1 / 20_000  # none of the draws: it is never 0


def test_bars_are_maximal_and_may_overlap() -> None:
    # Mean ranks 1.5, 2.0, 2.5, 4 over few studies: the difference spans three of them at a time.
    scores = {"a": [4, 4, 3, 3], "b": [3, 3, 4, 2], "c": [2, 2, 2, 4], "d": [1, 1, 1, 1]}
    found = compare_ranks({name: [float(value) for value in values] for name, values in scores.items()})
    assert found.ranks == (1.5, 2.0, 2.5, 4.0)
    assert 2 < found.critical_difference < 2.5
    assert found.cliques == (("a", "b", "c"), ("b", "c", "d"))
    equal = compare_ranks({"a": [1.0, 1.0], "b": [1.0, 1.0]})
    assert (equal.chi_square, equal.cliques) == (0, (("a", "b"),))


@pytest.mark.parametrize("wrong", [{}, {"a": [1.0, 2.0]}, {"a": [1.0, 2.0], "b": [1.0]}, {"a": [1.0], "b": [2.0]}])
def test_what_cannot_be_ranked_is_refused(wrong: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="two losses or more"):
        compare_ranks(wrong)


def test_few_studies_that_agree_prove_little() -> None:
    # Two studies of three losses agree by chance in one of six deals; five in one of 1,296.
    scores = {"a": [3.0] * 5, "b": [2.0] * 5, "c": [1.0] * 5}
    two = compare_ranks({name: values[:2] for name, values in scores.items()})
    assert two.p_friedman == pytest.approx(1 / 6, abs=0.01)
    assert compare_ranks(scores).p_friedman == pytest.approx(1 / 1296, abs=0.0005)
