"""lossforge compare, and validate by a plan: end to end on digits, as a user has them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner

import lossforge
from lossforge.cli import app
from lossforge.errors import InterruptedSearchError, LossforgeError
from lossforge.search.progress import Progress

PLAN: dict[str, Any] = {
    "name": "tiny",
    "description": "two studies, a minute at most",
    "seeds": 4,
    "losses": ["mean_absolute_error", "-y_true * log(y_pred) * (1 - y_pred)"],
    "task": {"data": "digits", "train": 200, "validation": 100, "test": 300, "width": 4},
    "recipe": {"epochs": 1, "cohort": 4},
    "rivals": {"named": ["cross_entropy"], "best": 1, "among": ["generalized_ce", "brier"]},
    "tuning": {"learning_rates": [0.01, 0.03], "seeds": 1},
    "study": [{"name": "clean"}, {"name": "noisy", "task": {"label_noise": 0.4}}],
}
KEYS = {
    *("study", "loss", "formula", "rival", "gain", "low", "high", "low_images", "high_images", "p_adjusted", "seeds"),
    *("learning_rate", "rival_learning_rate", "verdict", "loss_verdict", "nearest_known", "cosine"),
}


def written(path: Path, **changes: object) -> Path:
    path.write_text(tomli_w.dumps({**PLAN, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compared")
    rows = lossforge.compare(plan=written(place / "tiny.toml"), output=place / "out", workers=1)
    assert len(rows) == 2 * 2 * 2
    return place


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("results.csv", "tried.csv", "measures.csv", "table.tex")}


def test_everything_that_is_needed_is_in_the_folder(compared: Path) -> None:
    out = compared / "out"
    names = {path.name for path in out.iterdir()}
    assert names >= {"plan.toml", "manifest.json", "ledger.sqlite", "log.txt", "results.csv", "results.json"}
    assert names >= {"table.tex", "forest.svg", "forest.png", "critical_difference.svg", "critical_difference.png"}
    rows = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert {key for row in rows for key in row} >= KEYS
    assert {row["study"] for row in rows} == {"clean", "noisy"}
    assert {row["loss"] for row in rows} == set(PLAN["losses"])
    tried = list(csv.DictReader((out / "tried.csv").read_text(encoding="utf-8").splitlines()))
    assert {(one["study"], one["stage"]) for one in tried} == {
        (study, stage) for study in ("clean", "noisy") for stage in ("coarse", "full")
    }
    lines = (out / "measures.csv").read_text(encoding="utf-8").splitlines()
    measures = {one["measure"] for one in csv.DictReader(lines)}
    assert measures >= {"negative_log_likelihood", "calibration_error", "balanced_accuracy"}
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert {"packages", "hardware", "commit", "plan", "command"} <= set(manifest)


def test_the_same_command_again_trains_nothing_and_says_the_same(compared: Path, tmp_path: Path) -> None:
    out = shutil.copytree(compared / "out", tmp_path / "out")
    before, progress = tables(out), Progress()
    lossforge.compare(plan=compared / "tiny.toml", output=out, workers=1, progress=progress)
    assert progress.trainings == 0
    assert tables(out) == before


class StopsAfter(Progress):
    """Stops a comparison from within once so many trainings are done, as a kill does."""

    def __init__(self, trainings: int) -> None:
        super().__init__()
        self.most = trainings

    def changed(self) -> None:
        if self.trainings >= self.most:
            raise InterruptedSearchError("killed")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_comparison_goes_on_and_workers_change_nothing(compared: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    for most in (5, 20) if workers == 1 else (12,):
        with pytest.raises(InterruptedSearchError, match=r"the same command with --output .* goes on"):
            lossforge.compare(plan=compared / "tiny.toml", output=out, workers=workers, progress=StopsAfter(most))
    lossforge.compare(plan=compared / "tiny.toml", output=out, workers=workers)
    assert tables(out) == tables(compared / "out")


def test_another_plan_in_the_same_folder_is_refused(compared: Path, tmp_path: Path) -> None:
    out = shutil.copytree(compared / "out", tmp_path / "out")
    with pytest.raises(LossforgeError, match=r"another plan \(seeds changed\)"):
        lossforge.compare(plan=written(tmp_path / "tiny.toml", seeds=6), output=out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(LossforgeError, match="holds no comparison"):
        lossforge.compare(plan=compared / "tiny.toml", output=tmp_path / "other")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"losses": ["focall"]}, "study 'clean': losses: there is no loss named 'focall'; did you mean 'focal'?"),
        ({"rivals": {"named": ["y_pred +"]}}, "study 'clean': rivals.named"),
        ({"study": [{"name": "a", "task": {"data": "digitz"}}]}, "study 'a': task.data: 'digitz' is not a data set"),
        ({"study": [{"name": "a", "task": {"data": "npz:/nowhere.npz"}}]}, "study 'a': task.data: there is nothing at"),
        ({"study": [{"name": "a", "task": {"model": "resnet9"}}]}, "study 'a': task.model: 'resnet9' is not a network"),
        ({"study": [{"name": "a", "task": {"model": "inception_v3", "width": 16}}]}, "study 'a': task.model"),
        ({"study": [{"name": "a", "task": {"train": 5000}}]}, "study 'a': task"),
        ({"losses": ["cross_entropy"]}, "study 'clean': there is no loss to compare"),
        ({"recipe": {"cohort": "auto"}}, "study 'clean': recipe.cohort = 'auto'"),
    ],
)
def test_what_cannot_be_is_said_by_study_and_key_before_anything_is_trained(
    changes: dict[str, object], told: str, tmp_path: Path
) -> None:
    progress, plan = Progress(), written(tmp_path / "tiny.toml", **changes)
    with pytest.raises(LossforgeError) as caught:
        lossforge.compare(plan=plan, output=tmp_path / "out", progress=progress)
    assert told in str(caught.value)
    assert progress.trainings == 0
    assert not (tmp_path / "out").exists()


def test_the_command_line_prints_a_table_of_80_columns_and_json(
    compared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(compared / "out", tmp_path / "out")
    monkeypatch.setenv("COLUMNS", "80")
    call = ["compare", "--plan", str(compared / "tiny.toml"), "--output", str(out), "--workers", "1"]
    shown = CliRunner().invoke(app, call)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("clean: 1. mean_absolute_error ") for line in lines)
    assert any(line.startswith("mean ranks over 2 studies: ") for line in lines)
    answer = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert set(answer[0]) >= KEYS


def test_a_loss_that_is_named_is_no_rival_too(tmp_path: Path) -> None:
    rows = lossforge.compare(
        ["ngl", "y_true * y_pred * -1"],
        space="smoke",
        seeds=2,
        output=tmp_path / "out",
        workers=1,
        overrides=["recipe.epochs=1", "validation.epochs=1", "task.train=100"],
    )
    assert list(dict.fromkeys(row.loss for row in rows)) == ["ngl", "y_true * y_pred * -1"]
    assert {row.rival for row in rows} == {"cross_entropy", "label_smoothing", "generalized_ce"}


def test_a_runs_best_go_by_a_plan_into_the_runs_folder(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = lossforge.Run(run).validation()
    plan = written(tmp_path / "tiny.toml", losses=[])
    runner = CliRunner()
    shown = runner.invoke(app, ["validate", str(run), "--plan", str(plan), "--top", "1", "--workers", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    answer = json.loads(shown.stdout)
    assert {row["study"] for row in answer} == {"clean", "noisy"}
    assert {row["searched"] for row in answer} == {lossforge.Run(run).top(1)[0].searched}
    assert (run / "validation" / "tiny" / "results.csv").is_file()
    assert lossforge.Run(run).validation() == before
    assert (run / "validation" / "tiny" / "plan.toml").is_file()
    assert len(lossforge.Run(run).validation("tiny")) == len(answer)
    assert any(sentence.startswith("noisy, rank 1: ") for sentence in lossforge.Run(run).verdicts("tiny"))
    status = lossforge.Run(run).status().verdicts
    assert [one for one in status if one.startswith("plan tiny, noisy, rank 1: ")]
    assert "by the plan tiny, " in runner.invoke(app, ["top", str(run)]).stdout
    exported = lossforge.Run(run).export(tmp_path / "losses.py").read_text(encoding="utf-8")
    assert "by the plan tiny" in " ".join(exported.split())
    refused = runner.invoke(app, ["validate", str(run), "--plan", "transfer"])
    assert refused.exit_code == 1
