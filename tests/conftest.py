"""Fixtures for all tests: one thread, no shared cache, and one small finished run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["LOSSFORGE_CACHE"] = "off"
# Workers that the tests start inherit this; two threads each would fight for two cores.
os.environ["OMP_NUM_THREADS"] = "1"
# pytest-xdist gives its workers a width, and tables would be cut to it.
os.environ.pop("COLUMNS", None)

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ROOT / "search_spaces" / "smoke.toml"
TINY = (
    "task.train=200",
    "task.validation=100",
    "task.label_noise=0.1",
    "recipe.epochs=1",
    "recipe.learning_rate=0.03",
    "evolution.population=6",
    "evolution.surrogate.least_judged=4",
    "evolution.surrogate.least_correlation=-1",
    "evolution.surrogate.proposals=40",
    "evolution.surrogate.trees=50",
    "budget.generations=3",
    "validation.after_search=false",
    "reference.tuned=1",
    "reference.tuning_seeds=1",
    "reference.seeds=2",
)
"""Overrides that make the smoke space a matter of a few seconds."""


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in the repository's root."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny space, seed 1, with a re-validation; copy it before changing it."""
    import lossforge

    path = tmp_path_factory.mktemp("runs") / "finished"
    overrides = [*TINY, "validation.after_search=true", "validation.top=2", "validation.epochs=1"]
    lossforge.search(SMOKE, run=path, seed=1, workers=1, overrides=overrides)
    return path
