"""Cross-entropy is asked whether anything can be compared with it, before the first candidate."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
import pytest
from tests.conftest import SMOKE, TINY

import lossforge
from lossforge.errors import LossforgeError
from lossforge.evaluation.records import Outcome
from lossforge.models.imported import source_digest
from lossforge.search.control import check_control, judged_training
from lossforge.search.progress import LineProgress
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import SearchSpace
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder

CLASSES = 10


def row(score: float, replicate: int = 0, predicted: int | None = None, **metrics: object) -> TrainingRow:
    """A training of the control on digits; it predicts all classes, or one."""
    table = numpy.eye(CLASSES, dtype=int) * 10 + 1
    if predicted is not None:
        table = numpy.zeros((CLASSES, CLASSES), int)
        table[:, predicted] = 20
    told = json.dumps({"confusion_matrix": table.tolist(), **metrics})
    return TrainingRow(
        "f", replicate, replicate, "control", 0, "ce", "", "digits", "validation", 0.01, 1, Outcome.TRAINED, score, "",
        1.0, told,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", space())


def space(*overrides: str) -> SearchSpace:
    return load_space(SMOKE, list(overrides))


def check(folder: RunFolder, rows: list[TrainingRow], *overrides: str) -> list[str]:
    lines: list[str] = []
    check_control(space(*overrides), rows, folder, LineProgress(lines.append))
    assert all(line in folder.log_file.read_text(encoding="utf-8") for line in lines)
    return lines


def test_a_control_that_learns_is_worth_no_word(folder: RunFolder) -> None:
    assert check(folder, [row(score, seed) for seed, score in enumerate((0.4, 0.5, 0.45, 0.6))]) == []
    assert check(folder, [row(0.4)]) == []


def test_a_control_at_chance_is_refused_with_what_to_change(folder: RunFolder) -> None:
    for scores in ((0.1, 0.12, 0.09, 0.11), (0.12,), (0.05, 0.35, 0.06, 0.05)):
        with pytest.raises(LossforgeError) as caught:
            check(folder, [row(score, seed) for seed, score in enumerate(scores)])
        told = str(caught.value)
        assert told.startswith("cross-entropy learns nothing on task 'digits': its accuracy is ")
        assert "guessing gives 10." in told
        assert "change recipe.learning_rate, recipe.epochs, task.model or the data" in told
        assert "predicts" not in told


def test_a_control_that_predicts_one_class_is_refused_with_its_name(folder: RunFolder) -> None:
    with pytest.raises(LossforgeError, match="and it predicts '7' for every sample"):
        check(folder, [row(0.105, seed, predicted=7) for seed in range(4)])


def test_one_that_does_so_on_some_seeds_is_told(folder: RunFolder) -> None:
    rows = [*(row(0.6 + seed / 100, seed) for seed in range(6)), row(0.105, 6, predicted=3)]
    (line,) = check(folder, rows)
    assert "predicts one class alone on 1 of 7 seeds ('3')" in line


def test_what_guessing_gives_is_of_the_tasks_metric(folder: RunFolder) -> None:
    rows = [row(score, seed) for seed, score in enumerate((0.45, 0.47, 0.5))]
    assert check(folder, rows, "task.metric=balanced_accuracy") == []
    with pytest.raises(LossforgeError, match=r"its top-5 accuracy is .*, and guessing gives 5\d\.\d%"):
        check(folder, rows, "task.metric=top5_accuracy")


def test_a_search_with_a_control_at_chance_ends_before_its_first_candidate(tmp_path: Path) -> None:
    overrides = [*TINY, "recipe.learning_rate=1e-7"]
    with pytest.raises(LossforgeError, match="cross-entropy learns nothing on task 'digits'"):
        lossforge.search(SMOKE, run=tmp_path / "run", workers=1, overrides=overrides)
    ledger = Ledger(tmp_path / "run" / "ledger.sqlite", read_only=True)
    assert {one.stage for one in ledger.trainings()} == {"control"}
    ledger.close()


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ((0.9, 0.9, 0.9), "returned 0.9 with cross-entropy and 0.9 with its opposite, .* which is the same"),
        ((0.9, 0.91, 0.905), "no less than its two scores with cross-entropy differ: it ignores its criterion"),
        ((0.1, 0.1, 0.95), "returned 0.1 with cross-entropy and 0.95 .* a score of which more is better"),
    ],
)
def test_a_training_that_cannot_be_searched_on_is_refused(scores: tuple[float, float, float], told: str) -> None:
    with pytest.raises(LossforgeError, match=told):
        judged_training("mine:train", *scores)


def test_a_training_that_is_not_deterministic_is_told_with_its_spread() -> None:
    assert judged_training("mine:train", 0.9, 0.9, 0.1) == ""
    assert judged_training("mine:train", 0.9, 0.9, None) == ""
    told = judged_training("mine:train", 0.9, 0.912, 0.1)
    assert "not deterministic: on one seed it returned 0.9 and 0.912 with cross-entropy, 1.20 points apart" in told


SCRIPT = """
import os, torch

x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
y = torch.arange(90) % 3
x = x + 2 * torch.eye(4)[y]

def train(criterion, seed, device):
    network = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        criterion(network(x[:60]), y[:60]).backward()
        optimizer.step()
    return (network(x[60:]).argmax(1) == y[60:]).float().mean().item()

def ignores(criterion, seed, device):
    return train(torch.nn.CrossEntropyLoss(), seed, device)

def wavers(criterion, seed, device):
    return train(criterion, seed, device) - int.from_bytes(os.urandom(2)) / 2**16 / 10
"""
SPACE = """
name = "own"
task = { python = "trained_in_test_control:train", classes = 3 }
fitness = { seeds = 1, finalists = 1, finalist_seeds = 2 }
evolution = { population = 4, elites = 1 }
budget = { generations = 1 }
validation = { after_search = false }
execution = { workers = 1 }
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "trained_in_test_control.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "own.toml").write_text(SPACE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "trained_in_test_control", raising=False)
    source_digest.cache_clear()
    return "trained_in_test_control"


def searched(function: str) -> tuple[list[str], list[TrainingRow]]:
    """Lines of a search on a function, and its trainings."""
    lines: list[str] = []
    overrides = [f"task.python=trained_in_test_control:{function}"]
    try:
        lossforge.search("own.toml", run="run", overrides=overrides, progress=LineProgress(lines.append))
    finally:
        ledger = Ledger(Path("run") / "ledger.sqlite", read_only=True)
        rows = ledger.trainings()
        ledger.close()
    return lines, rows


def test_a_training_of_ones_own_is_tried_out_before_the_search(script: str) -> None:
    lines, rows = searched("train")
    assert not [line for line in lines if line.startswith(script)]
    assert [one.stage for one in rows][:4].count("check") == 2
    assert {one.stage for one in rows} == {"control", "check", "search", "reference", "fresh"}


def test_one_that_ignores_its_criterion_is_refused_after_three_trainings(script: str) -> None:
    with pytest.raises(LossforgeError, match="it ignores its criterion"):
        searched("ignores")
    ledger = Ledger(Path("run") / "ledger.sqlite", read_only=True)
    assert ledger.training_count() == 3
    ledger.close()


def test_one_that_wavers_is_told_of_in_a_first_line(script: str) -> None:
    lines, _ = searched("wavers")
    (line,) = [line for line in lines if line.startswith(script)]
    assert "is not deterministic" in line
    assert lines.index(line) < lines.index("training cross-entropy, the control")
