"""Looking one result ahead: who is told what, and when an error comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lossforge.evaluation.records import Outcome, TrainingResult
from lossforge.executors.local import InProcessExecutor
from lossforge.executors.protocol import look_ahead

RESULT = TrainingResult((Outcome.TRAINED,), (0.5,), ("",), 1.0)


def results(count: int, error: Exception | None = None) -> Iterator[tuple[int, TrainingResult]]:
    for index in range(count):
        yield index, RESULT
    if error is not None:
        raise error


@pytest.mark.parametrize("count", [0, 1, 3])
def test_all_but_the_last_are_followed_by_another(count: int) -> None:
    executor = InProcessExecutor("cpu")
    seen = [(index, executor.at_hand) for index, _ in look_ahead(executor, results(count))]
    assert seen == [(index, index < count - 1) for index in range(count)]
    assert not executor.at_hand


def test_an_error_comes_after_the_results_before_it() -> None:
    executor = InProcessExecutor("cpu")
    run = look_ahead(executor, results(2, ValueError("broken")))
    assert [(next(run)[0], executor.at_hand) for _ in range(2)] == [(0, True), (1, False)]
    with pytest.raises(ValueError, match="broken"):
        next(run)


def test_whoever_stops_early_gets_no_more() -> None:
    executor = InProcessExecutor("cpu")
    run = look_ahead(executor, results(3))
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert list(run) == []
