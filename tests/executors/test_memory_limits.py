"""The memory limit of built-in networks: what asks for more fails alone, and the next training has its own limit."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from tests.helpers.cohorts import request_of

from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.executors.local import PoolExecutor
from lossforge.spaces.schema import RecipeSection, TaskSection

pytestmark = pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="limits address space")


def wanted(gigabytes: float, *, width: int = 4, model: str = "mlp", lanes: int = 4) -> TrainingRequest:
    task = TaskSection(data="digits", train=200, validation=100, model=model, width=width)
    return request_of(task, RecipeSection(epochs=1), seeds=range(lanes), gigabytes=gigabytes)


@pytest.fixture(scope="module")
def pool() -> Iterator[PoolExecutor]:
    """One worker: what one training does to the next would show."""
    executor = PoolExecutor(1, "cpu")
    yield executor
    executor.close()


def results(pool: PoolExecutor, *requests: TrainingRequest) -> list[TrainingResult]:
    found = dict(pool.run(requests, lambda: False))
    return [found[place] for place in range(len(requests))]


@pytest.mark.parametrize("model", ["mlp", "small_cnn", "resnet8"])
def test_a_network_within_its_limit_trains_as_without_one(pool: PoolExecutor, model: str) -> None:
    limited, free = results(pool, wanted(0.5, model=model), wanted(0.0, model=model))
    assert set(limited.outcomes) == {Outcome.TRAINED}
    assert limited.accuracies == free.accuracies


def test_a_network_that_asks_for_more_fails_and_its_neighbours_in_the_worker_do_not(pool: PoolExecutor) -> None:
    # Weights, gradients and Adam's two vectors of 1,280 hidden units: 27 MB a network.
    before, large, after = results(pool, wanted(0.5), wanted(0.01, width=80), wanted(0.5))
    assert set(large.outcomes) == {Outcome.CRASHED}
    assert all(reason.startswith("out of memory") for reason in large.reasons)
    assert large.failed_whole
    assert before.accuracies == after.accuracies
    assert None not in after.accuracies


def test_the_limit_is_of_one_network_and_a_cohort_has_as_many(pool: PoolExecutor) -> None:
    # Sixteen at once take what sixteen may, not what one may.
    (large,) = results(pool, wanted(0.1, width=32, lanes=16))
    assert set(large.outcomes) == {Outcome.TRAINED}
