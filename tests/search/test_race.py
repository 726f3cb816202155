"""A race drops who is clearly behind, and errs as seldom as it says."""

from __future__ import annotations

import numpy
import pytest

from lossforge.search.race import round_lengths, still_in


def _gains(means: list[float], replicates: int, seed: int) -> dict[str, list[float]]:
    rng = numpy.random.default_rng(seed)
    common = rng.normal(0, 0.03, replicates)
    noise = rng.normal(0, 0.01, (len(means), replicates))
    return {str(place): list(mean + common + noise[place]) for place, mean in enumerate(means)}


def test_who_is_far_behind_is_dropped_and_who_leads_is_not() -> None:
    gains = _gains([0.05, 0.05, 0.04, -0.2, -0.1], 3, 0)
    assert still_in(gains, 2, 0.05, 3) == ["0", "1", "2"]


def test_one_that_belongs_among_the_best_is_dropped_as_seldom_as_stated() -> None:
    # The worst case: all are equal, so that everyone belongs there; three looks at 2, 3 and 4 replicates.
    dropped, tries, error = 0, 400, 0.2
    for seed in range(tries):
        gains = _gains([0.0] * 12, 4, seed)
        dropped += any(
            "0" not in still_in({key: own[:count] for key, own in gains.items()}, 2, error, 3) for count in (2, 3, 4)
        )
    assert dropped <= error * tries


@pytest.mark.parametrize(("places", "error", "replicates"), [(5, 0.05, 3), (1, 0.0, 3), (1, 0.05, 1)])
def test_nobody_is_dropped_where_nothing_is_to_be_decided_or_known(places: int, error: float, replicates: int) -> None:
    gains = _gains([0.5, 0.0, -0.5, -0.6, -0.9], replicates, 1)
    assert still_in(gains, places, error, 1) == list(gains)


def test_a_round_fills_some_cohorts() -> None:
    assert round_lengths(10, 3, 16) == 3  # few candidates: all that is left at once
    assert round_lengths(300, 3, 16) == 1
    assert round_lengths(30, 11, 16) == 2
