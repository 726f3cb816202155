"""The examples run as they stand; those of heavy packages where the package is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT

FOLDER = ROOT / "examples"
SMALLER = ("budget.generations=1", "evolution.population=4", "validation.top=1", "validation.second_optimizer=none")
SEARCHES = {"own_network.py": SMALLER, "own_data.py": SMALLER, "own_training.py": ("validation.after_search=false",)}
LIGHT = ("in_pytorch.py",)
HEAVY = {
    "in_keras.py": "keras",
    "in_lightning.py": "lightning",
    "in_hugging_face_trainer.py": "transformers",
    "in_timm.py": "timm",
}


def run(script: str, work: Path, *keys: str) -> str:
    """What a script prints, run where its run folders lie in ``work``."""
    for file in FOLDER.iterdir():
        (work / file.name).symlink_to(file)
    done = subprocess.run(
        [sys.executable, script, *keys],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_listed_and_tried() -> None:
    scripts = {file.name for file in FOLDER.glob("*.py")}
    assert scripts == {*SEARCHES, *LIGHT, *HEAVY}
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{script}`" in listed for script in scripts)


@pytest.mark.slow
@pytest.mark.parametrize("script", SEARCHES)
def test_a_search_of_ones_own_runs_from_its_folder(script: str, tmp_path: Path) -> None:
    told = run(script, tmp_path, *SEARCHES[script], "execution.workers=1")
    assert "y_pred" in told or "Discovered1" in told
    assert len([*(tmp_path / "runs").iterdir()]) == 1


def test_a_runs_best_loss_takes_one_line_in_a_plain_loop(finished_run: Path, tmp_path: Path) -> None:
    told = run("in_pytorch.py", tmp_path, str(finished_run))
    assert "ExpressionLoss" in told
    assert float(told.rsplit(" ", 1)[1].strip("%\n")) > 50


@pytest.mark.slow
@pytest.mark.parametrize("script", HEAVY)
def test_an_example_of_another_framework_runs_where_that_is_installed(script: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(HEAVY[script]) is None:
        pytest.skip(f"{HEAVY[script]} is not installed")
    assert "%" in run(script, tmp_path)
