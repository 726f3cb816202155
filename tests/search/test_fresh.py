"""The reported gain comes of replicates that had no part in choosing the loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lossforge.losses.compiled import LossSpec
from lossforge.search.control import control_key
from lossforge.search.fresh import FreshTrainings, announces, verdict
from lossforge.search.reference import CONTROL, Known
from lossforge.search.scores import Judged, Scores
from lossforge.spaces.schema import FitnessSection, SearchSpace, TaskSection
from lossforge.store.ledger import TrainingRow

SPACE = SearchSpace(
    name="two",
    task=[TaskSection(data="digits", name="a"), TaskSection(data="digits", name="b")],
    fitness=FitnessSection(seeds=1, finalists=1, finalist_seeds=2, measured=1, fresh_seeds=3),
)
RATES = {"a": 0.01, "b": 0.02}
KNOWN = Known("mae", LossSpec("abs(y_true - y_pred)"), "mae", {"a": 0.1, "b": 0.2})


def _scores() -> Scores:
    found = Scores()
    found.control = {task: dict.fromkeys(range(2), 0.5) for task in RATES}
    for key, gain in (("best", 0.3), ("next", 0.2)):
        judged = Judged(key, "-y_true * y_pred", 4, 0, "random")
        judged.accuracies = {task: dict.fromkeys(range(2), 0.5 + gain) for task in RATES}
        found.enter([judged])
    return found


def _row(key: str, task: str, replicate: int, score: float | None) -> TrainingRow:
    return TrainingRow(
        f"{key}{task}",
        replicate,
        replicate,
        "fresh",
        0,
        key,
        "",
        task,
        "validation",
        0.01,
        1,
        "trained",
        score,
        "",
        1.0,
    )


def test_the_leaders_cross_entropy_and_the_best_known_loss_share_seeds_that_no_search_has() -> None:
    wanted = FreshTrainings(SPACE, RATES, _scores(), KNOWN).wanted
    assert [one.key for one in wanted[::6]] == [control_key(SPACE), "mae", "best"]
    by_key = {key: [(one.setup.task.title, one.seed) for one in wanted if one.key == key] for key in ("mae", "best")}
    assert by_key["mae"] == by_key["best"]
    from lossforge.evaluation.space_trainings import replicate_seed

    searched = {replicate_seed(SPACE.seed, "search", task, number) for task in SPACE.task for number in range(50)}
    assert not searched & {one.seed for one in wanted}
    assert {one.learning_rate for one in wanted if one.key == "mae"} == {0.1, 0.2}


def test_gains_are_paired_by_seed_and_averaged_over_tasks() -> None:
    fresh = FreshTrainings(SPACE, RATES, _scores(), KNOWN)
    table = {control_key(SPACE): [0.5, 0.6, 0.7], "mae": [0.55, 0.6, 0.7], "best": [0.6, 0.7, None]}
    rows = [_row(one.key, one.setup.task.title, one.replicate, table[one.key][one.replicate]) for one in fresh.wanted]
    (found,) = fresh.measured(rows).values()
    assert found.gain.mean == pytest.approx(100 * (0.1 + 0.1 - 0.7) / 3)
    assert found.over_known is not None
    assert found.over_known.mean == pytest.approx(100 * (0.05 + 0.1 - 0.7) / 3)
    assert found.control == pytest.approx(0.6)


def test_a_seed_on_which_cross_entropy_failed_is_no_gain() -> None:
    fresh = FreshTrainings(SPACE, RATES, _scores(), KNOWN)
    table = {control_key(SPACE): [0.5, 0.6, None], "mae": [0.5, None, None], "best": [0.6, 0.7, 0.9]}
    rows = [_row(one.key, one.setup.task.title, one.replicate, table[one.key][one.replicate]) for one in fresh.wanted]
    (found,) = fresh.measured(rows).values()
    assert (found.gain.mean, found.gain.count, found.over_known) == (pytest.approx(10), 2, None)
    assert (found.accuracy, found.control) == (pytest.approx(0.65), pytest.approx(0.55))
    none = [replace(row, accuracy=None) if row.key == control_key(SPACE) else row for row in rows]
    assert fresh.measured(none) == {}


def test_the_verdict_follows_the_intervals() -> None:
    fresh = FreshTrainings(SPACE, RATES, _scores(), KNOWN)

    def told(best: list[float], known: list[float], name: str = "mae") -> str:
        table = {control_key(SPACE): [0.5, 0.6, 0.7], "mae": known, "best": best}
        rows = [_row(o.key, o.setup.task.title, o.replicate, table[o.key][o.replicate]) for o in fresh.wanted]
        (found,) = fresh.measured(rows).values()
        assert announces(found) == (not verdict("f", found, KNOWN, 3).startswith("nothing"))
        return verdict("f", found, replace(KNOWN, name=name), 3)

    control = [0.5, 0.6, 0.7]
    above, far = [0.52, 0.621, 0.72], [0.6, 0.701, 0.8]
    assert told([0.4, 0.7, 0.7], control).startswith("nothing found")
    assert told(far, above).startswith("found f: +10.0")
    assert "better than every known loss" in told(far, above)
    assert "not separable from mae" in told(above, above)
    assert "worse than mae" in told(above, far)
    assert "better than every known loss" in told(above, control, CONTROL)
