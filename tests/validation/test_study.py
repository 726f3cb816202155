"""A study by itself: who is chosen as a rival, who is tuned, who stops when, against trainings that are made up."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lossforge.errors import LossforgeError
from lossforge.evaluation.records import Outcome, Training
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.seeding import derive_seed
from lossforge.spaces.plans import read_plan
from lossforge.store.ledger import TrainingRow
from lossforge.store.stages import Stage
from lossforge.validation.measures import measured
from lossforge.validation.plans import studies_of
from lossforge.validation.rows import comparisons
from lossforge.validation.settings import Settings
from lossforge.validation.study import Result, Runner, Study
from lossforge.validation.verdicts import LossVerdict, Pair, Verdict, judge_losses

TASK = {"data": "digits", "train": 400, "validation": 300, "test": 1000, "width": 4}


class MadeUp:
    """In a recorder's place: every training's score is worked out, and what was asked is kept."""

    def __init__(self, score: Callable[[Training, str], float | None]) -> None:
        self.score = score
        self.asked: list[tuple[str, Training]] = []

    def run(self, wanted: Iterable[Training], stage: str, again: object = ()) -> list[TrainingRow]:
        rows = []
        for training in wanted:
            self.asked.append((stage, training))
            value = self.score(training, stage)
            outcome = Outcome.TRAINED if value is not None else Outcome.DIVERGED
            metrics = "{}" if value is None else json.dumps({"worst_class": value / 2, "confusion_matrix": [[1]]})
            rows.append(
                TrainingRow(
                    fingerprint=training.key,
                    seed=training.seed,
                    replicate=training.replicate,
                    stage=stage,
                    generation=0,
                    key=training.key,
                    formula=training.loss.formula,
                    task="t",
                    part=training.setup.part,
                    learning_rate=training.learning_rate,
                    epochs=training.setup.epochs,
                    outcome=str(outcome),
                    accuracy=value,
                    reason="" if value is not None else "made up",
                    seconds=1.0,
                    metrics=metrics,
                )
            )
        return rows

    def seeds(self, formula: str, stage: str) -> int:
        return len({one.seed for at, one in self.asked if at == stage and one.loss.formula == formula})


def noise(training: Training, size: float) -> float:
    """The same for a loss and seed every time, within ± size."""
    return size * (derive_seed(training.seed, training.key) % 2001 / 1000 - 1)


def study(losses: list[str], **changes: object) -> Study:
    plan = read_plan(
        {
            "name": "p",
            "losses": losses,
            "task": TASK,
            "rivals": {"named": ["cross_entropy"], "best": 0},
            "study": [{"name": "s"}],
        },
        "p",
    )
    (one,) = studies_of(plan)
    settings = Settings(
        **{
            "seeds": 16,
            "looks": True,
            "margin": 0.5,
            "epochs": 3,
            "rates": (0.01, 0.02, 0.04),
            "tuning_seeds": 2,
            "coarse_rates": (0.01, 0.04),
            "coarse_seeds": 1,
            **changes,
        }  # type: ignore[arg-type]
    )
    return replace(one, settings=settings)


def run(one: Study, score: Callable[[Training, str], float | None]) -> tuple[Result, MadeUp]:
    recorder = MadeUp(score)
    result = Runner(cast("Recorder", recorder), Progress(), ("compare", Path("x"))).run(one)
    return result, recorder


NGL, MAE = "exp(2.4092 - y_pred - y_pred * y_true) - cos(cos(sin(y_pred)))", "max(y_pred, y_true)"


def test_what_is_decided_gets_no_more_seeds_and_what_is_open_gets_all() -> None:
    def score(training: Training, stage: str) -> float:
        gain = {NGL: 0.05, MAE: 0.003}.get(training.loss.formula, 0.0)
        return 0.8 + gain + noise(training, 0.01)

    result, recorder = run(study([NGL, MAE]), score)
    rows = comparisons(result)
    assert [(row.verdict, row.seeds) for row in rows] == [(Verdict.BETTER, 4), (Verdict.NOT_SEPARABLE, 16)]
    assert recorder.seeds(NGL, Stage.VALIDATION) == 4
    assert recorder.seeds(MAE, Stage.VALIDATION) == 16
    assert {row.looks for row in rows} == {(4, 8, 16)}
    # A look costs: the interval at 4 seeds is wider than one that was planned for 4 alone.
    alone = comparisons(run(study([NGL, MAE], seeds=4, looks=False), score)[0])
    assert rows[0].high - rows[0].low > alone[0].high - alone[0].low
    assert rows[0].p > alone[0].p


def test_losses_that_are_one_are_equivalent_soon() -> None:
    def score(training: Training, stage: str) -> float:
        return 0.8 + derive_seed(training.seed, "same") % 100 / 1000

    result, _ = run(study([NGL]), score)
    (row,) = comparisons(result)
    assert (row.verdict, row.seeds, row.gain) == (Verdict.EQUIVALENT, 4, 0.0)


def test_everyone_is_tuned_on_validation_data_and_tested_at_the_own_best_rate() -> None:
    best = {NGL: 0.04, MAE: 0.01}

    def score(training: Training, stage: str) -> float:
        far = abs(training.learning_rate - best.get(training.loss.formula, 0.02))
        return 0.8 - far + noise(training, 0.001)

    result, recorder = run(study([NGL, MAE]), score)
    assert {one.setup.part for stage, one in recorder.asked if stage == Stage.TUNING} == {"validation"}
    assert {one.setup.part for stage, one in recorder.asked if stage == Stage.VALIDATION} == {"test"}
    assert [sweep.best for sweep in result.sweeps] == [0.04, 0.01, 0.02]
    # Best at an end: one rate beyond is tried, and written down.
    assert {one.learning_rate for one in result.tried if one.loss == NGL} == {0.01, 0.02, 0.04, 0.08}
    used = {one.seed for stage, one in recorder.asked if stage != Stage.VALIDATION}
    assert not used & {one.seed for stage, one in recorder.asked if stage == Stage.VALIDATION}


def test_the_best_known_losses_are_chosen_by_validation_data_with_the_same_trials_for_all() -> None:
    def score(training: Training, stage: str) -> float:
        liked = {"-y_true * (1 - y_pred)**2 * log(y_pred)": 0.1, "(y_true - y_pred)**2": 0.08}
        # On test data they are bad: that must not matter.
        sign = -1 if stage == Stage.VALIDATION else 1
        return 0.5 + sign * liked.get(training.loss.formula, 0.0)

    result, recorder = run(study([NGL], known=2), score)
    assert [one.name for one in result.rivals] == ["cross_entropy", "focal", "brier"]
    trials: dict[str, int] = {}
    for stage, one in recorder.asked:
        if stage == Stage.COARSE:
            trials[f"{one.key} {one.loss.label_smoothing}"] = trials.get(f"{one.key} {one.loss.label_smoothing}", 0) + 1
    assert len(trials) > 25
    assert set(trials.values()) == {2}
    assert [row.chosen for row in comparisons(result)] == [False, True, True]
    assert {one.stage for one in result.tried} == {"coarse", "full"}


def test_only_those_that_are_named_are_tried_where_some_are() -> None:
    result, _ = run(study([NGL], known=5, among=("focal", "brier")), lambda training, stage: 0.5)
    assert [one.name for one in result.rivals] == ["cross_entropy", "focal", "brier"]


def test_a_loss_that_fails_is_worse_and_its_measures_are_those_of_its_other_seeds() -> None:
    def score(training: Training, stage: str) -> float | None:
        return None if training.loss.formula == NGL and training.replicate % 2 else 0.8 + noise(training, 0.01)

    result, _ = run(study([NGL]), score)
    (row,) = comparisons(result)
    assert row.failed == row.seeds // 2
    assert row.gain < -30
    found = {(one.loss, one.measure): one for one in measured(result)}
    assert {name for _, name in found} == {"worst_class"}
    assert found[NGL, "worst_class"].seeds == row.seeds // 2
    assert found[NGL, "worst_class"].mean == pytest.approx(0.4, abs=0.01)
    assert found["cross_entropy", "worst_class"].difference is None


def test_a_rival_that_never_trains_ends_the_study() -> None:
    with pytest.raises(LossforgeError, match="cross_entropy: every training failed"):
        run(study([NGL]), lambda training, stage: None if "log" in training.loss.formula else 0.5)


def test_a_given_rate_is_nobodys_to_tune() -> None:
    plan = read_plan(
        {
            "name": "p",
            "losses": ["ngl"],
            "task": TASK,
            "recipe": {"learning_rate": 0.007},
            "rivals": {"named": ["cross_entropy"], "best": 0},
            "study": [{"name": "s"}],
        },
        "p",
    )
    (one,) = studies_of(plan)
    _, recorder = run(one, lambda training, stage: 0.5)
    assert {stage for stage, _ in recorder.asked} == {Stage.VALIDATION}
    assert {training.learning_rate for _, training in recorder.asked} == {0.007}


@pytest.mark.slow
def test_two_thousand_whole_studies_with_looks_find_what_is_not_there_in_six_of_a_hundred_at_most() -> None:
    """Three losses and two rivals that are all alike: what stops early, and is kept as it stood, is seldom wrong."""
    base = study([NGL, MAE, "(y_true - y_pred)**2"])
    rivals = [*base.rivals, replace(base.losses[0], name="ngl", key="another", searched="")]
    one = replace(base, rivals=rivals, settings=replace(base.settings, rates=(0.01,), tuning_seeds=1, margin=0.0))
    studies, wrong, all_known, held, pairs = 2000, 0, 0, 0, 0
    for number in range(studies):
        generator = random.Random(number)
        drawn: dict[tuple[str, int], float] = {}

        def score(training: Training, stage: str, drawn: Any = drawn, generator: Any = generator) -> float:
            if stage != Stage.VALIDATION:
                return 0.8
            return float(drawn.setdefault((training.key, training.seed), generator.gauss(0.8, 0.02)))

        result, _ = run(one, score)
        verdicts = [judged.judgement.verdict for judged in result.judged]
        # Of the losses beside one rival: over rivals nothing is corrected, as each has a question of its own.
        wrong += any(verdict in (Verdict.BETTER, Verdict.WORSE) for verdict in verdicts[:3])
        found = [Pair(str(judged.loss), str(judged.rival), judged.difference) for judged in result.judged]
        all_known += any(over.verdict is LossVerdict.BETTER_THAN_ALL_KNOWN for over in judge_losses(found).values())
        held += sum(judged.difference.low <= 0 <= judged.difference.high for judged in result.judged)
        pairs += len(result.judged)
    assert 0.02 < wrong / studies <= 0.06
    assert all_known / studies <= 0.06
    assert held / pairs >= 0.93
