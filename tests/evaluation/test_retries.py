from __future__ import annotations

import pytest

from lossforge.evaluation.retries import LOSSES, Retries
from lossforge.evaluation.workers import CRASHES


def test_requests_are_taken_in_order_and_once() -> None:
    retries = Retries(3)
    assert [retries.take() for _ in range(4)] == [0, 1, 2, None]


def test_a_request_that_kills_its_worker_is_given_up_and_others_are_not() -> None:
    retries = Retries(2)
    for _ in range(CRASHES - 1):
        assert retries.take() == 0
        assert retries.died(0) == ""
    assert retries.take() == 0
    assert "died" in retries.died(0)
    assert [retries.take(), retries.take()] == [1, None]


@pytest.mark.parametrize("deaths", [0, CRASHES - 1])
def test_lost_workers_have_a_limit_of_their_own(deaths: int) -> None:
    retries = Retries(1)
    for _ in range(deaths):
        retries.take()
        assert retries.died(0) == ""
    for _ in range(LOSSES - 1):
        assert retries.take() == 0
        assert retries.lost(0) == ""
    retries.take()
    assert "lost" in retries.lost(0)
    assert retries.take() is None
