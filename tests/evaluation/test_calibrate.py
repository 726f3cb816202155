"""How many networks at once, and by which back end: settled before a run is written, and kept in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import SMOKE, TINY

import lossforge
from lossforge.errors import ModelError
from lossforge.evaluation import calibrate
from lossforge.evaluation.calibrate import LARGEST_COHORT, largest_power, settled, with_gainful_cohorts
from lossforge.evaluation.space_trainings import setup_of, trainings
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection


def space(model: str = "small_cnn", **recipe: object) -> SearchSpace:
    task = TaskSection(data="digits", train=100, validation=50, model=model, width=2)
    return SearchSpace(name="t", task=[task], recipe=RecipeSection(**recipe))  # type: ignore[arg-type]


def test_what_a_space_says_is_left_as_it_is() -> None:
    given = space(cohort=3, backend="loop")
    assert settled(given, "cpu") is given


def test_memory_decides_how_many_networks_a_gpu_trains() -> None:
    assert largest_power(memory=100.0, one=12.0, two=20.0) == 8
    assert largest_power(memory=67.9, one=12.0, two=20.0) == 4
    assert largest_power(memory=68.0, one=12.0, two=20.0) == 8
    assert largest_power(memory=5.0, one=12.0, two=20.0) == 1
    assert largest_power(memory=1e12, one=12.0, two=20.0) == LARGEST_COHORT
    # A second network that seems to take nothing is not believed.
    assert largest_power(memory=100.0, one=20.0, two=20.0) == 8


def timed_by_name(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> list[str]:
    """Let trials take these times, whatever the machine does; returns the back ends as they are tried."""
    tried: list[str] = []

    def steps(task: TaskSection, recipe: RecipeSection, lanes: int, device: str) -> Callable[[], None]:
        return lambda: tried.append(recipe.backend)

    def timed(run: Callable[[], None], device: str) -> float:
        run()
        return seconds[tried[-1]]

    monkeypatch.setattr(calibrate, "_steps", steps)
    monkeypatch.setattr(calibrate, "_timed", timed)
    return tried


def test_a_trial_takes_the_back_end_that_is_fastest_here(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = timed_by_name(monkeypatch, layers=2.0, vmap=1.0, loop=3.0)
    assert settled(space(cohort=2, backend="trial"), "cpu").recipe.backend == "vmap"
    assert tried == ["layers"] * 4 + ["vmap"] * 4 + ["loop"] * 4


def test_what_cannot_run_a_network_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = timed_by_name(monkeypatch, vmap=2.0, loop=1.0)
    trial = calibrate._steps

    def steps(task: TaskSection, recipe: RecipeSection, lanes: int, device: str) -> Callable[[], None]:
        if recipe.backend == "layers":
            raise ModelError("no kernel for a layer")
        return trial(task, recipe, lanes, device)

    monkeypatch.setattr(calibrate, "_steps", steps)
    found = settled(space(model="mlp", cohort="auto", backend="trial"), "cpu").recipe
    assert (found.cohort, found.backend) == (calibrate.CPU_COHORT, "loop")
    assert set(tried) == {"vmap", "loop"}


def test_a_trial_times_real_steps() -> None:
    assert settled(space(model="mlp", cohort=2, backend="trial"), "cpu").recipe.backend != "trial"


def test_a_run_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed_by_name(monkeypatch, layers=3.0, vmap=2.0, loop=1.0)
    overrides = [*TINY, "recipe.cohort='auto'", "recipe.backend='trial'", "budget.generations=1"]
    run = lossforge.search(SMOKE, run=tmp_path / "run", workers=1, overrides=overrides)
    kept = load_space(run.path / "space.toml", []).recipe
    assert kept.backend == "loop"
    # Of a light network the loop gains something from eight at once, and little from more.
    assert kept.cohort == 8
    told = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "digits: 8 networks at once, not 16: on a CPU 'small_cnn' gains little from more" in told


def lanes(*models: str, device: str = "cpu", width: int = 8, size: int | None = None, **recipe: object) -> list[int]:
    """Networks at once of a task for each model, for which sixteen were asked."""
    tasks = [
        TaskSection(name=model, data="digits", train=100, validation=50, model=model, width=width, resize=size)
        for model in models
    ]
    asked = SearchSpace(name="t", task=tasks, recipe=RecipeSection(cohort=16, **recipe))  # type: ignore[arg-type]
    cut = with_gainful_cohorts(asked, device)
    assert with_gainful_cohorts(cut, device) == cut
    assert {task.title for task in tasks if cut.recipe.of(task).lanes > 16} == set()
    return [setup_of(cut, task).places for task in cut.task]


def test_on_a_cpu_a_cohort_is_as_large_as_its_back_end_gains_from() -> None:
    assert lanes("small_cnn") == [16]
    assert lanes("mlp") == lanes("resnet8") == lanes("resnet20") == [16]
    assert lanes("mlp", backend="vmap") == lanes("resnet8", backend="vmap") == [8]
    assert lanes("inception_small") == lanes("inception_small", backend="loop") == [2]  # heavy: one after the other
    assert lanes("mlp", width=16, size=28) == [2]
    assert lanes("mlp", backend="loop") == [8]


def test_heats_of_a_loop_are_part_of_what_one_worker_gets() -> None:
    assert lanes("inception_small", heats=2, backend="loop") == [2]
    assert lanes("mlp", heats=2, backend="vmap") == [16]


def test_tasks_have_cohorts_of_their_own_where_they_differ() -> None:
    assert lanes("small_cnn", "mlp", "inception_small") == [16, 16, 2]
    asked = space(model="mlp", cohort=16, backend="vmap")
    (task,) = with_gainful_cohorts(asked, "cpu").task
    assert task.cohort is None  # the recipe says it


def test_a_small_cohort_is_left_as_it_is_and_so_is_one_on_a_gpu() -> None:
    assert lanes("mlp", device="cuda") == [16]
    for given in (space(cohort=3), space(model="mlp", cohort=8, backend="vmap")):
        assert with_gainful_cohorts(given, "cpu") == given


def test_a_run_that_has_trained_keeps_its_cohorts(tmp_path: Path) -> None:
    overrides = [*TINY, "task.model=mlp", "recipe.cohort=16", "recipe.backend=vmap", "budget.generations=1"]
    path = lossforge.search(SMOKE, run=tmp_path / "run", workers=1, overrides=overrides).path
    assert load_space(path / "space.toml", []).recipe.cohort == 8
    # As a run of an earlier version has it.
    for file, old, new in (
        ("space.toml", "cohort = 8", "cohort = 16"),
        ("manifest.json", '"cohort": 8', '"cohort": 16'),
    ):
        text = (path / file).read_text(encoding="utf-8")
        assert old in text
        (path / file).write_text(text.replace(old, new), encoding="utf-8")
    lossforge.resume(path, workers=1, overrides=["budget.generations=2"])
    assert load_space(path / "space.toml", []).recipe.cohort == 16


def test_a_task_s_own_cohort_decides_its_key_as_the_recipe_s_does() -> None:
    one = space(model="mlp", cohort=8)
    (task,) = one.task
    other = space(model="mlp", cohort=16)
    other = other.model_copy(update={"task": [task.model_copy(update={"cohort": 8})]})
    first, second = (
        trainings(some, some.task[0], LossSpec(CROSS_ENTROPY), "ce", 0.1, [0], stage="search")[0]
        for some in (one, other)
    )
    assert first.fingerprint() == second.fingerprint()
