"""How many networks at once, and by which back end: settled before a run is written, and kept in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import SMOKE, TINY

import lossforge
from lossforge.evaluation import calibrate
from lossforge.evaluation.calibrate import LARGEST_COHORT, largest_power, settled
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


def test_a_trial_takes_the_back_end_that_is_fastest_here(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def seconds(run: object, device: str) -> float:
        tried.append(name := next(names))
        return {"grouped": 2.0, "vmap": 1.0, "loop": 3.0}[name]

    names = iter(["grouped"] * 3 + ["vmap"] * 3 + ["loop"] * 3)
    monkeypatch.setattr(calibrate, "_timed", seconds)
    assert settled(space(cohort=2, backend="trial"), "cpu").recipe.backend == "vmap"
    assert len(tried) == 9


def test_a_network_without_grouped_form_is_tried_without() -> None:
    found = settled(space(model="mlp", cohort="auto", backend="trial"), "cpu").recipe
    assert (found.cohort, found.backend in ("vmap", "loop")) == (calibrate.CPU_COHORT, True)


def test_a_run_keeps_what_was_found(tmp_path: Path) -> None:
    overrides = [*TINY, "recipe.cohort='auto'", "recipe.backend='trial'", "budget.generations=1"]
    run = lossforge.search(SMOKE, run=tmp_path / "run", workers=1, overrides=overrides)
    kept = load_space(run.path / "space.toml", []).recipe
    assert kept.cohort == calibrate.CPU_COHORT
    assert kept.backend in ("grouped", "vmap", "loop")
