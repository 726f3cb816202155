"""The commands with which one begins and takes away: schema, dry runs, formats; and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import SMOKE, TINY
from typer.testing import CliRunner

from lossforge.cli import app


@pytest.mark.parametrize("words", [["schema"], ["schema", "--plan"]])
def test_the_schema_is_json_or_a_file(words: list[str], tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, words)
    assert "properties" in json.loads(printed.stdout)
    assert CliRunner().invoke(app, [*words, "-o", str(tmp_path / "x.json")]).exit_code == 0
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == printed.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["export", "RUN", "--format", "fortran"],
        ["export", "RUN", "--format", "numpy", "--bib"],
        ["export", "RUN", "--package", "x", "--bib"],
        ["list", "models", "--from", "RUN"],
    ],
)
def test_what_does_not_go_together_is_a_fault_of_usage(words: list[str], finished_run: Path) -> None:
    answer = CliRunner().invoke(app, [str(finished_run) if word == "RUN" else word for word in words])
    assert answer.exit_code == 2


def test_an_export_and_a_list_of_what_a_run_found(finished_run: Path, tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        app, ["export", str(finished_run), "-f", "latex", "-n", "1", "-o", str(tmp_path / "a.tex")]
    )
    assert answer.stdout.strip() == str(tmp_path / "a.tex")
    assert (tmp_path / "a.tex").read_text(encoding="utf-8").count(r"\section*") == 1
    rows = json.loads(CliRunner().invoke(app, ["list", "losses", "--from", str(finished_run), "--json"]).stdout)
    assert rows[0]["rank"] == 1


def test_dry_runs_tell_the_plan_and_write_nothing(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(finished_run.rglob("*"))
    sets = [word for key in TINY for word in ("--set", key)]
    plans = {
        "search": ["search", str(SMOKE), *sets],
        "re-validation": ["validate", str(finished_run), "--top", "1"],
        "all: ": ["compare", "focal", "--space", str(SMOKE), *sets],
    }
    for told, words in plans.items():
        answer = CliRunner().invoke(app, [*words, "--dry-run", "--json"])
        assert answer.exit_code == 0, answer.output
        lines = json.loads(answer.stdout)
        assert any(line.startswith(told) for line in lines)
        assert any("trainings" in line for line in lines)
        assert lines[-1].endswith("nothing was written")
    assert [*tmp_path.iterdir()] == []
    assert sorted(finished_run.rglob("*")) == before
