"""What trainings on a test part gave: scores, failures, and which samples were right."""

from __future__ import annotations

import json

import numpy
import pytest
import torch

from lossforge.store.ledger import TrainingRow
from lossforge.training.correctness import KEY, packed
from lossforge.validation.scored import Scored, finest_step, over_images
from lossforge.validation.statistics import paired_difference


def row(seed: int, correct: list[bool] | None, accuracy: float | None = None) -> TrainingRow:
    metrics = {} if correct is None else {KEY: packed(torch.tensor(correct))}
    accuracy = accuracy if correct is None else sum(correct) / len(correct)
    names = dict.fromkeys(("fingerprint", "stage", "key", "formula", "task", "part", "outcome", "reason"), "")
    return TrainingRow(  # type: ignore[misc]
        **names,  # type: ignore[arg-type]
        seed=seed,
        replicate=seed,
        generation=0,
        learning_rate=0.1,
        epochs=1,
        accuracy=accuracy,
        seconds=0.0,
        metrics=json.dumps(metrics),
    )


RIGHT, HALF = [True] * 8, [True, False] * 4


def test_a_failed_training_has_no_sample_right() -> None:
    found = Scored.of([row(0, RIGHT), row(1, None), row(2, HALF)])
    assert (found.scores, found.failed) == ([1.0, 0.0, 0.5], 1)
    assert found.correct is not None
    assert found.correct.mean(1).tolist() == found.scores


@pytest.mark.parametrize("rows", [[row(0, RIGHT), row(1, None, 0.9)], [row(0, RIGHT), row(1, [True])], [row(0, None)]])
def test_rows_of_older_runs_say_nothing_of_samples(rows: list[TrainingRow]) -> None:
    assert Scored.of(rows).correct is None


def test_the_interval_is_in_points_and_holds_the_one_over_seeds() -> None:
    generator = numpy.random.default_rng(0)

    def contender(share: float) -> Scored:
        return Scored.of([row(seed, (generator.random(200) < share).tolist()) for seed in range(8)])

    one, other = contender(0.9), contender(0.7)
    difference = paired_difference(one.differences(other), resolution=0.5)
    found = over_images(one, other, difference)
    assert found is not None
    assert found.low <= difference.low < difference.mean < difference.high <= found.high
    assert 10 < found.low < 20 < found.high < 30
    assert found.images == 200
    assert over_images(one, Scored(other.scores, 0, None), difference) is None
    assert over_images(one, Scored(other.scores, 0, one.correct[:, :9]), difference) is None  # type: ignore[index]


def test_the_finest_step_is_the_least_difference_that_was_seen() -> None:
    assert finest_step([Scored([0.9, 0.92], 0, None), Scored([0.97], 0, None)]) == pytest.approx(0.02)
    assert finest_step([Scored([0.9, 0.9], 0, None)]) == 1e-4
