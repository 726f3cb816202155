from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import InterruptedSearchError
from lossforge.evaluation.executor import Stop
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.losses.compiled import LossSpec
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.trainer import Trainer

REQUEST = TrainingRequest(
    key="a",
    loss=LossSpec("y_pred"),
    task=TaskSection(data="digits"),
    recipe=RecipeSection(),
    learning_rate=0.1,
    epochs=3,
    part="validation",
    replicates=(0, 1),
    seeds=(2**63 - 1, 11),
    seconds=5.0,
)


def request(key: str, *seeds: int) -> TrainingRequest:
    chosen = seeds or REQUEST.seeds
    return replace(REQUEST, key=key, seeds=chosen, replicates=tuple(range(len(chosen))))


def accuracy(key: str, seed: int) -> float:
    return (sum(map(ord, key)) * 7 + seed) % 100 / 100


class FakeExecutor:
    """Finishes requests in any order; remembers what it was given."""

    workers = 2

    def __init__(self, order: Callable[[list[int]], list[int]] = lambda indices: indices) -> None:
        self.order = order
        self.given: list[list[str]] = []
        self.finished: list[str] = []

    def run(self, requests: Sequence[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        self.given.append([one.key for one in requests])
        for index in self.order(list(range(len(requests)))):
            if stop():
                return
            one = requests[index]
            self.finished.append(one.key)
            accuracies = tuple(accuracy(one.key, seed) for seed in one.seeds)
            yield index, TrainingResult((Outcome.TRAINED,) * len(one.seeds), accuracies, "", 1.5)

    def close(self) -> None:
        pass


class BrokenExecutor(FakeExecutor):
    """Finishes one request and breaks."""

    def run(self, requests: Sequence[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        yield next(super().run(requests, stop))
        raise KeyboardInterrupt


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def never() -> bool:
    return False


def keys(rows: list[list[TrainingRow]]) -> list[str]:
    return [found[0].key for found in rows]


def test_a_result_becomes_a_row_for_each_replicate(ledger: Ledger) -> None:
    (rows,) = Trainer(ledger, FakeExecutor(), never).run([REQUEST], "search", 4)
    assert rows == ledger.trainings()
    assert rows[0] == TrainingRow(
        fingerprint=REQUEST.fingerprint(),
        seed=2**63 - 1,
        replicate=0,
        stage="search",
        generation=4,
        key="a",
        formula="y_pred",
        task="digits",
        part="validation",
        learning_rate=0.1,
        epochs=3,
        outcome="trained",
        accuracy=accuracy("a", 2**63 - 1),
        reason="",
        seconds=1.5,
    )
    assert [(row.seed, row.replicate, row.accuracy) for row in rows[1:]] == [(11, 1, accuracy("a", 11))]


def test_a_failure_is_recorded_and_not_tried_again(ledger: Ledger) -> None:
    class Failing(FakeExecutor):
        def run(self, requests: Sequence[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
            for index, _ in super().run(requests, stop):
                yield index, TrainingResult((Outcome.TRAINED, Outcome.DIVERGED), (0.5, None), "not finite", 1.0)

    executor = Failing()
    for _ in range(2):
        (rows,) = Trainer(ledger, executor, never).run([REQUEST], "search")
        assert [(row.outcome, row.accuracy, row.reason) for row in rows] == [
            ("trained", 0.5, "not finite"),
            ("diverged", None, "not finite"),
        ]
    assert executor.finished == ["a"]


def test_what_the_ledger_has_is_not_trained(ledger: Ledger) -> None:
    first, second = FakeExecutor(), FakeExecutor()
    before = Trainer(ledger, first, never).run([request("a"), request("b")], "search")
    after = Trainer(ledger, second, never).run([request("b"), request("c"), request("a")], "search", 7)
    assert second.finished == ["c"]
    assert keys(after) == ["b", "c", "a"]
    assert [after[2], after[0]] == before


def test_other_seeds_are_other_trainings(ledger: Ledger) -> None:
    executor = FakeExecutor()
    trainer = Trainer(ledger, executor, never)
    trainer.run([request("a", 1, 2)], "search")
    ((three, four),) = trainer.run([request("a", 3, 4)], "search")
    assert (three.seed, four.seed) == (3, 4)
    assert ledger.training_count() == 4


def test_nothing_to_train_asks_the_executor_for_nothing(ledger: Ledger) -> None:
    executor = FakeExecutor()
    assert Trainer(ledger, executor, never).run([], "search") == []
    assert executor.finished == []


def test_a_request_asked_twice_is_trained_once(ledger: Ledger) -> None:
    executor = FakeExecutor()
    rows = Trainer(ledger, executor, never).run(
        [request("a"), request("b"), request("a"), request("a", 5, 6)], "search"
    )
    assert executor.finished == ["a", "b", "a"]
    assert keys(rows) == ["a", "b", "a", "a"]
    assert rows[0] == rows[2] != rows[3]
    assert ledger.training_count() == 6


@settings(deadline=None, max_examples=25)
@given(names=st.lists(st.sampled_from("abcdef"), max_size=8), order=st.randoms(use_true_random=False))
def test_rows_come_in_the_order_asked_whatever_finishes_first(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], order: object
) -> None:
    def shuffled(indices: list[int]) -> list[int]:
        order.shuffle(indices)  # type: ignore[attr-defined]
        return indices

    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    opened = Ledger(path)
    executor = FakeExecutor(shuffled)
    rows = Trainer(opened, executor, never).run([request(name) for name in names], "search")
    assert keys(rows) == names
    assert all(row.accuracy == accuracy(row.key, row.seed) for found in rows for row in found)
    assert sorted(executor.finished) == sorted(set(names))
    assert opened.training_count() == 2 * len(set(names))
    opened.close()


def test_each_result_is_recorded_before_the_next_is_awaited(ledger: Ledger) -> None:
    counts: list[int] = []

    class Watching(FakeExecutor):
        def run(self, requests: Sequence[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
            for item in super().run(requests, stop):
                counts.append(ledger.training_count())
                yield item

    Trainer(ledger, Watching(), never).run([request(name) for name in "abc"], "search")
    assert counts == [0, 2, 4]


def test_what_was_finished_before_a_break_is_recorded(ledger: Ledger) -> None:
    requests = [request("a"), request("b")]
    with pytest.raises(KeyboardInterrupt):
        Trainer(ledger, BrokenExecutor(), never).run(requests, "search")
    assert {row.key for row in ledger.trainings()} == {"a"}
    executor = FakeExecutor()
    assert keys(Trainer(ledger, executor, never).run(requests, "search")) == ["a", "b"]
    assert executor.finished == ["b"]


def test_a_stop_is_told_after_what_was_finished_is_recorded(ledger: Ledger) -> None:
    executor = FakeExecutor()
    requests = [request(name) for name in "abca"]
    with pytest.raises(InterruptedSearchError, match="stopped on request"):
        Trainer(ledger, executor, lambda: len(executor.finished) >= 2).run(requests, "search")
    assert [row.key for row in ledger.trainings()] == ["a", "a", "b", "b"]
    again = FakeExecutor()
    assert keys(Trainer(ledger, again, never).run(requests, "search")) == list("abca")
    assert again.finished == ["c"]


def test_a_stop_during_the_last_training_is_told_too(ledger: Ledger) -> None:
    executor = FakeExecutor()
    with pytest.raises(InterruptedSearchError):
        Trainer(ledger, executor, lambda: bool(executor.finished)).run([REQUEST], "search")
    assert ledger.training_count() == 2


def test_a_stop_before_the_first_training_trains_nothing(ledger: Ledger) -> None:
    executor = FakeExecutor()
    with pytest.raises(InterruptedSearchError):
        Trainer(ledger, executor, lambda: True).run([REQUEST], "search")
    assert executor.finished == []
    assert ledger.training_count() == 0


def test_the_number_of_trained_replicates_is_told(ledger: Ledger) -> None:
    told: list[tuple[int, int]] = []
    trainer = Trainer(ledger, FakeExecutor(), never, lambda count: told.append((count, ledger.training_count())))
    trainer.run([request("a", 1, 2, 3), request("b", 1), request("a", 1, 2, 3)], "search")
    assert told == [(3, 3), (1, 4)]
    trainer.run([request("a", 1, 2, 3)], "search")
    assert len(told) == 2
