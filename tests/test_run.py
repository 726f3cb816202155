"""A run, opened."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import lossforge
from lossforge.errors import LossforgeError, StoreError
from lossforge.inspection.runs import run_status, run_top


def test_a_run_tells_what_the_command_line_tells(finished_run: Path) -> None:
    run = lossforge.Run(str(finished_run))
    assert run.path == finished_run
    assert run.top(2) == run_top(finished_run, 2)
    assert run.hall_of_fame[:2] == run.top(2)
    assert run.status() == run_status(finished_run)
    assert run.status().finished
    assert run.status().generations_done == run.space.budget.generations == 3
    assert {row.rival for row in run.validation()} == {"cross_entropy", "label_smoothing", "ngl", "generalized_ce"}
    assert str(finished_run) in repr(run)
    assert asdict(run.status())["best_formula"] == run.top(1)[0].formula


def test_a_run_is_exported_where_it_is_asked_for(finished_run: Path, tmp_path: Path) -> None:
    run = lossforge.Run(shutil.copytree(finished_run, tmp_path / "run"))
    assert run.export() == tmp_path / "run" / "export" / "losses.py"
    other = run.export(str(tmp_path / "mine.py"), number=1)
    assert other == tmp_path / "mine.py"
    assert "class Discovered1" in other.read_text(encoding="utf-8")
    assert "class Discovered2" not in other.read_text(encoding="utf-8")


def test_what_is_no_run_is_refused_and_what_is_not_there_yet_is_told(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a run folder"):
        lossforge.Run(tmp_path)
    run = lossforge.Run(shutil.copytree(finished_run, tmp_path / "run"))
    (run.path / "hall_of_fame.csv").unlink()
    shutil.rmtree(run.path / "validation")
    assert run.validation() == []
    for question in (run.top, run.export):
        with pytest.raises(LossforgeError, match="not there yet"):
            question()


@pytest.mark.parametrize("kept", ["rows", "half a row"])
def test_a_table_that_is_cut_off_is_told_and_written_again(finished_run: Path, tmp_path: Path, kept: str) -> None:
    run = lossforge.Run(shutil.copytree(finished_run, tmp_path / "run"))
    file = run.path / "hall_of_fame.csv"
    whole = file.read_text(encoding="utf-8")
    lines = whole.splitlines(keepends=True)
    assert len(lines) > 2
    file.write_text("".join(lines[:-1]) if kept == "rows" else whole[:-4], encoding="utf-8")
    told = rf"hall_of_fame\.csv: is damaged \(.*cut off.*\); type 'lossforge resume {run.path}'"
    for question in (run.top, run.status, run.export, lambda: lossforge.validate(run.path)):
        with pytest.raises(StoreError, match=told):
            question()
    lossforge.resume(run.path)
    assert file.read_text(encoding="utf-8") == whole


def test_an_export_that_cannot_be_written_asks_for_another_file(finished_run: Path, tmp_path: Path) -> None:
    run = lossforge.Run(finished_run)
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "losses.py"):
        with pytest.raises(StoreError, match=r"; name another file with -o$") as caught:
            run.export(place)
        assert "disk" not in str(caught.value)
        assert str(place) in str(caught.value)


def test_an_export_names_its_run_from_within_it(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_run)
    text = lossforge.Run(".").export(tmp_path / "mine.py").read_text(encoding="utf-8")
    assert f"Run {finished_run.name} of space 'smoke'" in text


@pytest.mark.parametrize("number", [-1, "3", 2.0, None, True])
def test_a_number_of_losses_that_is_none_is_refused(finished_run: Path, number: Any) -> None:
    run = lossforge.Run(finished_run)
    for question in (run.top, lambda n: run.export(number=n), lambda n: lossforge.validate(run.path, top=n)):
        if number is None and question not in (run.top,):
            continue
        with pytest.raises(LossforgeError, match=r": must be a whole number, \d or more, not"):
            question(number)
    assert run.top(0) == []
