from __future__ import annotations

from pathlib import Path

import pytest

from lossforge.errors import SpaceError
from lossforge.search.hall_of_fame import read_hall_of_fame
from lossforge.search.starting import started_from
from lossforge.spaces.schema import ExpressionSection, SearchSpace, TaskSection

CE = "-y_true * log(y_pred)"


def space(**expression: object) -> SearchSpace:
    return SearchSpace(
        name="t", task=[TaskSection(data="digits")], expression=ExpressionSection.model_validate(expression)
    )


def test_known_losses_and_formulas_become_seeds_once() -> None:
    found = started_from(space(), ["mean_absolute_error", "y_pred * y_true", CE])
    assert found.expression.seeds[0] == CE
    assert len(found.expression.seeds) == 3
    assert found.expression.seeds[2] == "y_pred * y_true"
    assert not found.evolution.surrogate.learned


def test_a_run_gives_its_leaders_and_what_it_judged(finished_run: Path) -> None:
    found = started_from(space(), [finished_run])
    leaders = [entry.searched for entry in read_hall_of_fame(finished_run / "hall_of_fame.csv")]
    assert found.expression.seeds == list(dict.fromkeys([CE, *leaders]))[: len(found.expression.seeds)]
    assert len(found.expression.seeds) > 2
    learned = dict(found.evolution.surrogate.learned)
    assert set(leaders) <= set(learned)
    assert all(-1 <= gain <= 1 for gain in learned.values())


def test_of_a_run_what_the_space_cannot_express_is_left_out(finished_run: Path) -> None:
    found = started_from(space(primitives=["neg", "mul", "log"]), [finished_run])
    assert found.expression.seeds == [CE]
    assert found.evolution.surrogate.learned


@pytest.mark.parametrize(
    ("start", "said"), [("no/run", "no run's folder"), ("dice", "counts over a batch"), ("true_c(y_pred)", "true_c")]
)
def test_what_cannot_be_started_from_is_refused(start: str, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        started_from(space(), [start])
