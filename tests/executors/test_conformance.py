"""What every executor must do, whatever happens to its workers."""

from __future__ import annotations

import re
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.helpers.misbehaving import CRASH, CRASH_ONCE, FORK, HANG, HOG, INTERRUPT, LEAVE, MEDDLE, NETWORK, SLOW

from lossforge.errors import ModelError
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult, pack
from lossforge.evaluation.space_trainings import trainings
from lossforge.executors import workers
from lossforge.executors.local import InProcessExecutor
from lossforge.executors.protocol import Executor
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import BudgetSection, RecipeSection, SearchSpace, TaskSection

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")


def never() -> bool:
    return False


def requests(count: int, model: str = "small_cnn", width: int = 4, seconds: float = 60.0) -> list[TrainingRequest]:
    """Cohorts of two replicates each."""
    space = SearchSpace(
        name="test",
        task=[TaskSection(data="digits", train=200, validation=100, model=model, width=width)],
        recipe=RecipeSection(epochs=1, cohort=2),
        budget=BudgetSection(training_seconds=seconds / 2),
    )
    return pack(trainings(space, space.task[0], LossSpec(CROSS_ENTROPY), "ce", 0.02, range(2 * count), stage="test"))


def misbehaving(width: int, seconds: float = 60.0) -> TrainingRequest:
    return requests(1, NETWORK, width, seconds)[0]


def results(executor: Executor, requests: list[TrainingRequest]) -> list[TrainingResult]:
    """One result for each request, in the order asked."""
    found = list(executor.run(requests, never))
    assert sorted(index for index, _ in found) == list(range(len(requests)))
    return [result for _, result in sorted(found, key=lambda pair: pair[0])]


def survives(executor: Executor) -> None:
    if isinstance(executor, InProcessExecutor):
        pytest.skip("there is no process but this one")


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 3.0)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """No executor may take over the signals that stop a search."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_results_are_those_of_this_process_to_the_last_bit(executor: Executor) -> None:
    batch = requests(6) + requests(2, NETWORK)
    here = results(InProcessExecutor("cpu"), batch)
    there = results(executor, batch)
    assert [result.accuracies for result in there] == [result.accuracies for result in here]
    assert [result.metrics for result in there] == [result.metrics for result in here]
    assert {outcome for result in there for outcome in result.outcomes} == {Outcome.TRAINED}
    assert len({result.accuracies for result in there}) > 4


def test_an_empty_batch_is_done_at_once(executor: Executor) -> None:
    assert results(executor, []) == []


def test_the_limit_of_a_training_is_kept(executor: Executor) -> None:
    (result,) = results(executor, requests(1, seconds=1e-9))
    assert set(result.outcomes) == {Outcome.TIMED_OUT}
    assert result.accuracies == (None, None)


def test_a_hang_costs_its_request_and_one_worker(executor: Executor, short_grace: None) -> None:
    survives(executor)
    before = executor.meter.replaced["hung"]
    found = results(executor, [misbehaving(HANG, seconds=0.5), *requests(2)])
    assert [set(result.outcomes) for result in found] == [{Outcome.TIMED_OUT}, {Outcome.TRAINED}, {Outcome.TRAINED}]
    assert "hung" in found[0].reasons[0]
    assert executor.meter.replaced["hung"] == before + 1


def test_a_poison_candidate_costs_two_workers_and_is_given_up(executor: Executor) -> None:
    survives(executor)
    before = executor.meter.replaced["died"]
    found = results(executor, [*requests(2), misbehaving(CRASH), *requests(2)])
    assert [set(result.outcomes) for result in found] == [
        *[{Outcome.TRAINED}] * 2,
        {Outcome.CRASHED},
        *[{Outcome.TRAINED}] * 2,
    ]
    assert "died 2 times" in found[2].reasons[0]
    assert executor.meter.replaced["died"] == before + 2


def test_a_memory_hog_ends_with_an_outcome(executor: Executor) -> None:
    found = results(executor, [misbehaving(HOG), *requests(1)])
    assert [set(result.outcomes) for result in found] == [{Outcome.CRASHED}, {Outcome.TRAINED}]


@pytest.mark.parametrize(
    ("width", "told"), [(LEAVE, "it called sys.exit(0)"), (INTERRUPT, "KeyboardInterrupt")], ids=["exit", "interrupt"]
)
def test_code_that_leaves_costs_its_own_training_and_says_where(executor: Executor, width: int, told: str) -> None:
    found = results(executor, [misbehaving(width), *requests(1)])
    assert [set(result.outcomes) for result in found] == [{Outcome.CRASHED}, {Outcome.TRAINED}]
    assert re.fullmatch(rf"'{NETWORK}' failed: {re.escape(told)} \(misbehaving\.py, line \d+\)", found[0].reasons[0])
    assert "misbehaving.py" in found[0].traceback
    assert not found[1].traceback


def test_what_code_changes_of_its_process_stays_its_own(executor: Executor) -> None:
    batch = requests(2) + requests(1, NETWORK)
    reference = [result.accuracies for result in results(executor, batch)]
    before = Path.cwd(), sys.argv, sys.stdout, torch.get_default_dtype(), warnings.filters[:]
    found = results(executor, [misbehaving(MEDDLE), misbehaving(MEDDLE), *batch])
    assert [result.accuracies for result in found[2:]] == reference
    assert before == (Path.cwd(), sys.argv, sys.stdout, torch.get_default_dtype(), warnings.filters[:])
    assert "--meddled" not in sys.argv
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_child_of_a_fork_does_not_go_on_with_the_search() -> None:
    (result,) = results(InProcessExecutor("cpu"), [misbehaving(FORK)])
    assert set(result.outcomes) == {Outcome.TRAINED}


def test_what_is_no_candidates_failure_is_raised_as_it_is(executor: Executor) -> None:
    with pytest.raises(ModelError, match="no_such_module"):
        list(executor.run(requests(1, "no_such_module:network"), never))
    assert results(executor, requests(1))


def test_stopping_finishes_what_is_under_way_and_starts_nothing_more(executor: Executor) -> None:
    finished: list[int] = []
    for index, result in executor.run(requests(12, NETWORK, SLOW), lambda: bool(finished)):
        assert set(result.outcomes) == {Outcome.TRAINED}
        finished.append(index)
    assert 1 <= len(finished) <= 1 + executor.workers


def test_leaving_in_the_middle_leaves_an_executor_that_works(executor: Executor) -> None:
    for _ in executor.run(requests(6), never):
        break
    assert len(results(executor, requests(3))) == 3


def test_a_death_that_does_not_repeat_costs_nothing_but_time(executor: Executor) -> None:
    survives(executor)
    (result,) = results(executor, [misbehaving(CRASH_ONCE)])
    assert set(result.outcomes) == {Outcome.TRAINED}


def test_the_meter_has_counted_all_that(executor: Executor) -> None:
    assert 0 < executor.meter.utilisation() <= 1
    assert executor.meter.failures["timed_out"] >= 2
    assert executor.meter.running == 0
    told = executor.meter.told()
    assert "busy" in told
    assert "timed out" in told
