"""The page of a run: whole from every run there may be, and true to what it says."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lossforge.cli import app
from lossforge.errors import LossforgeError
from lossforge.report import report_file
from lossforge.report.report_file import ReportKeeper, write_report
from lossforge.search.control import control_key
from lossforge.spaces.load import read_space
from lossforge.store.ledger import CandidateRow, Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder

FORMULAS = ("-y_true * log(y_pred)", "sin(max(y_pred, y_true))", "square(y_true - y_pred)", "exp(-y_pred) * y_true")


def training(key: str, replicate: int, score: float | None, stage: str = "search", generation: int = 0) -> TrainingRow:
    return TrainingRow(
        fingerprint=f"{key} {stage}",
        seed=replicate,
        replicate=replicate,
        stage=stage,
        generation=generation,
        key=key,
        formula=FORMULAS[int(key, 16) % 4] if stage == "search" else FORMULAS[0],
        task="digits",
        part="validation",
        learning_rate=0.01,
        epochs=1,
        outcome="diverged" if score is None else "trained",
        accuracy=score,
        reason="",
        seconds=1.0,
        metrics=json.dumps({"curve": [2.0, 1.0]}),
    )


def made(path: Path, scores: dict[str, float | None]) -> Path:
    """A run in which the losses of these keys reached these accuracies, each on two seeds; cross-entropy 0.5."""
    space = read_space({"name": "x", "description": "1 < 2 & more", "task": {"data": "digits"}}, "x")
    folder = RunFolder.create(path, space)
    with_ledger(folder, scores)
    return path


def with_ledger(folder: RunFolder, scores: dict[str, float | None]) -> None:
    ledger = Ledger(folder.ledger_file)
    base = control_key(folder.space())
    ledger.add_trainings([training(base, seed, 0.5, "control") for seed in range(2)])
    ledger.add_trainings(
        [
            training(key, seed, None if score is None else score + 0.01 * seed)
            for key, score in scores.items()
            for seed in (0, 1)
        ]
    )
    ledger.add_candidates(
        CandidateRow(
            0, place, "random", FORMULAS[int(key, 16) % 4], 4, key, "diverged" if score is None else "trained", None, ""
        )
        for place, (key, score) in enumerate(scores.items())
    )
    ledger.close()


def read(path: Path) -> tuple[str, ElementTree.Element]:
    """The page's text, and its tree: it is well-formed, asks for nothing, and says so of every picture."""
    text = path.read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    for element in tree.iter():
        assert element.tag not in ("img", "link", "iframe", "object") or element.get("href") == "data:,"
        assert not element.get("src")
        assert (element.get("href") or "#").startswith(("#", "data:,"))
        if element.tag == "svg":
            assert element.get("role") == "img"
            assert element.get("aria-label")
    assert not re.search(r"https?://|url\(|@import|nan|NaN|Infinity", text)
    return " ".join("".join(tree.itertext()).split()), tree


def test_a_run_without_any_training_has_a_page(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", read_space({"name": "x", "task": {"data": "digits"}}, "x"))
    text, _ = read(write_report(folder.path))
    assert "Nothing has been generated yet" in text
    assert "lossforge search space.toml --seed 0" in text


def test_one_loss_and_only_failures_have_pages(tmp_path: Path) -> None:
    text, tree = read(write_report(made(tmp_path / "one", {"01": 0.6})))
    assert "1 < 2 & more" in text
    assert len(list(tree.iter("svg"))) >= 2
    text, _ = read(write_report(made(tmp_path / "none", {"01": None, "02": None})))
    assert "all 2 that were trained failed (4 diverged)" in text


def test_the_page_of_a_finished_run_says_what_its_verdict_is(finished_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished_run, moved)
    answer = CliRunner().invoke(app, ["report", str(moved), "--output", str(tmp_path / "page.html")])
    assert answer.exit_code == 0, answer.output
    text, tree = read(tmp_path / "page.html")
    verdicts = [line for line in (moved / "log.txt").read_text().splitlines() if "validation: rank" in line]
    assert all(line.split("validation: ")[1] in text for line in verdicts)
    leader = (moved / "hall_of_fame.csv").read_text().splitlines()[1]
    assert leader.split(",")[0] == "1"
    assert len(list(tree.iter("math"))) >= 1
    # It was written at the end of the search too.
    assert (finished_run / "report.html").is_file()


def test_a_folder_that_cannot_be_written_is_told_of_and_read(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(LossforgeError, match="--output"):
        write_report(finished_run, tmp_path / "missing" / "page.html")
    before = sorted(path.name for path in finished_run.iterdir())
    write_report(finished_run, tmp_path)
    assert sorted(path.name for path in finished_run.iterdir()) == before
    assert (tmp_path / "report.html").is_file()


def test_a_search_outlives_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def fails(folder: Path) -> Path:
        raise ValueError("no page")

    monkeypatch.setattr(report_file, "write_report", fails)
    keeper = ReportKeeper(tmp_path, told.append)
    keeper.write()
    keeper.write()
    assert told == ["report: could not be written (ValueError: no page)"]


def test_a_page_grows_little_with_the_number_of_candidates(tmp_path: Path) -> None:
    few = made(tmp_path / "few", {f"{place:06x}": 0.4 + place / 10000 for place in range(1500)})
    many = made(tmp_path / "many", {f"{place:06x}": 0.4 + place / 100000 for place in range(6000)})
    sizes = [write_report(folder).stat().st_size for folder in (few, many)]
    assert sizes[1] < 1.2 * sizes[0]
    assert sizes[1] < 1_000_000


def test_pictures_events_and_runs_beside_each_other(finished_run: Path, tmp_path: Path) -> None:
    import lossforge
    from lossforge.report.run_comparison import compare_runs
    from lossforge.report.tensorboard import write_tensorboard
    from lossforge.report.watch import watch

    shown: list[str] = []
    seen = watch(finished_run, shown.append)
    assert seen.finished
    assert shown[-1] == seen.told()
    html = lossforge.Run(finished_run)._repr_html_()
    ElementTree.fromstring(html)
    assert "<script" not in html
    other = tmp_path / "copy"
    shutil.copytree(finished_run, other)
    rows = compare_runs([finished_run, other])
    assert {row[""]: row for row in rows}["other keys than the first"][str(other)] == "none"
    assert any(path.name.startswith("events") for path in write_tensorboard(other).iterdir())
