"""Sums of named losses through the whole way: a grid, the same after a stop, and sums that evolve."""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
import torch
from tests.conftest import SMOKE
from typer.testing import CliRunner

import lossforge
from lossforge.cli import app
from lossforge.errors import InterruptedSearchError
from lossforge.export.run_export import export_run
from lossforge.report.term_shares import share_cells, shares_as_csv, term_shares
from lossforge.search.hall_of_fame import read_hall_of_fame
from lossforge.search.progress import Progress
from lossforge.store.ledger import Ledger

TABLE = "hall_of_fame.csv"
GRID = (
    "task.train=300",
    "task.validation=60",
    "task.test=60",
    "recipe.epochs=2",
    "recipe.learning_rate=0.03",
    "recipe.stop_at=0.0",
    "fitness.finalists=0",
    "fitness.finalist_seeds=2",
    "evolution.strategy=grid",
    'fusion.losses=["smooth_l1(beta=1)", "brier", "dice", "cross_entropy"]',
    "fusion.orders=[1, 2]",
    "screening.guards=false",
    "validation.after_search=false",
)


def search(run: Path, *overrides: str, progress: Progress | None = None) -> Path:
    return lossforge.search(SMOKE, run=run, seed=1, workers=1, overrides=[*GRID, *overrides], progress=progress).path


class _StopsAfter(Progress):
    """Interrupts this process as Ctrl-C does, once so many trainings are done."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def trained(self, count: int) -> None:
        super().trained(count)
        if self.trainings >= self.count:
            self.count = 10**9
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return search(tmp_path_factory.mktemp("grid") / "run")


def test_a_grid_trains_those_of_one_signature_once(grid: Path) -> None:
    ledger = Ledger(grid / "ledger.sqlite", read_only=True)
    rows, trainings = ledger.candidates(), ledger.trainings("search")
    ledger.close()
    assert [row.origin for row in rows][:5] == [
        "smooth_l1(beta=1)",
        "brier",
        "dice",
        "cross_entropy",
        "smooth_l1(beta=1) + brier",
    ]
    outcomes = Counter(row.outcome for row in rows)
    assert len(rows) == 10
    assert outcomes["duplicate"] == 4, "Huber's loss is a multiple of Brier's, and so are sums with it"
    by_key = Counter(row.key for row in trainings)
    assert set(by_key.values()) == {2}
    assert len(by_key) == 10 - 4 - 1, "cross-entropy is the control"


def test_a_grid_that_was_stopped_goes_on_to_the_same_bytes(grid: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    with pytest.raises(InterruptedSearchError):
        search(stopped, "recipe.cohort=2", progress=_StopsAfter(6))
    assert not (stopped / "checkpoint.json").exists()
    lossforge.resume(stopped, workers=1)
    whole = search(tmp_path / "whole", "recipe.cohort=2")
    assert (stopped / TABLE).read_bytes() == (whole / TABLE).read_bytes()
    with sqlite3.connect(stopped / "ledger.sqlite") as db:
        count, distinct = db.execute("SELECT count(*), count(DISTINCT fingerprint || seed) FROM trainings").fetchone()
    db.close()
    assert count == distinct
    before = (grid / TABLE).read_bytes()
    lossforge.resume(grid, overrides=["budget.generations=9"], workers=1)
    assert (grid / TABLE).read_bytes() == before, "a grid has no further generations"


def test_the_best_sums_are_validated_beside_their_parts_and_exported(tmp_path: Path) -> None:
    changes = ["validation.top=2", "validation.seeds=4", "validation.epochs=1", "validation.tuning_seeds=1"]
    losses = ['fusion.losses=["focal", "dice"]', "fusion.orders=[2]", 'validation.second_optimizer="none"']
    run = search(tmp_path / "run", "validation.after_search=true", *changes, *losses)
    rows = lossforge.Run(run).validation()
    assert {"cross_entropy", "focal", "dice"} <= {row.rival for row in rows}
    assert rows[0].loss == read_hall_of_fame(run / TABLE)[0].formula
    assert "focal + " in rows[0].loss
    path = export_run(run, None, 1)
    spec = importlib.util.spec_from_file_location("exported_sum", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    criterion = module.Discovered1()
    wanted = lossforge.loss(rows[0].loss, match=10)
    logits, target = torch.randn(8, 10), torch.randint(10, (8,))
    torch.testing.assert_close(criterion(logits, target), wanted(logits, target))
    assert criterion.scale == wanted.scale


def test_sums_evolve(tmp_path: Path) -> None:
    changes = ["evolution.strategy=genetic", "evolution.population=6", "budget.generations=2", "fusion.orders=[1]"]
    run = search(tmp_path / "run", *changes)
    entries = read_hall_of_fame(run / TABLE)
    assert {entry.generation for entry in entries} == {1, 2}
    assert any("dice" in entry.formula and "+" in entry.formula for entry in entries)


@pytest.mark.parametrize("dynamic", ["uncertainty", "gradnorm"])
def test_sums_whose_weights_change_go_on_to_the_same_bytes(dynamic: str, tmp_path: Path) -> None:
    changes = [f"fusion.dynamic={dynamic}", 'fusion.losses=["brier", "dice", "cross_entropy"]', "recipe.cohort=3"]
    stopped = tmp_path / "stopped"
    with pytest.raises(InterruptedSearchError):
        search(stopped, *changes, progress=_StopsAfter(6))
    lossforge.resume(stopped, workers=1)
    whole = search(tmp_path / "whole", *changes)
    assert (stopped / TABLE).read_bytes() == (whole / TABLE).read_bytes()
    formulas = [entry.formula for entry in read_hall_of_fame(whole / TABLE)]
    assert sum(formula.startswith(f"{dynamic}(") for formula in formulas) == 3
    assert "cross_entropy" in formulas or len(formulas) == 5


def test_sums_whose_weights_change_are_validated_with_their_shares_and_exported(tmp_path: Path) -> None:
    changes = ["validation.top=1", "validation.seeds=4", "validation.epochs=2", "validation.tuning_seeds=1"]
    losses = ["fusion.dynamic=dwa", 'fusion.losses=["focal", "dice"]', "fusion.orders=[2]"]
    run = search(
        tmp_path / "run", "validation.after_search=true", 'validation.second_optimizer="none"', *changes, *losses
    )
    rows = lossforge.Run(run).validation()
    assert {"cross_entropy", "focal", "dice"} <= {row.rival for row in rows}
    assert rows[0].loss == read_hall_of_fame(run / TABLE)[0].formula
    assert rows[0].loss.startswith("dwa(")
    text = export_run(run, None, 1).read_text()
    assert "criterion.end_epoch()" in text
    (told,) = term_shares(run)
    assert told.terms[0].endswith("focal")
    assert [len(epoch) for epoch in told.shares] == [2, 2]
    assert told.trainings == 4
    assert told.factors[0] == (1.0, 1.0)
    assert told.name.startswith("dwa(")
    assert all(sum(epoch) == pytest.approx(1, abs=1e-3) for epoch in told.shares)
    head, *lines = share_cells(told)
    assert head == ["loss", "epoch 1", "epoch 2", "weight times, at the end"]
    assert [line[0] for line in lines] == list(told.terms)
    assert len(shares_as_csv([told]).splitlines()) == 1 + 2 * 2
    printed = CliRunner().invoke(app, ["tables", str(run), "--shares"])
    assert printed.exit_code == 0
    assert "epoch 2" in printed.output
