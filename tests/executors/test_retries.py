from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from tests.helpers.cohorts import request_of

from lossforge.evaluation.records import TrainingRequest
from lossforge.executors.retries import MAX_LOST, Retries
from lossforge.executors.workers import CRASHES
from lossforge.spaces.schema import RecipeSection, TaskSection


def three() -> Iterator[TrainingRequest]:
    return (request_of(TaskSection(data="digits"), RecipeSection(), seeds=(seed,)) for seed in range(3))


def test_requests_are_fetched_when_they_are_wanted_and_let_go_when_done() -> None:
    made: list[int] = []
    batch = Retries(made.append(request.replicas[0].seed) or request for request in three())  # type: ignore[func-returns-value]
    assert made == []
    assert batch.take() == 0
    assert made == [0]
    assert batch[0].replicas[0].seed == 0
    batch.done(0)
    with pytest.raises(KeyError):
        batch[0]
    assert [batch.take(), batch.take(), batch.left] == [1, 2, True]
    assert batch.take() is None
    assert not batch.left
    batch.died(1)
    assert batch.left


def test_requests_are_taken_in_order_and_once() -> None:
    retries = Retries(three())
    assert [retries.take() for _ in range(4)] == [0, 1, 2, None]


def test_a_request_that_kills_its_worker_is_given_up_and_others_are_not() -> None:
    retries = Retries(islice(three(), 2))
    for _ in range(CRASHES - 1):
        assert retries.take() == 0
        assert retries.died(0) == ""
    assert retries.take() == 0
    assert "died" in retries.died(0)
    assert [retries.take(), retries.take()] == [1, None]


@pytest.mark.parametrize("deaths", [0, CRASHES - 1])
def test_lost_workers_have_a_limit_of_their_own(deaths: int) -> None:
    retries = Retries(islice(three(), 1))
    for _ in range(deaths):
        retries.take()
        assert retries.died(0) == ""
    for _ in range(MAX_LOST - 1):
        assert retries.take() == 0
        assert retries.lost(0) == ""
    retries.take()
    assert "lost" in retries.lost(0)
    assert retries.take() is None
