"""What is advised about a failed training fits how it failed, and what the run can change."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossforge.evaluation.records import Outcome
from lossforge.evaluation.remedies import remedy
from lossforge.spaces.schema import BudgetSection, SearchSpace, TaskSection

OWN = TaskSection(python="mine:train", classes=3)
NETWORK = TaskSection(data="digits", model="mine:network")
SHIPPED = TaskSection(data="digits")


@pytest.mark.parametrize(
    ("task", "outcome", "reason", "told"),
    [
        (OWN, Outcome.CRASHED, "'mine:train' failed: KeyError: 'weights'", "mend what failed in the function"),
        (OWN, Outcome.CRASHED, "'mine:train' returned 'x'; it must return a number", "mend what failed"),
        (OWN, Outcome.CRASHED, "its worker process died 2 times", "mend what failed in the function"),
        (OWN, Outcome.DIVERGED, "its score is not a number", "mend what failed in the function"),
        (OWN, Outcome.TIMED_OUT, "its worker hung", "'lossforge resume runs/a --set budget.training_seconds=N'"),
        (OWN, Outcome.CRASHED, "'mine:train' failed: out of memory: ...", "free some memory"),
        (NETWORK, Outcome.CRASHED, "'mine:network' failed: KeyError", "mend what failed in the network"),
        (NETWORK, Outcome.DIVERGED, "its loss is not finite", "change the recipe"),
        (SHIPPED, Outcome.DIVERGED, "its loss is not finite", "change the recipe"),
        (SHIPPED, Outcome.CRASHED, "its worker process died 2 times", "see that the machine has memory"),
    ],
)
def test_advice_fits_the_failure(task: TaskSection, outcome: Outcome, reason: str, told: str) -> None:
    found = remedy(SearchSpace(name="a", task=[task]), task, outcome, reason, Path("runs/a"))
    assert told in found
    assert ("recipe" in found) == (told == "change the recipe")
    assert ("budget." in found) == (outcome == Outcome.TIMED_OUT)


def test_a_limit_of_memory_is_the_key_to_raise() -> None:
    space = SearchSpace(name="a", task=[SHIPPED], budget=BudgetSection(training_gigabytes=1.0))
    found = remedy(space, SHIPPED, Outcome.CRASHED, "out of memory (MemoryError)", Path("runs/a"), "validate")
    assert found == (
        "give it more memory with 'lossforge resume runs/a --set budget.training_gigabytes=N', then "
        "'lossforge validate runs/a'"
    )
