"""Names that ledgers have: what a run of an earlier version wrote means the same today."""

from __future__ import annotations

from lossforge.evaluation.records import Outcome
from lossforge.evaluation.space_trainings import replicate_seed
from lossforge.screening.settings import Certain, Screen
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import TaskSection
from lossforge.store.stages import Stage


def test_texts_in_ledgers_never_change() -> None:
    assert [*map(str, Stage)] == [
        *("sweep", "check", "control", "search", "audit", "reference", "fresh", "coarse"),
        *("tuning", "validation"),
        *("second optimizer, tuning", "second optimizer"),
    ]
    assert [*map(str, Outcome)] == [
        *("trained", "stopped", "diverged", "timed_out", "crashed"),
        *("rejected", "duplicate", "cached"),
    ]
    assert {*map(str, Screen)} >= {"static", "probe", "descent"}
    assert str(Certain.NO_GRADIENT) == "the gradient is zero"


def test_a_name_and_its_text_give_the_same_seeds() -> None:
    task = TaskSection(data="digits")
    assert replicate_seed(3, Stage.SEARCH, task, 1) == replicate_seed(3, "search", task, 1)
    assert derive_seed(3, Stage.AUDIT, "key") == derive_seed(3, "audit", "key")
    assert derive_seed(3, "1") != derive_seed(3, 1)


def test_outcomes_are_of_trainings_or_of_candidates_alone() -> None:
    assert [outcome for outcome in Outcome if not outcome.of_training] == [*Outcome][5:]


def test_a_rejection_is_a_judgement_or_certain() -> None:
    assert Screen.DESCENT.judges("12 % of the logits reach their targets")
    assert Screen.PROBE.judges("the gradient is not finite")
    assert not Screen.PROBE.judges("the gradient is zero")
    assert not Screen.STATIC.judges("y_true does not occur")
    assert not Screen.GUARDS.judges("another loss with other guards")
