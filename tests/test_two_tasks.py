"""A search on two tasks, and its re-validation: what is averaged, what is told of each, and what each trains with."""

from __future__ import annotations

from statistics import fmean

import pytest
from tests.conftest import TINY

import lossforge
from lossforge.api import Run
from lossforge.search.hall_of_fame import read_hall_of_fame
from lossforge.spaces.load import load_space
from lossforge.store.ledger import Ledger, TrainingRow

SPACE = """
name = "two"
[[task]]
name = "images"
data = "digits"
label_noise = 0.4
width = 4
[[task]]
name = "vectors"
data = "digits"
model = "mlp"
width = 2
[recipe]
epochs = 3
cohort = 16
learning_rates = [0.01, 0.03]
sweep_seeds = 2
[fitness]
seeds = 2
finalists = 2
finalist_seeds = 3
[evolution]
elites = 2
[validation]
top = 2
seeds = 3
epochs = 1
tuning_seeds = 2
learning_rates = [0.01, 0.03]
rivals = ["cross_entropy", "ngl"]
best_known = 0
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.toml").write_text(SPACE, encoding="utf-8")
    own = ("learning_rate", "after_search", "label_noise", "recipe.epochs")
    changes = [key for key in TINY if not any(word in key for word in own)]
    return lossforge.search(
        folder / "two.toml", run=folder / "run", seed=2, workers=1, overrides=[*changes, "budget.generations=2"]
    )


def rows(run: Run, stage: str) -> list[TrainingRow]:
    ledger = Ledger(run.path / "ledger.sqlite", read_only=True)
    try:
        return ledger.trainings(stage)
    finally:
        ledger.close()


def accuracies(run: Run, key: str, task: str, stage: str = "search") -> dict[int, float]:
    return {
        row.replicate: row.accuracy or 0.0
        for row in rows(run, stage)
        if row.task == task and (row.key == key or stage == "control")
    }


def test_a_gain_is_the_mean_over_tasks_of_gains_paired_by_seed(found: Run) -> None:
    assert found.hall_of_fame
    for entry in found.hall_of_fame[:3]:
        gains = []
        for task in ("images", "vectors"):
            mine, control = accuracies(found, entry.signature, task), accuracies(found, "", task, "control")
            assert mine, f"no training on {task}"
            gains.append(fmean(mine[seed] - control[seed] for seed in mine))
        assert entry.search_gain == pytest.approx(100 * fmean(gains), abs=1e-6)


def test_seeds_differ_from_task_to_task_and_are_the_same_for_all_losses(found: Run) -> None:
    seeds: dict[tuple[str, int], set[int]] = {}
    for row in [*rows(found, "search"), *rows(found, "control")]:
        seeds.setdefault((row.task, row.replicate), set()).add(row.seed)
    assert {len(some) for some in seeds.values()} == {1}
    assert len(set().union(*seeds.values())) == len(seeds)


def test_each_task_has_a_learning_rate_and_a_cohort_of_its_own(found: Run) -> None:
    log = (found.path / "log.txt").read_text(encoding="utf-8")
    assert "learning rate of images: " in log
    assert "learning rate of vectors: " in log
    space = load_space(found.path / "space.toml")
    assert [space.recipe.of(task).lanes for task in space.task] == [16, 16]


def test_the_re_validation_compares_on_each_task(found: Run) -> None:
    best = [entry.formula for entry in read_hall_of_fame(found.path / "hall_of_fame.csv")[:2]]
    tasks, rivals = ("images", "vectors"), ("cross_entropy", "ngl")
    wanted = {(task, rival, loss) for task in tasks for rival in rivals for loss in best}
    assert {(row.task, row.rival, row.formula) for row in found.validation()} == wanted
    assert len(found.validation()) == len(wanted)
    for row in found.validation():
        mine = [
            one.accuracy or 0.0
            for one in rows(found, "validation")
            if (one.task, one.formula, one.part) == (row.task, row.formula, "test")
        ]
        assert row.seeds == len(mine) == 3
        assert row.accuracy == pytest.approx(fmean(mine))
        assert row.gain == pytest.approx(100 * (row.accuracy - row.rival_accuracy))
