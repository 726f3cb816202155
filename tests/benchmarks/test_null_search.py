"""Where there is nothing to find a search says so; where there is a lot, it finds some of it."""

from __future__ import annotations

from statistics import fmean

import pytest
from benchmarks.null_search import default_space, few_are_better, gaussian_noise, simulated_search

from lossforge.spaces.schema import SearchSpace


def _small() -> SearchSpace:
    space = default_space()
    evolution = space.evolution.model_copy(update={"population": 24})
    budget = space.budget.model_copy(update={"generations": 3})
    return space.model_copy(update={"evolution": evolution, "budget": budget})


@pytest.mark.slow
def test_searches_without_an_effect_announce_little_and_report_no_luck() -> None:
    ended = [simulated_search(_small(), seed, gaussian_noise()) for seed in range(16)]
    # Each does with a probability of 2.5 %: three of sixteen would be one in 2,000.
    assert sum(one.announced for one in ended) <= 3
    assert abs(fmean(one.gain for one in ended)) < 0.3
    assert fmean(one.search_gain for one in ended) > 0.2, "the winner's luck, which the reported gain is without"


@pytest.mark.slow
def test_searches_find_what_is_large_and_report_its_size() -> None:
    ended = [simulated_search(_small(), seed, gaussian_noise(), few_are_better(seed, 0.1, 0.03)) for seed in range(6)]
    assert sum(one.announced and one.true == pytest.approx(3) for one in ended) >= 5
    assert abs(fmean(one.gain - one.true for one in ended)) < 0.5
