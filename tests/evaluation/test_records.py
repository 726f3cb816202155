from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import SMOKE
from tests.helpers.cohorts import request_of

from lossforge.evaluation.records import Setup, Training, cohorts, pack, request_from_text, request_to_text
from lossforge.evaluation.space_trainings import TaskTrainings, trainings
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import RecipeSection, TaskSection

SETUPS = [
    Setup(TaskSection(data="digits"), RecipeSection(), 3, "validation", 5.0),
    Setup(TaskSection(data="digits", name="digïts"), RecipeSection(steps=7), 3, "test", 5.0, 2.5),
    Setup(TaskSection(data="digits"), RecipeSection(match_gradient=False, cohort=3), 9, "test", 1.0),
]


@settings(deadline=None, max_examples=50)
@given(
    setup=st.sampled_from(SETUPS),
    key=st.text(max_size=12),
    smoothing=st.floats(0, 0.5),
    class_mean=st.booleans(),
    rate=st.floats(1e-6, 10),
)
def test_a_fingerprint_is_the_digest_of_all_that_decides(
    setup: Setup, key: str, smoothing: float, class_mean: bool, rate: float
) -> None:
    training = Training(setup, key, LossSpec("y_pred", smoothing, class_mean), rate, 0, 1)
    parts = {
        **setup.deciding,
        "key": key,
        "smoothing": smoothing,
        "class_mean": class_mean and not setup.recipe.match_gradient,
        "learning_rate": rate,
    }
    assert training.fingerprint() == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("setup", SETUPS)
def test_a_request_comes_back_from_its_text(setup: Setup) -> None:
    request = request_of(setup.task, setup.recipe, part=setup.part, seeds=(2**63 - 1, 5), gigabytes=setup.gigabytes)
    again = request_from_text(request_to_text(request))
    assert again == request
    assert again.setup.identity == request.setup.identity


def test_a_plan_gives_the_trainings_of_the_space() -> None:
    space = load_space(SMOKE, ["recipe.learning_rate=0.03"])
    (task,) = space.task
    plan = TaskTrainings(space, task, 0.03, stage="search")
    loss = LossSpec(CROSS_ENTROPY)
    for replicates in (range(2), range(2, 4), range(0)):
        expected = trainings(space, task, loss, "k", 0.03, replicates, stage="search", floor=0.25)
        found = plan.trainings(loss, "k", replicates, 0.25)
        assert found == expected
        assert [one.fingerprint() for one in found] == [one.fingerprint() for one in expected]


@settings(deadline=None, max_examples=50)
@given(wanted=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99)), max_size=30))
def test_cohorts_depend_on_the_order_asked_alone(wanted: list[tuple[int, int]]) -> None:
    setups = [replace(setup, recipe=setup.recipe.model_copy(update={"cohort": 3})) for setup in SETUPS]
    asked = [Training(setups[place], "k", LossSpec("y_pred"), 0.1, 0, seed) for place, seed in wanted]
    found = list(cohorts(iter(asked)))
    for setup in setups:
        own = [training for training in asked if training.setup is setup]
        together = [replicas for replicas in found if replicas[0].setup is setup]
        assert together == [tuple(own[start : start + 3]) for start in range(0, len(own), 3)]
    assert [request.replicas for request in pack(asked)] == found
