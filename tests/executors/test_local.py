"""The executors: equal results, limits that kill, crashes, stopping, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lossforge.errors import ExecutionError
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.records import Outcome, TrainingRequest, pack, request_from_text, request_to_text
from lossforge.evaluation.space_trainings import trainings
from lossforge.executors import local, workers
from lossforge.executors.choice import make_executor
from lossforge.executors.devices import resolve_device, worker_count
from lossforge.executors.local import InProcessExecutor, PoolExecutor
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import ExecutionSection, RecipeSection, SearchSpace, TaskSection

SPACE = SearchSpace(
    name="test",
    task=[TaskSection(data="digits", train=200, validation=100, width=4)],
    recipe=RecipeSection(epochs=1, cohort=2),
)


def never() -> bool:
    return False


def requests(count: int, seconds: float = 60.0) -> list[TrainingRequest]:
    space = SPACE.model_copy(update={"budget": SPACE.budget.model_copy(update={"training_seconds": seconds})})
    return pack(trainings(space, space.task[0], LossSpec(CROSS_ENTROPY), "ce", 0.02, range(2 * count), stage="test"))


@pytest.fixture(scope="module")
def pool() -> Iterator[PoolExecutor]:
    executor = PoolExecutor(2, "cpu")
    yield executor
    executor.close()


def test_a_pool_gives_what_this_process_gives(pool: PoolExecutor) -> None:
    batch = requests(4)
    here = {index: result.accuracies for index, result in InProcessExecutor("cpu").run(batch, never)}
    there = {index: result.accuracies for index, result in pool.run(batch, never)}
    assert here == there
    assert sorted(here) == [0, 1, 2, 3]


def test_requests_survive_the_way_to_a_worker() -> None:
    for request in requests(2):
        again = request_from_text(request_to_text(request))
        assert again == request
        assert [one.fingerprint() for one in again.replicas] == [one.fingerprint() for one in request.replicas]


def test_the_fingerprint_changes_with_what_decides_and_with_nothing_else() -> None:
    first = requests(1)[0]
    training = first.replicas[0]
    assert replace(training, learning_rate=0.03).fingerprint() != training.fingerprint()
    assert replace(training, seed=7, replicate=7, floor=0.5).fingerprint() == training.fingerprint()
    assert requests(1, seconds=5.0)[0].replicas[0].fingerprint() == training.fingerprint()


def test_a_training_past_its_limit_is_a_result(pool: PoolExecutor) -> None:
    for executor in (InProcessExecutor("cpu"), pool):
        ((_, result),) = executor.run(requests(1, seconds=1e-9), never)
        assert set(result.outcomes) == {Outcome.TIMED_OUT}
        assert result.accuracies == (None, None)


class _Sleeper:
    """Replaces the worker's function: hangs, dies or raises, as the first replicate's seed says."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __call__(self, text: str, device: str) -> Any:
        if self.how == "hang":
            time.sleep(600)
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError("a defect")


def _pool_with(monkeypatch: pytest.MonkeyPatch, how: str, grace: float = 0.5) -> PoolExecutor:
    monkeypatch.setattr(workers, "GRACE_SECONDS", grace)
    monkeypatch.setattr(local, "_evaluate_text", _Sleeper(how))
    return PoolExecutor(1, "cpu")


@pytest.mark.parametrize(("how", "outcome"), [("hang", Outcome.TIMED_OUT), ("die", Outcome.CRASHED)])
def test_a_worker_that_hangs_or_dies_costs_only_its_request(
    monkeypatch: pytest.MonkeyPatch, how: str, outcome: Outcome
) -> None:
    executor = _pool_with(monkeypatch, how)
    try:
        ((_, result),) = executor.run(requests(1, seconds=0.5), never)
        assert set(result.outcomes) == {outcome}
        monkeypatch.undo()
        ((_, result),) = executor.run(requests(1), never)
        assert set(result.outcomes) == {Outcome.TRAINED}
    finally:
        executor.close()


def test_a_defect_in_a_worker_is_told_and_not_taken_for_a_candidates_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = _pool_with(monkeypatch, "raise")
    try:
        with pytest.raises(ExecutionError, match="ZeroDivisionError: a defect"):
            list(executor.run(requests(1), never))
    finally:
        executor.close()


def test_stopping_finishes_what_is_under_way_and_starts_nothing_more(pool: PoolExecutor) -> None:
    for executor in (InProcessExecutor("cpu"), pool):
        finished: list[int] = []
        for index, _ in executor.run(requests(8), lambda finished=finished: bool(finished)):  # type: ignore[misc]
            finished.append(index)
        assert 1 <= len(finished) <= 1 + executor.workers


def test_running_out_of_memory_is_a_crash_and_not_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*arguments: object, **others: object) -> None:
        raise MemoryError

    monkeypatch.setattr("lossforge.evaluation.evaluate.train_cohort", hungry)
    result = evaluate(requests(1)[0], "cpu")
    assert set(result.outcomes) == {Outcome.CRASHED}
    assert set(result.reasons) == {"out of memory (MemoryError)"}


def test_one_worker_is_this_process_and_more_are_a_pool() -> None:
    one = make_executor(ExecutionSection(workers=1))
    assert isinstance(one, InProcessExecutor)
    two = make_executor(ExecutionSection(workers=2))
    two.close()
    assert isinstance(two, PoolExecutor)
    assert worker_count(ExecutionSection(workers=0)) >= 1


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ExecutionError, match=r"execution\.device"):
        resolve_device("cuda")


_ORPHAN = """
import sys, time
from lossforge.executors.local import PoolExecutor
if __name__ == "__main__":
    pool = PoolExecutor(2, "cpu")
    for _ in range(2):
        pool._pool.schedule(abs, args=(1,)).result()
    from pebble.pool.process import ProcessPool
    print(*pool._pool._pool_manager.worker_manager.workers, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_workers_of_a_killed_driver_end_too(tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(_ORPHAN, encoding="utf-8")
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    workers = [int(pid) for pid in driver.stdout.readline().split()]
    assert workers
    driver.kill()
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
