"""Runs of one thing: their scatter and what a gap between means of a few is worth, against theory and scipy."""

from __future__ import annotations

import json
import math
from itertools import combinations
from statistics import NormalDist, fmean, stdev
from typing import Any

import numpy
import pytest
from scipy.stats import permutation_test, ttest_1samp

from lossforge.store.ledger import TrainingRow
from lossforge.validation.repeats import Repeated, chance_of_gap, chance_of_lead, paired, scatter


def normal(count: int, mean: float, deviation: float, seed: int = 0) -> list[float]:
    """Scores that are as a normal distribution's, exactly: its quantiles, in a drawn order."""
    places = NormalDist(mean, deviation)
    found = [places.inv_cdf((place + 0.5) / count) for place in range(count)]
    numpy.random.Generator(numpy.random.PCG64(seed)).shuffle(found)
    return found


def test_means_of_ten_scatter_less_by_the_root_of_ten() -> None:
    scores = normal(100, 74.0, 3.0)
    found = scatter(scores)
    assert found.mean == pytest.approx(74.0)
    assert found.deviation == pytest.approx(stdev(scores))
    of_means = numpy.std(scores) / math.sqrt(10)
    assert found.deviation_of_means == pytest.approx(of_means, rel=0.01)
    assert (found.low, found.high) == pytest.approx((74 - 1.96 * of_means, 74 + 1.96 * of_means), abs=0.05)
    assert scatter([*scores, None]) == found


@pytest.mark.parametrize("gap", [0.5, 2.0, 3.5])
def test_the_chance_of_a_gap_is_the_normal_distributions(gap: float) -> None:
    scores = normal(100, 74.0, 3.0)
    expected = 2 * NormalDist().cdf(-gap / (stdev(scores) * math.sqrt(2 / 10)))
    assert chance_of_gap(scores, gap) == pytest.approx(expected, rel=0.15, abs=2e-3)


def test_the_chance_of_a_gap_is_a_permutation_tests() -> None:
    first, second = [70.0, 74.0, 71.0, 65.0], [66.0, 69.0, 65.0, 64.0]
    gap = abs(fmean(first) - fmean(second))
    reference = permutation_test((first, second), lambda a, b: fmean(a) - fmean(b), n_resamples=numpy.inf)
    assert chance_of_gap([*first, *second], gap, 4) == pytest.approx(reference.pvalue, abs=0.01)
    scores = [*first, *second]
    by_hand = [
        abs(2 * sum(scores[place] for place in chosen) - sum(scores)) / 4 >= gap - 1e-9
        for chosen in combinations(range(8), 4)
    ]
    assert reference.pvalue == pytest.approx(fmean(by_hand))


def test_a_lead_has_a_direction() -> None:
    ahead, behind = normal(100, 75.0, 3.0, seed=1), normal(100, 70.0, 6.0, seed=2)
    spread = math.sqrt((numpy.var(ahead) + numpy.var(behind)) / 10)
    for lead in (0.0, 5.0, 8.0):
        expected = NormalDist(5.0, spread).cdf(10 - lead)
        assert chance_of_lead(ahead, behind, lead) == pytest.approx(expected, abs=0.01)
    assert chance_of_lead(behind, ahead, 5.0) < 1e-3


def test_chances_never_vary_and_are_never_nothing() -> None:
    scores = normal(40, 70.0, 1.0)
    assert chance_of_gap(scores, 50.0) == chance_of_lead(scores, scores, 50.0) == pytest.approx(1e-5, rel=1e-3)
    assert chance_of_gap(scores, 0.3) == chance_of_gap(scores, 0.3)
    assert chance_of_gap([70.0] * 20, 0.0) == 1


def test_a_few_runs_say_nothing() -> None:
    with pytest.raises(ValueError, match="19 runs have a score, and 20 are needed"):
        chance_of_gap([70.0] * 19 + [None], 1.0)
    with pytest.raises(ValueError, match="1 runs have a score, and 2 are needed"):
        scatter([70.0, None])


def test_pairs_are_compared_where_both_have_a_score() -> None:
    first, second = normal(20, 70.0, 2.0, 1), normal(20, 70.2, 2.0, 2)
    difference, p = paired([*first, None, 3.0], [*second, 4.0, None], margin=2.0, resolution=0.01)
    assert difference.mean == pytest.approx(fmean(first) - fmean(second))
    # Schuirmann's two tests by scipy: the larger of both p-values.
    above = ttest_1samp(numpy.subtract(first, second), -2.0, alternative="greater").pvalue
    below = ttest_1samp(numpy.subtract(first, second), 2.0, alternative="less").pvalue
    assert p == pytest.approx(max(above, below))


def row(replicate: int, accuracy: float | None, **metrics: Any) -> TrainingRow:
    told = json.dumps(metrics)
    return TrainingRow("f", "1", replicate, "s", 0, "k", "x", "t", "test", 0.1, 1, "trained", accuracy, "", 1.0, told)


def test_runs_are_read_from_the_ledgers_rows() -> None:
    lives = {"train_accuracy": 0.75, "one_class": False, "dead": False}
    dies = {"train_accuracy": 0.65, "one_class": True, "dead": True}
    still = {**dies, "dead": False}
    found = Repeated.of("one", [row(0, 0.7, **lives), row(1, None), row(2, 0.6, **dies), row(3, 0.6, **still)])
    assert found.trained == (75.0, None, 65.0, 65.0)
    assert found.held_out == (70.0, None, 60.0, 60.0)
    assert found.failed == 1
    assert (found.one_class, found.dead) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    for rows in ([row(0, 0.7)], [row(0, 0.7, **lives), row(1, 0.7, f1=0.7)], [row(0, None)]):
        with pytest.raises(ValueError, match=r"one: the training part was not scored; set task\.score_training = true"):
            Repeated.of("one", rows)
