"""Losses over several studies: means with intervals that hold, and who is in them."""

from __future__ import annotations

from dataclasses import replace

import numpy
import pytest

from lossforge.validation.comparison import Comparison
from lossforge.validation.standings import over_studies, scores_by_study
from lossforge.validation.statistics import paired_difference

ROW = Comparison(
    rank=1,
    formula="f",
    size=1,
    rival="cross_entropy",
    search_gain=0.0,
    gain=0.0,
    low=-1.0,
    high=1.0,
    p=1.0,
    p_adjusted=1.0,
    seeds=8,
    task="t",
    accuracy=0.9,
    rival_accuracy=0.8,
    learning_rate=0.1,
    rival_learning_rate=0.1,
    study="a",
)


def test_a_mean_is_of_losses_that_are_in_every_study() -> None:
    rows = [ROW, replace(ROW, study="b", gain=1.0), replace(ROW, formula="g")]
    (found,) = over_studies(rows)
    assert (found.loss, found.studies, found.gain) == ("f", 2, 0.5)
    assert found.low < 0.5 < found.high
    assert over_studies([ROW]) == []


def test_the_interval_of_a_mean_holds_as_often_as_it_says() -> None:
    generator = numpy.random.default_rng(0)
    truth, spreads, seeds = (1.0, -0.5, 2.0), (0.5, 2.0, 1.0), (4, 16, 8)
    held = 0
    for _ in range(2000):
        rows = []
        for place, (mean, spread, count) in enumerate(zip(truth, spreads, seeds, strict=True)):
            found = paired_difference(generator.normal(mean, spread, count).tolist(), resolution=1e-9)
            rows.append(
                replace(ROW, study=str(place), gain=found.mean, low=found.low, high=found.high, seeds=found.count)
            )
        (one,) = over_studies(rows)
        held += one.low <= sum(truth) / 3 <= one.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_scores_are_those_of_most_seeds() -> None:
    rows = [ROW, replace(ROW, rival="ngl", accuracy=0.95, seeds=16)]
    assert scores_by_study(rows) == {"f": [0.8], "cross_entropy": [0.8], "ngl": [0.8]}
    early = [replace(ROW, gain=2.0, seeds=4, rival_accuracy=0.7), replace(ROW, formula="g", gain=-1.0, seeds=16)]
    found = scores_by_study(early)
    assert found["cross_entropy"] == [0.8]
    assert found["f"] == pytest.approx([0.82])
    assert found["g"] == pytest.approx([0.79])
