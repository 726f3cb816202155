"""Searches whose losses look across classes, follow the training's progress, or have operations of the user's own."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import lossforge
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.search.hall_of_fame import read_hall_of_fame

TABLE = "hall_of_fame.csv"
NCE = "true_c(log(y_pred)) / sum_c(log(y_pred))"

SPACE = """
name = "over_classes"
seed = 3
[expression]
primitives = ["mul", "div", "neg", "log", "sum_c", "stop"]
max_size = 15
max_height = 6
[task]
data = "digits"
train = 400
validation = 400
test = 400
width = 8
[recipe]
epochs = 3
learning_rate = 0.01
[fitness]
seeds = 1
finalists = 0
[evolution]
population = 60
[budget]
generations = 3
[validation]
after_search = false
"""

OWN = """
name = "own"
seed = 2
[expression]
primitives = ["add", "sub", "mul", "neg", "log"]
leaves = ["y_pred", "y_true", "progress", "class_share"]
define = { huber = "min(abs(x), y) * (abs(x) - 0.5 * min(abs(x), y))", swish = "x * sigmoid(x)" }
seeds = [
  "-y_true * log(y_pred)", "huber(y_true - y_pred, 0.5)", "(1 - progress) * -y_true * log(y_pred) - y_true * y_pred",
]
[task]
data = "digits"
train = 200
validation = 100
test = 100
width = 4
label_noise = 0.2
[recipe]
epochs = 2
learning_rate = 0.02
[fitness]
seeds = 1
finalists = 2
finalist_seeds = 2
[evolution]
population = 12
[budget]
generations = 3
[validation]
top = 2
seeds = 2
tuning_seeds = 1
learning_rates = [0.01]
rivals = ["cross_entropy"]
best_known = 0
second_optimizer = "none"
"""


def search(space: Path, run: Path, workers: int = 1, **more: object) -> Path:
    return lossforge.search(space, run=run, workers=workers, **more).path  # type: ignore[arg-type]


def killed(space: Path, run: Path) -> None:
    """Start a search in a process of its own and kill it once some of its trainings are in the ledger."""
    command = [sys.executable, "-m", "lossforge", "search", str(space), "--run", str(run), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "ledger.sqlite").is_file() and len(trained(run)) >= 25:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def trained(run: Path) -> list[str]:
    try:
        with sqlite3.connect(f"file:{run / 'ledger.sqlite'}?mode=ro", uri=True) as db:
            return [key for (key,) in db.execute("SELECT key FROM trainings WHERE stage = 'search'")]
    except sqlite3.OperationalError:
        return []


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("spaces")
    found = {}
    for name, text in (("over_classes", SPACE), ("own", OWN)):
        found[name] = folder / f"{name}.toml"
        found[name].write_text(text, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def runs(spaces: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: search(space, folder / name) for name, space in spaces.items()}


def test_normalised_cross_entropy_is_found_from_cross_entropy(runs: dict[str, Path]) -> None:
    with sqlite3.connect(runs["over_classes"] / "ledger.sqlite") as db:
        found = {key for (key,) in db.execute("SELECT signature FROM candidates WHERE signature IS NOT NULL")}
    assert signature(parse_formula(NCE)) in found


@pytest.mark.parametrize("name", ["over_classes", "own"])
def test_a_kill_and_a_resume_change_no_byte(
    runs: dict[str, Path], spaces: dict[str, Path], tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    killed(spaces[name], run)
    lossforge.resume(run, workers=2)
    assert (run / TABLE).read_bytes() == (runs[name] / TABLE).read_bytes()


def test_operations_of_the_user_keep_their_names_all_the_way(runs: dict[str, Path], tmp_path: Path) -> None:
    run = lossforge.Run(runs["own"])
    named = [entry for entry in read_hall_of_fame(runs["own"] / TABLE) if "huber(" in entry.formula]
    assert named
    assert all("where huber(x, y) = " in entry.formula for entry in named)
    assert run.validation()
    file = run.export(tmp_path / "losses.py")
    scope: dict[str, object] = {"__name__": "exported"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), scope)
    logits, target = torch.randn(20, 10), torch.arange(20) % 10
    share = torch.full((10,), 0.1)
    for name, entry in zip(scope["__all__"], run.top(len(scope["__all__"])), strict=True):  # type: ignore[call-overload, arg-type]
        mine = scope[name](class_share=share)  # type: ignore[operator]
        theirs = lossforge.loss(entry.formula, match=10, class_share=share)
        mine.progress = theirs.progress = 0.25
        torch.testing.assert_close(mine(logits, target), theirs(logits, target))


def test_a_loss_that_follows_the_progress_and_the_shares_trains(runs: dict[str, Path]) -> None:
    with sqlite3.connect(runs["own"] / "ledger.sqlite") as db:
        rows = db.execute(
            "SELECT formula, accuracy FROM trainings WHERE stage = 'search' AND formula LIKE '%progress%'"
        ).fetchall()
    assert rows
    assert any(accuracy and accuracy > 0.2 for _, accuracy in rows)
