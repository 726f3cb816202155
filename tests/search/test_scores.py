from __future__ import annotations

import json
from dataclasses import replace
from math import exp
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.evolution.strategy import WORST_FITNESS
from lossforge.search.fitness import advantage, aggregated
from lossforge.search.scores import Judged, Scores
from lossforge.spaces.schema import FitnessSection, SearchSpace, TaskSection
from lossforge.store.ledger import TrainingRow

ACCURACY = st.floats(0, 1)


def row(
    key: str, replicate: int, accuracy: float | None, task: str = "digits", outcome: str = "trained"
) -> TrainingRow:
    return TrainingRow(
        fingerprint=f"{key} {task}",
        seed=replicate,
        replicate=replicate,
        stage="search",
        generation=0,
        key=key,
        formula="y_pred",
        task=task,
        part="validation",
        learning_rate=0.1,
        epochs=1,
        outcome=outcome,
        accuracy=accuracy,
        reason="",
        seconds=1.0,
    )


def scores(control: list[float], **candidates: list[float | None]) -> Scores:
    """Candidates of size 5 with accuracies by replicate, beside cross-entropy's."""
    found = Scores()
    found.add_control(row("ce", number, accuracy) for number, accuracy in enumerate(control))
    for key, accuracies in candidates.items():
        found.judged[key] = Judged(key, f"formula {key}", 5, 0, "random")
        found.add(row(key, number, accuracy) for number, accuracy in enumerate(accuracies))
    return found


@settings(deadline=None)
@given(pairs=st.lists(st.tuples(ACCURACY, ACCURACY), min_size=1, max_size=8))
def test_fitness_is_the_mean_gain_over_cross_entropy(pairs: list[tuple[float, float]]) -> None:
    found = scores([control for control, _ in pairs], a=[accuracy for _, accuracy in pairs])
    assert found.gains("a") == [accuracy - control for control, accuracy in pairs]
    assert found.fitness("a") == pytest.approx(fmean(accuracy - control for control, accuracy in pairs))
    assert WORST_FITNESS <= found.fitness("a") <= 1
    assert found.accuracy("a") == pytest.approx(fmean(accuracy for _, accuracy in pairs))
    assert found.control_accuracy("a") == pytest.approx(fmean(control for control, _ in pairs))
    assert found.replicates("a") == len(pairs)


def test_gains_are_paired_by_replicate_not_by_order() -> None:
    found = scores([0.1, 0.2, 0.3])
    found.judged["a"] = Judged("a", "y_pred", 1, 0, "random")
    found.add([row("a", 2, 0.5), row("a", 0, 0.5)])
    assert found.gains("a") == [0.5 - 0.1, 0.5 - 0.3]
    assert found.control_accuracy("a") == pytest.approx(0.2)


def test_a_task_weighs_as_much_as_another() -> None:
    found = Scores()
    found.add_control([row("ce", 0, 0.5, "a"), row("ce", 0, 0.9, "b")])
    found.judged["x"] = Judged("x", "y_pred", 1, 0, "random")
    found.add([row("x", 0, 0.7, "a"), row("x", 0, 0.8, "b")])
    assert found.gains("x") == pytest.approx([(0.2 - 0.1) / 2])
    assert found.accuracy("x") == pytest.approx(0.75)
    assert found.control_accuracy("x") == pytest.approx(0.7)


def two_tasks(settings: FitnessSection, easy: float, hard: float, **more: float) -> Scores:
    """Cross-entropy with 0.9 on an easy task and 0.5 on a hard one, and a candidate with these accuracies."""

    def trained(key: str, accuracy: float, task: str, likelihood: float) -> TrainingRow:
        metrics = json.dumps({"negative_log_likelihood": likelihood})
        return replace(row(key, 0, accuracy, task), metrics=metrics)

    found = Scores(settings)
    found.add_control([trained("ce", 0.9, "easy", 0.3), trained("ce", 0.5, "hard", 1.0)])
    found.judged["x"] = Judged("x", "y_pred", 1, 0, "random")
    found.add([trained("x", easy, "easy", more.get("first", 0.3)), trained("x", hard, "hard", more.get("second", 1.0))])
    return found


@pytest.mark.parametrize(
    ("keys", "easy", "hard", "fitness"),
    [
        ({}, 0.95, 0.45, 0.0),
        ({"aggregate": "worst"}, 0.95, 0.45, -0.05),
        ({"aggregate": "worst"}, 0.92, 0.6, 0.02),
        ({"measure": "errors"}, 0.95, 0.5, 0.25),  # half of the easy task's errors, none of the other's
        ({"measure": "errors"}, 0.9, 0.55, 0.05),
        ({"measure": "errors", "aggregate": "worst"}, 1.0, 0.0, -0.5),
        ({"measure": "likelihood"}, 0.99, 0.99, 0.0),
    ],
)
def test_fitness_is_what_the_space_says_and_the_gain_stays_the_gain(
    keys: Any, easy: float, hard: float, fitness: float
) -> None:
    found = two_tasks(FitnessSection(**keys), easy, hard)
    assert found.fitness("x") == pytest.approx(fitness)
    assert found.gain("x") == pytest.approx((easy - 0.9 + hard - 0.5) / 2)


def test_likelihood_is_the_gain_in_the_probability_of_what_is_true() -> None:
    found = two_tasks(FitnessSection(measure="likelihood"), 0.9, 0.5, first=0.2, second=50.0)
    assert found.fitness("x") == pytest.approx((exp(-0.2) - exp(-0.3) + exp(-50) - exp(-1)) / 2)


@given(
    accuracies=st.lists(st.tuples(ACCURACY, ACCURACY), min_size=1, max_size=5),
    measure=st.sampled_from(["points", "errors"]),
    aggregate=st.sampled_from(["mean", "worst"]),
)
def test_every_fitness_is_bounded_and_has_the_sign_of_what_is_better(
    accuracies: list[tuple[float, float]], measure: Any, aggregate: Any
) -> None:
    settings = FitnessSection(measure=measure, aggregate=aggregate)
    values = [[advantage(mine, control, settings)] for mine, control in accuracies]
    assert -1 <= aggregated(values, settings) <= 1
    for (value,), (mine, control) in zip(values, accuracies, strict=True):
        assert (value > 0) == (mine - control > 0)
        assert value == -advantage(control, mine, settings)


def test_cross_entropy_among_the_candidates_has_no_advantage() -> None:
    found = two_tasks(FitnessSection(measure="errors"), 0.9, 0.5)
    found.enter([Judged("ce", "-y_true * log(y_pred)", 5, 0, "seed")])
    assert found.fitness("ce") == 0.0
    found.add([row("x", 0, None, "hard", outcome="diverged")])
    assert found.fitness("x") == WORST_FITNESS


def test_likelihood_is_refused_where_nobody_knows_it() -> None:
    with pytest.raises(ValueError, match=r"fitness\.measure: 'likelihood' .* task 'a'; use points or errors"):
        SearchSpace(name="s", task=[TaskSection(data="masks:a.npz")], fitness=FitnessSection(measure="likelihood"))


@pytest.mark.parametrize("accuracies", [[None, None], [0.9, None], [None, 0.9]])
def test_one_failed_training_fails_the_candidate(accuracies: list[float | None]) -> None:
    found = scores([0.1, 0.1], a=accuracies)
    assert found.gains("a") == []
    assert found.fitness("a") == WORST_FITNESS
    assert found.ranking(2, without="ce") == []


def test_a_failure_is_remembered_by_its_outcome() -> None:
    found = scores([0.5, 0.5], a=[0.5])
    assert found.judged["a"].failure == ""
    found.add([row("a", 1, None, outcome="diverged")])
    assert found.judged["a"].failure == "diverged"


def test_a_failed_replicate_counts_as_nothing_learnt() -> None:
    assert scores([0.5, 0.5], a=[0.8, None]).accuracy("a") == pytest.approx(0.4)


def test_an_accuracy_of_zero_is_no_failure() -> None:
    found = scores([0.5], a=[0.0])
    assert found.gains("a") == [-0.5]
    assert found.ranking(1, without="ce") == ["a"]


def test_a_candidate_that_was_never_trained_has_the_worst_fitness() -> None:
    found = scores([0.5], a=[])
    assert (found.fitness("a"), found.accuracy("a"), found.replicates("a")) == (WORST_FITNESS, 0.0, 0)


def test_trainings_of_unknown_candidates_are_passed_over() -> None:
    found = scores([0.5], a=[0.6])
    found.add([row("b", 0, 0.9)])
    assert set(found.judged) == {"a"}


def test_replicates_are_the_fewest_over_tasks() -> None:
    found = Scores()
    found.judged["x"] = Judged("x", "y_pred", 1, 0, "random")
    found.add([row("x", 0, 0.7, "a"), row("x", 1, 0.7, "a"), row("x", 0, 0.7, "b")])
    assert found.replicates("x") == 1


def test_the_best_come_first_and_cross_entropy_not_at_all() -> None:
    found = scores([0.5, 0.5], a=[0.6, 0.6], b=[0.9, 0.9], c=[0.4, 0.4], ce=[0.5, 0.5])
    assert found.ranking(2, without="ce") == ["b", "a", "c"]


def test_a_lead_on_few_seeds_does_not_count() -> None:
    found = scores([0.5] * 4, lucky=[0.99, 0.99], steady=[0.6] * 4, poor=[0.2] * 4)
    assert found.ranking(4, without="ce") == ["steady", "poor", "lucky"]
    assert found.ranking(2, without="ce") == ["lucky", "steady", "poor"]


def test_among_equals_the_smaller_wins_then_the_key() -> None:
    found = scores([0.5], b=[0.6], a=[0.6], c=[0.6])
    found.judged["c"].size = 4
    assert found.ranking(1, without="ce") == ["c", "a", "b"]


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.one_of(st.none(), st.sampled_from([0.1, 0.5, 0.9]))),
    max_size=20,
)


@settings(deadline=None, max_examples=60)
@given(steps=STEPS, looks=st.lists(st.booleans(), min_size=20, max_size=20), seeds=st.integers(1, 4))
def test_an_order_that_is_kept_is_the_one_that_sorting_gives(
    steps: list[tuple[str, int, float | None]], looks: list[bool], seeds: int
) -> None:
    found = scores([0.5] * 4)
    for (key, replicate, accuracy), look in zip(steps, looks, strict=False):
        if key not in found.judged:
            found.enter([Judged(key, f"formula {key}", ord(key) % 2, 0, "random")])
        found.add([row(key, replicate, accuracy)])
        if look:
            assert found.ranking(seeds, without="a") == naive_ranking(found, seeds, without="a")
    by_fitness = sorted(found.judged, key=lambda key: (-found.fitness(key), found.judged[key].size, key))
    assert found.leaders(3) == by_fitness[:3]
    assert found.ranking(seeds, "a", 2) == naive_ranking(found, seeds, "a")[:2]


def naive_ranking(found: Scores, seeds: int, without: str) -> list[str]:
    return sorted(
        (key for key in found.judged if key != without and found.gains(key)),
        key=lambda key: (found.replicates(key) < seeds, -found.fitness(key), found.judged[key].size, key),
    )


def test_candidates_that_enter_later_take_their_place() -> None:
    found = scores([0.5], a=[0.6])
    assert found.ranking(1, without="ce") == ["a"]
    found.enter([Judged("b", "y_pred", 5, 0, "random", {"digits": {0: 0.7}})])
    assert found.ranking(1, without="ce") == ["b", "a"]
    found.add_control([row("ce", 0, 0.1)])
    assert found.ranking(1, without="ce") == ["b", "a"]
