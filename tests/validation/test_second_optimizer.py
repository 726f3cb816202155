from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lossforge.evaluation.records import Training
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.search.recorder import Recorder
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import SearchSpace
from lossforge.store.ledger import TrainingRow
from lossforge.validation.comparison import Comparison
from lossforge.validation.second_optimizer import second_optimizer, under_both, under_second_optimizer

BRIER, FRAGILE = LossSpec("(y_true - y_pred)**2"), LossSpec("y_pred / y_true")


class FakeRecorder:
    """Under SGD all learn best at 0.1, the fragile loss nothing at any rate; cross-entropy on test data 0.9."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Training]] = []

    def run(self, wanted: Iterable[Training], stage: str, generation: int = 0) -> list[TrainingRow]:
        trainings = list(wanted)
        self.asked += [(stage, one) for one in trainings]
        return [self.row(one, stage) for one in trainings]

    def row(self, one: Training, stage: str) -> TrainingRow:
        best = {CROSS_ENTROPY: 0.9, BRIER.formula: 0.88}.get(one.loss.formula)
        accuracy = None if best is None else best - abs(one.learning_rate - 0.1)
        return TrainingRow(
            fingerprint=one.fingerprint(),
            seed=one.seed,
            replicate=one.replicate,
            stage=stage,
            generation=0,
            key=one.key,
            formula=one.loss.formula,
            task="digits",
            part=one.setup.part,
            learning_rate=one.learning_rate,
            epochs=one.setup.epochs,
            outcome="trained" if best else "diverged",
            accuracy=accuracy,
            reason="",
            seconds=0.0,
        )


def space(**changes: Any) -> SearchSpace:
    data = {"name": "t", "task": {"data": "digits"}, "recipe": {"optimizer": "adam"}, "validation": {}}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        cast(dict[str, Any], data[section])[name] = value
    return validate_space(data, "t")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "sgd"),
        ({"recipe__optimizer": "muon"}, "sgd"),
        ({"recipe__optimizer": "sgd"}, "adam"),
        ({"validation__second_optimizer": "none"}, ""),
        ({"validation__second_optimizer": "adam"}, ""),
        ({"validation__second_optimizer": "adamw"}, "adamw"),
    ],
)
def test_it_is_of_another_kind_than_the_searchs_unless_named(changes: dict[str, Any], expected: str) -> None:
    assert second_optimizer(space(**changes)) == expected


def test_each_loss_and_cross_entropy_are_tuned_there_and_scored_on_test_data() -> None:
    recorder, given = FakeRecorder(), space()
    found = under_second_optimizer(
        given, given.task[0], [(BRIER, "b"), (FRAGILE, "f")], cast(Recorder, recorder), epochs=7
    )
    good, fragile = found
    assert good is not None
    assert fragile is not None
    assert (good.optimizer, good.score, good.control, good.learning_rate) == ("sgd", 0.88, 0.9, 0.1)
    assert good.works
    assert (fragile.score, fragile.control) == (0.0, 0.9)
    assert not fragile.works
    assert {one.setup.recipe.optimizer for _, one in recorder.asked} == {"sgd"}
    assert {one.setup.epochs for _, one in recorder.asked} == {7}
    tuned = {(one.loss.formula, one.learning_rate) for stage, one in recorder.asked if one.setup.part == "validation"}
    assert {rate for formula, rate in tuned if formula == CROSS_ENTROPY} == {0.003, 0.01, 0.03, 0.1, 0.3}
    tested = [one for _, one in recorder.asked if one.setup.part == "test"]
    assert len(tested) == 3 * given.validation.second_seeds
    # Paired: all losses meet the same seeds, of which tuning used none.
    seeds = {formula: [one.seed for one in tested if one.loss.formula == formula] for formula in {CROSS_ENTROPY}}
    assert [one.seed for one in tested] == seeds[CROSS_ENTROPY] * 3
    assert not {one.seed for one in tested} & {one.seed for _, one in recorder.asked if one.setup.part != "test"}


def test_a_training_of_ones_own_has_none() -> None:
    own = validate_space({"name": "t", "task": {"python": "os:getcwd", "classes": 3}}, "t")
    recorder = FakeRecorder()
    assert under_second_optimizer(own, own.task[0], [(BRIER, "b")], cast(Recorder, recorder), 3) == [None]
    assert recorder.asked == []


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([0.9, 0.9], "all reach 95% of cross-entropy's score"),
        ([0.9, 0.1], "rank 2 stays below 95% of cross-entropy's score"),
        ([0.1, 0.1], "ranks 1, 2 stay below 95% of cross-entropy's score"),
    ],
)
def test_who_works_under_it_is_said_in_a_sentence(scores: list[float], told: str) -> None:
    rows = [
        SimpleNamespace(task="digits", rank=rank, second_optimizer="sgd", second_score=score, second_control=0.9)
        for rank, score in enumerate(scores, start=1)
    ]
    assert told in under_both(cast(list[Comparison], rows))
