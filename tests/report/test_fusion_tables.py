"""The tables of a run of sums: figures from confusion matrices, marks, and every format."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from sklearn import metrics as sklearn_metrics
from typer.testing import CliRunner

from lossforge.cli import app
from lossforge.errors import LossforgeError
from lossforge.report.fusion_tables import COLUMNS, Table, as_csv, as_latex, cells, figures_of, fusion_tables
from lossforge.spaces.load import read_space
from lossforge.store.ledger import CandidateRow, Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder

KEYS = {"focal": "aa", "dice": "bb", "focal + dice": "cc", "focal + 2 * dice": "cc"}
SCORES = {"aa": (0.6, 0.62, 0.61, 0.6), "bb": (0.6, 0.64, 0.62, 0.58), "cc": (0.8, 0.82, 0.81, 0.8)}


def training(key: str, replicate: int, score: float | None) -> TrainingRow:
    hits = round(50 * (score or 0))
    metrics = {"confusion_matrix": [[hits, 50 - hits], [10, 40]], "curve": [1.0, 0.5]}
    return TrainingRow(
        fingerprint=key,
        seed=replicate,
        replicate=replicate,
        stage="search",
        generation=0,
        key=key,
        formula="",
        task="digits",
        part="validation",
        learning_rate=0.01,
        epochs=1,
        outcome="trained" if score is not None else "diverged",
        accuracy=score,
        reason="",
        seconds=1.0,
        metrics=json.dumps(metrics if score is not None else {}),
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    tables = {
        "name": "x",
        "task": {"data": "digits"},
        "fusion": {"losses": ["focal", "dice"], "orders": [1, 2]},
        "evolution": {"strategy": "grid"},
    }
    folder = RunFolder.create(tmp_path / "run", read_space(tables, "x"))
    ledger = Ledger(folder.ledger_file)
    names = ["focal", "dice", "focal + dice", "focal + dice 1:2"]
    ledger.add_candidates(
        [
            CandidateRow(0, place, name, formula, 3, key, "trained", None, "")
            for place, (name, (formula, key)) in enumerate(zip(names, KEYS.items(), strict=True))
        ]
    )
    ledger.add_trainings([training(key, n, score) for key, own in SCORES.items() for n, score in enumerate(own)])
    ledger.close()
    return folder.path


@pytest.mark.parametrize("classes", [2, 4])
def test_figures_are_those_of_scikit_learn(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    true, found = (torch.randint(classes, (200,), generator=generator).numpy() for _ in range(2))
    figures = figures_of(sklearn_metrics.confusion_matrix(true, found).tolist())
    average = "binary" if classes == 2 else "macro"
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(true, found),
        "precision": sklearn_metrics.precision_score(true, found, average=average),
        "recall": sklearn_metrics.recall_score(true, found, average=average),
        "f1": sklearn_metrics.f1_score(true, found, average=average),
        "iou": sklearn_metrics.jaccard_score(true, found, average="macro"),
    }
    assert figures == pytest.approx(expected)


@pytest.mark.parametrize(
    "table", [[[5, 0], [5, 0]], [[10, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 3, 0], [0, 0, 0], [0, 0, 0]]]
)
def test_absent_and_never_predicted_classes_have_figures(table: list[list[int]]) -> None:
    assert all(0 <= figures_of(table)[name] <= 1 for name in COLUMNS)


def test_there_is_a_table_for_each_number_of_losses(run: Path) -> None:
    one, two = fusion_tables(run)
    assert (one.order, two.order) == (1, 2)
    assert [(row.number, row.name, row.seeds) for row in one.rows] == [(1, "focal", 4), (2, "dice", 4)]
    assert [row.near_best for row in one.rows] == [True, False], "dice leads, and nothing separates focal from it"
    first, second = two.rows
    assert (first.same_as, second.same_as, second.score) == ("", "focal + dice", first.score)
    assert first.loss == 0.5
    assert first.confusion[1] == (40, 160)
    assert first.half == pytest.approx(0.0152, abs=1e-3)


def test_the_best_is_bold_in_every_format(run: Path) -> None:
    tables = fusion_tables(run)
    head, focal, dice = cells(tables[0], ("*", "*"))
    assert head[:3] == ["", "loss", "accuracy"]
    assert dice[2].startswith("*0.6100* ±")
    assert focal[2].endswith(" ~")
    latex = as_latex(tables)
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 2
    assert r"\textbf{0.6100}" in latex
    rows = list(csv.DictReader(io.StringIO(as_csv(tables))))
    assert [row["loss"] for row in rows] == ["focal", "dice", "focal + dice", "focal + dice 1:2"]
    assert json.loads(rows[0]["confusion_matrix"])[1] == [40, 160]


def test_the_command_prints_them(run: Path, tmp_path: Path) -> None:
    asked = CliRunner().invoke(app, ["tables", str(run)])
    assert asked.exit_code == 0
    assert "2-gram on digits, validation data" in asked.output
    assert CliRunner().invoke(app, ["tables", str(run), "--csv"]).output.startswith("task,part,order")
    assert r"\toprule" in CliRunner().invoke(app, ["tables", str(run), "--latex"]).output
    assert len(json.loads(CliRunner().invoke(app, ["tables", str(run), "--json"]).output)) == 2
    assert CliRunner().invoke(app, ["tables", str(run), "--json", "--csv"]).exit_code == 2
    plain = RunFolder.create(tmp_path / "plain", read_space({"name": "x", "task": {"data": "digits"}}, "x"))
    Ledger(plain.ledger_file).close()
    with pytest.raises(LossforgeError, match="its candidates are formulas"):
        fusion_tables(plain.path)


def test_a_training_that_failed_counts_as_nothing(run: Path) -> None:
    ledger = Ledger(run / "ledger.sqlite")
    ledger.add_trainings([training("bb", 4, None)])
    ledger.close()
    table: Table = fusion_tables(run)[0]
    assert table.rows[1].failed == 1
    assert table.rows[1].score == pytest.approx(0.488)
    assert "(1 failed)" in list(cells(table))[2][2]
