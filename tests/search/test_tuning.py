from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import LossforgeError
from lossforge.evaluation.records import Setup, Training
from lossforge.losses.compiled import LossSpec
from lossforge.search.recorder import Recorder
from lossforge.search.tuning import MAX_EXTENSIONS, Sweep, TrainingsAt, require_trained, sweep_together
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.store.ledger import TrainingRow

Landscape = Callable[[str, float, int], float | None]


class FakeRecorder:
    """Answers with an accuracy of its own for loss, rate and replicate; remembers what was asked."""

    def __init__(self, landscape: Landscape) -> None:
        self.landscape = landscape
        self.batches: list[list[tuple[str, float]]] = []
        self.stages: set[str] = set()

    def run(self, wanted: Sequence[Training], stage: str, generation: int = 0) -> list[TrainingRow]:
        self.stages.add(stage)
        self.batches.append(list(dict.fromkeys((training.key, training.learning_rate) for training in wanted)))
        return [self.row(training) for training in wanted]

    def row(self, training: Training) -> TrainingRow:
        replicate = training.replicate
        accuracy = self.landscape(training.key, training.learning_rate, replicate)
        return TrainingRow(
            fingerprint=training.fingerprint(),
            seed=replicate,
            replicate=replicate,
            stage="sweep",
            generation=0,
            key=training.key,
            formula=training.loss.formula,
            task="digits",
            part="validation",
            learning_rate=training.learning_rate,
            epochs=1,
            outcome="trained" if accuracy is not None else "diverged",
            accuracy=accuracy,
            reason="",
            seconds=0.1,
        )


def trainings_of(key: str, seeds: int = 2) -> TrainingsAt:
    setup = Setup(TaskSection(data="digits"), RecipeSection(), 1, "validation", 1.0)

    def at(rate: float) -> list[Training]:
        return [Training(setup, key, LossSpec("y_pred"), rate, seed, seed) for seed in range(seeds)]

    return at


def sweep(
    recorder: FakeRecorder, rates: list[float], keys: Sequence[str] = ("a",), cohorts: int = 1
) -> dict[str, Sweep]:
    losses = {key: trainings_of(key, 2 * cohorts) for key in keys}
    return sweep_together(cast(Recorder, recorder), losses, rates, "a stage")


def peak(best: float) -> Landscape:
    return lambda key, rate, replicate: 1 / (1 + abs(rate - best) / best)


def test_the_best_rate_inside_the_grid_is_found_in_one_go() -> None:
    recorder = FakeRecorder(peak(0.01))
    found = sweep(recorder, [0.001, 0.01, 0.1])["a"]
    assert (found.best, found.at_edge) == (0.01, False)
    assert list(found.accuracies) == [0.001, 0.01, 0.1]
    assert found.accuracies[0.01] == 1.0
    assert len(recorder.batches) == 1
    assert recorder.stages == {"a stage"}


def test_the_grid_goes_on_beyond_its_upper_end() -> None:
    found = sweep(FakeRecorder(peak(0.04)), [0.005, 0.01, 0.02])["a"]
    assert sorted(found.accuracies) == [0.005, 0.01, 0.02, 0.04, 0.08]
    assert (found.best, found.at_edge) == (0.04, False)


def test_the_grid_goes_on_beyond_its_lower_end() -> None:
    found = sweep(FakeRecorder(peak(0.001)), [0.01, 0.1])["a"]
    assert sorted(found.accuracies) == [0.0001, 0.001, 0.01, 0.1]
    assert (found.best, found.at_edge) == (0.001, False)


def test_each_end_goes_on_by_its_own_ratio() -> None:
    assert sorted(sweep(FakeRecorder(peak(1e9)), [0.001, 0.01, 0.02])["a"].accuracies)[3:] == [0.04, 0.08, 0.16]
    assert sorted(sweep(FakeRecorder(peak(1e-9)), [0.001, 0.01, 0.02])["a"].accuracies)[:3] == [1e-6, 1e-5, 1e-4]


@pytest.mark.parametrize("best", [1e-9, 1e9])
def test_extensions_end_and_the_edge_is_told(best: float) -> None:
    recorder = FakeRecorder(peak(best))
    found = sweep(recorder, [0.001, 0.002, 0.004])["a"]
    assert len(found.accuracies) == 3 + MAX_EXTENSIONS
    assert found.at_edge
    assert found.best == (min if best < 1 else max)(found.accuracies)
    assert [len(batch) for batch in recorder.batches] == [3] + [1] * MAX_EXTENSIONS


def test_among_equals_the_lower_rate_wins() -> None:
    def plateau(key: str, rate: float, replicate: int) -> float:
        return 0.8 if 0.002 <= rate <= 0.008 else 0.5

    assert sweep(FakeRecorder(plateau), [0.001, 0.002, 0.004, 0.008, 0.016])["a"].best == 0.002
    assert sweep(FakeRecorder(plateau), [0.004, 0.008])["a"].best == 0.002


def test_a_rate_is_judged_by_its_mean_over_replicates_and_cohorts() -> None:
    def landscape(key: str, rate: float, replicate: int) -> float:
        # One lucky replicate of four makes no best rate.
        return (0.99 if replicate == 3 else 0.1) if rate == 0.1 else 0.5

    found = sweep(FakeRecorder(landscape), [0.01, 0.02, 0.1], cohorts=2)["a"]
    assert found.accuracies[0.1] == pytest.approx((0.99 + 3 * 0.1) / 4)
    assert found.best != 0.1


def test_a_failed_training_counts_as_nothing_learnt() -> None:
    def landscape(key: str, rate: float, replicate: int) -> float | None:
        return None if (rate, replicate) == (0.02, 0) else {0.01: 0.6, 0.02: 0.9, 0.04: 0.55}.get(rate, 0.1)

    found = sweep(FakeRecorder(landscape), [0.005, 0.01, 0.02, 0.04])["a"]
    assert found.accuracies[0.02] == pytest.approx(0.45)
    assert found.best == 0.01


def test_a_loss_that_fails_at_every_rate_is_told_and_the_others_go_on() -> None:
    recorder = FakeRecorder(lambda key, rate, replicate: None if key == "b" else 0.5)
    found = sweep(recorder, [0.01, 0.1], keys=("a", "b"))
    assert (found["a"].failed, found["b"].failed) == (False, True)
    assert require_trained(found["a"], "a") is found["a"]
    with pytest.raises(LossforgeError) as caught:
        require_trained(found["b"], "b")
    assert str(caught.value) == "b: every training failed at every learning rate (0.01, 0.1); check task and recipe"
    # What fails everywhere is not tried beyond the grid.
    assert all(key == "a" for batch in recorder.batches[1:] for key, _ in batch)


def test_losses_are_swept_together_and_apart() -> None:
    recorder = FakeRecorder(lambda key, rate, replicate: peak({"a": 0.01, "b": 0.04}[key])(key, rate, replicate))
    found = sweep(recorder, [0.005, 0.01, 0.02], keys=("a", "b"))
    assert (found["a"].best, found["b"].best) == (0.01, 0.04)
    # The first batch holds all of it, so that no worker waits; later ones only who needs more.
    assert recorder.batches[0] == [(key, rate) for key in "ab" for rate in (0.005, 0.01, 0.02)]
    assert recorder.batches[1:] == [[("b", 0.04)], [("b", 0.08)]]


def test_one_rate_is_not_extended() -> None:
    recorder = FakeRecorder(peak(1.0))
    found = sweep(recorder, [0.01])["a"]
    assert (list(found.accuracies), found.best) == ([0.01], 0.01)
    assert len(recorder.batches) == 1


RATES = st.lists(st.sampled_from([0.0005 * 2**n for n in range(10)]), min_size=2, max_size=6, unique=True).map(sorted)


@settings(deadline=None, max_examples=60)
@given(rates=RATES, values=st.dictionaries(st.integers(-10, 20), st.floats(0.01, 1)))
def test_nothing_tried_is_better_than_the_best(rates: list[float], values: dict[int, float]) -> None:
    recorder = FakeRecorder(lambda key, rate, replicate: values.get(round(1000 * rate), 0.3))
    found = sweep(recorder, rates)["a"]
    assert set(rates) <= set(found.accuracies)
    assert all(
        found.accuracies[found.best] > value or (found.accuracies[found.best] == value and found.best <= rate)
        for rate, value in found.accuracies.items()
    )
    asked = [rate for batch in recorder.batches for _, rate in batch]
    assert len(asked) == len(set(asked)) <= len(rates) + MAX_EXTENSIONS
    if not found.at_edge:
        assert min(found.accuracies) < found.best < max(found.accuracies)
