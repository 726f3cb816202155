from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import InterruptedSearchError
from lossforge.evaluation.records import Outcome, Setup, Training, TrainingRequest, TrainingResult
from lossforge.executors.protocol import Stop
from lossforge.losses.compiled import LossSpec
from lossforge.search.recorder import Recorder
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.store.ledger import Ledger, TrainingRow

SETUP = Setup(TaskSection(data="digits"), RecipeSection(cohort=2), 3, "validation", 5.0)


def trainings(key: str, *seeds: int, setup: Setup = SETUP) -> list[Training]:
    chosen = seeds or (2**63 - 1, 11)
    return [Training(setup, key, LossSpec("y_pred"), 0.1, place, seed) for place, seed in enumerate(chosen)]


def wanted_of(*keys: str) -> list[Training]:
    return [training for key in keys for training in trainings(key)]


def accuracy(key: str, seed: int) -> float:
    return (sum(map(ord, key)) * 7 + seed) % 100 / 100


def told(request: TrainingRequest) -> str:
    return "".join(training.key for training in request.trainings)


class FakeExecutor:
    """Finishes requests in any order; remembers what it was given."""

    workers = 2
    at_hand = False

    def __init__(self, order: Callable[[list[int]], list[int]] = lambda indices: indices) -> None:
        self.order = order
        self.given: list[list[TrainingRequest]] = []
        self.finished: list[str] = []

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        batch = list(requests)
        if batch:
            self.given.append(batch)
        for index in self.order(list(range(len(batch)))):
            if stop():
                return
            self.finished.append(told(batch[index]))
            yield index, self.result(batch[index])

    def result(self, request: TrainingRequest) -> TrainingResult:
        count = len(request.trainings)
        accuracies = tuple(accuracy(one.key, one.seed) for one in request.trainings)
        return TrainingResult((Outcome.TRAINED,) * count, accuracies, ("",) * count, 1.5, ({},) * count)

    def close(self) -> None:
        pass


class BrokenExecutor(FakeExecutor):
    """Finishes one request and breaks."""

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        yield next(super().run(requests, stop))
        raise KeyboardInterrupt


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def never() -> bool:
    return False


def keys(rows: list[TrainingRow]) -> str:
    return "".join(row.key for row in rows)


def test_a_result_becomes_a_row_for_each_training(ledger: Ledger) -> None:
    rows = Recorder(ledger, FakeExecutor(), never).run(trainings("a"), "search", 4)
    assert rows == ledger.trainings()
    assert rows[0] == TrainingRow(
        fingerprint=trainings("a")[0].fingerprint(),
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
        def result(self, request: TrainingRequest) -> TrainingResult:
            return TrainingResult((Outcome.TRAINED, Outcome.DIVERGED), (0.5, None), ("", "not finite"), 1.0, ({}, {}))

    executor = Failing()
    for _ in range(2):
        rows = Recorder(ledger, executor, never).run(trainings("a"), "search")
        assert [(row.outcome, row.accuracy, row.reason) for row in rows] == [
            ("trained", 0.5, ""),
            ("diverged", None, "not finite"),
        ]
    assert executor.finished == ["aa"]


def test_what_the_ledger_has_is_not_trained(ledger: Ledger) -> None:
    first, second = FakeExecutor(), FakeExecutor()
    before = Recorder(ledger, first, never).run(wanted_of("a", "b"), "search")
    after = Recorder(ledger, second, never).run(wanted_of("b", "c", "a"), "search", 7)
    assert second.finished == ["cc"]
    assert keys(after) == "bbccaa"
    assert [*after[4:], *after[:2]] == before


def test_cohorts_depend_on_what_is_asked_and_not_on_what_is_known(ledger: Ledger) -> None:
    """So that a stop in between changes nobody's neighbours: known lanes are left out, and others stay in place."""
    executor = FakeExecutor()
    recorder = Recorder(ledger, executor, never)
    recorder.run(trainings("a", 1, 2, 3), "search")
    recorder.run([*trainings("a", 1, 2, 3), *trainings("b", 1, 2)], "search")
    (again,) = executor.given[1:]
    assert [[one.key + str(one.seed) for one in request.replicas] for request in again] == [["a3", "b1"], ["b2"]]
    assert [told(request) for request in again] == ["b", "b"]
    assert again[0].left_out == (0,)


@settings(deadline=None, max_examples=25)
@given(
    names=st.lists(st.sampled_from("abcdefgh"), max_size=12, unique=True), known=st.sets(st.sampled_from("abcdefgh"))
)
def test_what_is_known_keeps_its_lane_and_is_not_trained(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], known: set[str]
) -> None:
    opened = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    wanted = [training for name in names for training in trainings(name, 1)]
    Recorder(opened, FakeExecutor(), never).run([one for one in wanted if one.key in known], "search")
    executor = FakeExecutor()
    Recorder(opened, executor, never).run(wanted, "search")
    opened.close()
    requests = [request for batch in executor.given for request in batch]
    pairs = ["".join(names[start : start + 2]) for start in range(0, len(names), 2)]
    assert ["".join(one.key for one in request.replicas) for request in requests] == [
        pair for pair in pairs if not set(pair) <= known
    ]
    assert "".join(map(told, requests)) == "".join(name for name in names if name not in known)


def test_only_trainings_of_one_setup_share_a_cohort(ledger: Ledger) -> None:
    longer = replace(SETUP, epochs=9)
    wanted = [
        *trainings("a", 1),
        *trainings("b", 1, setup=longer),
        *trainings("c", 1),
        *trainings("d", 1, setup=longer),
    ]
    executor = FakeExecutor()
    assert keys(Recorder(ledger, executor, never).run(wanted, "search")) == "abcd"
    assert executor.finished == ["ac", "bd"]


def test_other_seeds_are_other_trainings(ledger: Ledger) -> None:
    executor = FakeExecutor()
    recorder = Recorder(ledger, executor, never)
    recorder.run(trainings("a", 1, 2), "search")
    three, four = recorder.run(trainings("a", 3, 4), "search")
    assert (three.seed, four.seed) == (3, 4)
    assert ledger.training_count() == 4


def test_nothing_to_train_asks_the_executor_for_nothing(ledger: Ledger) -> None:
    executor = FakeExecutor()
    assert Recorder(ledger, executor, never).run([], "search") == []
    assert executor.given == []


def test_a_training_asked_twice_is_trained_once(ledger: Ledger) -> None:
    executor = FakeExecutor()
    wanted = [*wanted_of("a", "b", "a"), *trainings("a", 5, 6)]
    rows = Recorder(ledger, executor, never).run(wanted, "search")
    assert executor.finished == ["aa", "bb", "aa"]
    assert keys(rows) == "aabbaaaa"
    assert rows[:2] == rows[4:6] != rows[6:]
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
    rows = Recorder(opened, executor, never).run(wanted_of(*names), "search")
    assert keys(rows) == "".join(2 * name for name in names)
    assert all(row.accuracy == accuracy(row.key, row.seed) for row in rows)
    assert sorted(executor.finished) == sorted({2 * name for name in names})
    assert opened.training_count() == 2 * len(set(names))
    opened.close()


def test_each_result_is_recorded_before_the_next_is_awaited(ledger: Ledger) -> None:
    counts: list[int] = []

    class Watching(FakeExecutor):
        def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
            for item in super().run(requests, stop):
                counts.append(ledger.training_count())
                yield item

    Recorder(ledger, Watching(), never).run(wanted_of(*"abc"), "search")
    assert counts == [0, 2, 4]


def test_results_that_are_there_together_are_recorded_together(ledger: Ledger) -> None:
    counts = []

    class Watching(FakeExecutor):
        def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
            for number, item in enumerate(super().run(requests, stop)):
                counts.append(ledger.training_count())
                self.at_hand = number in (1, 2)
                yield item

    told_of: list[int] = []
    recorder = Recorder(ledger, Watching(), never, told_of.append)
    assert keys(recorder.run(wanted_of(*"abcde"), "search")) == "aabbccddee"
    assert counts == [0, 2, 2, 2, 8]
    assert told_of == [2, 6, 2]


def test_an_error_loses_none_of_the_results_that_were_to_be_recorded_with_others(ledger: Ledger) -> None:
    class Breaking(BrokenExecutor):
        at_hand = True

    with pytest.raises(KeyboardInterrupt):
        Recorder(ledger, Breaking(), never).run(wanted_of(*"ab"), "search")
    assert keys(ledger.trainings()) == "aa"


class Eager(FakeExecutor):
    """Fetches a request when it is free, as the real ones do."""

    def run(self, requests: Iterable[TrainingRequest], stop: Stop) -> Iterator[tuple[int, TrainingResult]]:
        for index, request in enumerate(requests):
            self.given.append([request])
            self.finished.append(told(request))
            yield index, self.result(request)
            if stop():
                return


def test_the_first_cohort_trains_while_others_are_being_thought_of(ledger: Ledger) -> None:
    executor = Eager()
    known: list[int] = []

    def thinking() -> Iterator[Training]:
        for key in "abc":
            known.append(ledger.training_count())
            yield from trainings(key)

    rows = Recorder(ledger, executor, never).run(thinking(), "search")
    assert known == [0, 2, 4]
    assert keys(rows) == "aabbcc"


def test_nothing_more_is_thought_of_after_a_stop(ledger: Ledger) -> None:
    executor = Eager()
    thought: list[str] = []

    def thinking() -> Iterator[Training]:
        for key in "abc":
            thought.append(key)
            yield from trainings(key)

    with pytest.raises(InterruptedSearchError):
        Recorder(ledger, executor, lambda: bool(executor.finished)).run(thinking(), "search")
    assert thought == ["a"]
    assert ledger.training_count() == 2


def test_stages_train_together_in_cohorts_of_their_own(ledger: Ledger) -> None:
    executor = FakeExecutor()
    wanted = [("search", trainings("a", 1)), ("audit", [*trainings("b", 1), *trainings("a", 1)])]
    searched, audited = Recorder(ledger, executor, never).run_all(wanted, 3)
    assert executor.finished == ["a", "b"]
    assert len(executor.given) == 1
    assert [(row.key, row.stage, row.generation) for row in [*searched, *audited]] == [
        ("a", "search", 3),
        ("b", "audit", 3),
        ("a", "search", 3),
    ]


def test_what_was_finished_before_a_break_is_recorded(ledger: Ledger) -> None:
    wanted = wanted_of("a", "b")
    with pytest.raises(KeyboardInterrupt):
        Recorder(ledger, BrokenExecutor(), never).run(wanted, "search")
    assert {row.key for row in ledger.trainings()} == {"a"}
    executor = FakeExecutor()
    assert keys(Recorder(ledger, executor, never).run(wanted, "search")) == "aabb"
    assert executor.finished == ["bb"]


def test_a_stop_is_told_after_what_was_finished_is_recorded(ledger: Ledger) -> None:
    executor = FakeExecutor()
    wanted = wanted_of(*"abca")
    with pytest.raises(InterruptedSearchError, match="stopped on request"):
        Recorder(ledger, executor, lambda: len(executor.finished) >= 2).run(wanted, "search")
    assert keys(ledger.trainings()) == "aabb"
    again = FakeExecutor()
    assert keys(Recorder(ledger, again, never).run(wanted, "search")) == "aabbccaa"
    assert again.finished == ["cc"]


def test_a_stop_during_the_last_training_is_told_too(ledger: Ledger) -> None:
    executor = FakeExecutor()
    with pytest.raises(InterruptedSearchError):
        Recorder(ledger, executor, lambda: bool(executor.finished)).run(trainings("a"), "search")
    assert ledger.training_count() == 2


def test_a_stop_before_the_first_training_trains_nothing(ledger: Ledger) -> None:
    executor = FakeExecutor()
    with pytest.raises(InterruptedSearchError):
        Recorder(ledger, executor, lambda: True).run(trainings("a"), "search")
    assert executor.finished == []
    assert ledger.training_count() == 0


def test_the_number_of_trainings_is_told(ledger: Ledger) -> None:
    counts: list[tuple[int, int]] = []
    known: list[int] = []
    recorder = Recorder(
        ledger,
        FakeExecutor(),
        never,
        lambda count: counts.append((count, ledger.training_count())),
        on_recalled=known.append,
    )
    recorder.run([*trainings("a", 1, 2), *trainings("b", 1), *trainings("a", 1, 2)], "search")
    assert counts == [(2, 2), (1, 3)]
    assert sum(known) == 0
    recorder.run(trainings("a", 1, 2), "search")
    assert len(counts) == 2
    assert sum(known) == 2  # from an earlier run: behind us, and no sign of the pace


class Poisoned(FakeExecutor):
    """A cohort in which the loss "p" is trained fails as a whole."""

    def result(self, request: TrainingRequest) -> TrainingResult:
        if "p" not in told(request):
            return super().result(request)
        return TrainingResult.failed(len(request.trainings), Outcome.CRASHED, "its worker process died 2 times")


def test_a_loss_that_kills_its_cohort_is_found_and_its_neighbours_get_their_results(ledger: Ledger) -> None:
    setup = replace(SETUP, recipe=RecipeSection(cohort=8))
    wanted = [training for key in "abpc" for training in trainings(key, 1, 2, setup=setup)]
    executor = Poisoned()
    rows = Recorder(ledger, executor, never).run(wanted, "search")
    assert [row.outcome for row in rows] == ["trained"] * 4 + ["crashed"] * 2 + ["trained"] * 2
    assert [row.accuracy for row in rows if row.key != "p"] == [accuracy(key, seed) for key in "abc" for seed in (1, 2)]
    assert [[told(request) for request in batch] for batch in executor.given] == [
        ["aabbppcc"],
        ["aabb", "ppcc"],
        ["pp", "cc"],
    ]
    # Whoever is left out keeps a lane, so nobody's place changes.
    assert all(len(request.replicas) == 8 for batch in executor.given for request in batch)
    assert keys(ledger.trainings()) == "aabbppcc"


def test_a_search_killed_while_it_looks_for_the_poison_goes_on(ledger: Ledger) -> None:
    setup = replace(SETUP, recipe=RecipeSection(cohort=8))
    wanted = [training for key in "abpc" for training in trainings(key, 1, 2, setup=setup)]
    executor = Poisoned()
    with pytest.raises(InterruptedSearchError):
        Recorder(ledger, executor, lambda: len(executor.finished) >= 3).run(wanted, "search")
    assert keys(ledger.trainings()) == "aabb"
    rows = Recorder(ledger, Poisoned(), never).run(wanted, "search")
    assert [row.outcome for row in rows] == ["trained"] * 4 + ["crashed"] * 2 + ["trained"] * 2


def test_a_training_that_a_limit_cut_short_gets_another_chance_with_more_time(ledger: Ledger) -> None:
    class Slow(FakeExecutor):
        def result(self, request: TrainingRequest) -> TrainingResult:
            return TrainingResult.failed(len(request.trainings), Outcome.TIMED_OUT, "passed its limit", 10.0)

    first = Recorder(ledger, Slow(), never).run(trainings("a"), "search")
    assert {row.outcome for row in first} == {"timed_out"}
    assert Recorder(ledger, FakeExecutor(), never).run(trainings("a"), "search") == first
    patient = replace(SETUP, seconds=10.0)
    again = Recorder(ledger, FakeExecutor(), never).run(trainings("a", setup=patient), "search")
    assert {row.outcome for row in again} == {"trained"}
    assert ledger.training_count() == 2
