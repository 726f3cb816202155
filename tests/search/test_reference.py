"""What a search learns of its ground from the known losses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lossforge.evaluation.records import Training
from lossforge.losses.library import LIBRARY
from lossforge.search.budget import Clock, used_up
from lossforge.search.control import control_key
from lossforge.search.reference import Known, explore, known_losses, seeds_to_see, told, visible_gain
from lossforge.spaces.load import validate_frozen
from lossforge.spaces.schema import BudgetSection, ReferenceSection, SearchSpace, TaskSection
from lossforge.store.ledger import TrainingRow
from lossforge.validation.paired import power_of

SPACE = SearchSpace(name="one", task=[TaskSection(data="digits")], reference=ReferenceSection(seeds=4))


class _Oracle:
    """Every training gives what a table says of its loss, at its best at three times cross-entropy's rate."""

    def __init__(self, gains: dict[str, float]) -> None:
        self.keys = {key: gains.get(name, -0.2) for name, _, key in known_losses(SPACE)}
        self.keys[control_key(SPACE)] = 0.0
        self.asked: list[Training] = []

    def run(self, wanted: Any, stage: str, generation: int = 0) -> list[TrainingRow]:
        chosen = list(wanted)
        self.asked += chosen
        return [self._row(one, stage) for one in chosen]

    def _row(self, one: Training, stage: str) -> TrainingRow:
        rate = 0.0 if one.key == control_key(SPACE) or one.learning_rate == 0.03 else -0.01
        score = 0.7 + self.keys[one.key] + rate + (one.seed % 1000) * 1e-5
        return TrainingRow(
            "f",
            one.seed,
            one.replicate,
            stage,
            0,
            one.key,
            "",
            "digits",
            "validation",
            0.1,
            1,
            "trained",
            score,
            "",
            1.0,
        )


def test_the_best_known_loss_is_found_tuned_and_measured_on_seeds_that_did_not_choose_it() -> None:
    oracle = _Oracle({"generalized_ce": 0.02, "mean_absolute_error": 0.03, "focal": 0.01})
    ground = explore(SPACE, oracle, {"digits": 0.01})  # type: ignore[arg-type]
    assert ground is not None
    assert (ground.known.name, ground.known.rates) == ("mean_absolute_error", {"digits": 0.03})
    assert ground.gain.mean == pytest.approx(3.0)
    assert ground.missing == pytest.approx(27, abs=1)
    chosen = {one.seed for one in oracle.asked[:-12]}
    assert not chosen & {one.seed for one in oracle.asked[-12:]}
    assert not any(line.startswith("nothing known") for line in told(ground, SPACE))
    assert Known.kept(ground.known.to_keep()) == ground.known


def test_where_nothing_known_gains_it_says_so_and_cross_entropy_is_the_best_known() -> None:
    ground = explore(SPACE, _Oracle({}), {"digits": 0.01})  # type: ignore[arg-type]
    assert ground is not None
    assert ground.known.key == control_key(SPACE)
    lines = told(ground, SPACE)
    assert lines[0].startswith("nothing known beats cross-entropy here by more than the noise")
    assert "cannot be seen with this budget (12 fresh seeds" in lines[1]
    assert "what would change that" in lines[2]


def test_every_loss_of_the_library_that_fits_is_tried_once() -> None:
    names = [name for name, _, _ in known_losses(SPACE)]
    assert "cross_entropy" not in names
    assert len(names) > 0.6 * len(LIBRARY)
    none = SPACE.model_copy(update={"reference": ReferenceSection(losses=[])})
    assert known_losses(none) == []
    assert explore(none, _Oracle({}), {}) is None


def test_the_seeds_named_are_the_least_that_make_a_gain_visible() -> None:
    needed = seeds_to_see(0.7, 1.0)
    assert needed is not None
    assert visible_gain(1.0, needed) <= 0.7 < visible_gain(1.0, needed - 1)
    # The noncentral t-distribution has the exact power.
    assert power_of(0.7, needed) == pytest.approx(0.8, abs=0.03)
    assert seeds_to_see(0.001, 1.0) is None


def test_a_run_from_before_references_goes_on_without_them() -> None:
    old = SPACE.model_dump(mode="json", exclude_none=True, exclude={"reference": True, "fitness": {"fresh_seeds"}})
    space = validate_frozen(old, "old")
    assert (space.reference.losses, space.fitness.fresh_seeds, space.task[0].split) == ([], 0, None)


@pytest.mark.parametrize(
    ("budget", "ended"),
    [
        ({}, ""),
        ({"generations": 4}, "budget.generations"),
        ({"trainings": 120}, "budget.trainings"),  # 100 in four generations: the fifth makes 125
        ({"trainings": 125}, ""),
        ({"hours": 0.5}, "budget.hours"),  # 1,600 s, of which four took 300 each: the fifth makes 1,900
        ({"hours": 0.6}, ""),
    ],
)
def test_budgets_end_a_search_before_the_generation_that_would_pass_them(budget: dict[str, float], ended: str) -> None:
    space = SPACE.model_copy(update={"budget": BudgetSection(**{"generations": 40, **budget})})  # type: ignore[arg-type]
    ledger: Any = SimpleNamespace(training_count=lambda stage, generation: 100)
    state = {"generation": 3, **Clock().to_keep(1600.0, 1200.0, 4)}
    assert used_up(space, state, ledger) == ended
    assert used_up(space, None, ledger) == ""


def test_a_clock_goes_on_where_a_checkpoint_left_it() -> None:
    first = {"generation": 3, **Clock().to_keep(1600.0, 1200.0, 4)}
    second = {"generation": 5, **Clock.kept(first).to_keep(700.0, 600.0, 6)}
    assert (second["seconds"], second["each"]) == (2300.0, 300.0)
