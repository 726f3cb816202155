"""Re-validation of scores that a function of the user's own hands out: what a test part would rarely show."""

from __future__ import annotations

import json
import math
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lossforge
from lossforge.cli import app
from lossforge.console import print_run
from lossforge.errors import LossforgeError
from lossforge.models.imported import source_digest
from lossforge.search.progress import Progress
from lossforge.store.run_folder import RunFolder
from lossforge.validation.comparison import TOLD, Comparison, summaries, verdict
from lossforge.validation.results import read_comparisons
from lossforge.validation.verdicts import Verdict

SCRIPT = """
import json, zlib
from pathlib import Path

HERE = Path(__file__).parent

def train(criterion, seed, device, part="validation"):
    if criterion.formula == "y_true * y_pred":  # what a search tries a function out with
        return 0.1
    rival = criterion.formula == "-y_true * log(y_pred)"
    if part == "validation":
        return 0.5 if rival else round(0.6 + zlib.crc32(criterion.formula.encode()) % 1000 / 5000, 4)
    told = json.loads((HERE / "scores.json").read_text())["rival" if rival else "found"]
    if told == "crash":
        raise KeyError("cut short")
    if told == "crash on some seeds":
        assert seed % 3, "cut short"
        return 0.9
    return 0.9 + seed % 7 / 1000 if told == "varied" else float(told)

def other(criterion, seed, device, part="validation"):
    return 0.1 if criterion.formula == "y_true * y_pred" else 0.7
"""
SPACE = """
name = "own"
[recipe]
match_gradient = false
[evolution]
population = 4
elites = 1
[budget]
generations = 1
[fitness]
finalist_seeds = 2
[validation]
after_search = false
top = 2
seeds = 4
rivals = ["cross_entropy"]
[[task]]
name = "first"
python = "scores_of_this_test:train"
classes = 3
[[task]]
name = "second"
python = "scores_of_this_test:other"
classes = 3
"""
MODULE = "scores_of_this_test"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search on two tasks, not yet validated, in a folder with the function and what it is to hand out."""
    folder = tmp_path_factory.mktemp("own")
    (folder / f"{MODULE}.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "own.toml").write_text(SPACE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        _enter(folder, patch)
        lossforge.search(folder / "own.toml", run=folder / "run", seed=1, workers=1)
    return folder


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Where the function is found, and called in this process: none of it hangs or dies."""
    patch.chdir(folder)
    patch.setattr(sys, "path", [*sys.path])
    patch.delitem(sys.modules, MODULE, raising=False)
    source_digest.cache_clear()
    for place in ("search.loop", "validation.protocol"):  # lossforge.search itself is a function
        patch.setattr(import_module(f"lossforge.{place}"), "needs_isolation", lambda space: False)


@pytest.fixture
def run(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = shutil.copytree(searched, tmp_path / "own")
    _enter(folder, monkeypatch)
    return folder / "run"


def scores(run: Path, **told: float | str) -> None:
    (run.parent / "scores.json").write_text(json.dumps(told), encoding="utf-8")


def of_first_task(rows: list[Comparison]) -> list[Comparison]:
    return [row for row in rows if row.task == "first"]


def test_equal_differences_have_an_interval_of_some_width(run: Path) -> None:
    scores(run, found=0.91, rival=0.9)
    rows = lossforge.validate(run, workers=1)
    for row in of_first_task(rows):
        assert row.gain == pytest.approx(1.0)
        # Two scores were seen, a point apart: a difference of that size is one step, and no proof.
        assert row.high - row.low > 2
        assert verdict(row) is Verdict.NOT_SEPARABLE
    for row in (row for row in rows if row.task == "second"):
        assert (row.gain, row.p) == (0, 1)
        assert row.high - row.low > 0.01  # never narrower than what a table can show


def test_both_tasks_are_searched_validated_and_told_apart(run: Path) -> None:
    scores(run, found=0.99, rival="varied")
    rows = lossforge.validate(run, workers=1)
    assert [(row.task, row.rank) for row in rows] == [("first", 1), ("first", 2), ("second", 1), ("second", 2)]
    assert {verdict(row) for row in of_first_task(rows)} == {Verdict.BETTER}
    assert read_comparisons(RunFolder.open(run)) == rows
    shown = CliRunner().invoke(app, ["validate", str(run), "--workers", "1"], terminal_width=200).stdout
    assert "first: 2 of 2 are better than cross-entropy" in shown
    assert "second: none is better than cross-entropy; 2 are equivalent (within 0.5 points)" in shown
    lines = [line for line in shown.splitlines() if line.startswith(("1. ", "2. "))]
    assert [line.split()[-1] for line in lines] == [*("better", "better"), *("equivalent", "equivalent")]
    assert shown.count("first: against cross-entropy") == 1


def test_a_runs_json_says_it_too(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(run, found=0.99, rival="varied")
    rows = lossforge.validate(run, workers=1)
    opened = lossforge.Run(run)
    after = opened.space.validation.model_copy(update={"after_search": True})
    space = opened.space.model_copy(update={"validation": after})
    monkeypatch.setattr(lossforge.Run, "space", property(lambda opened: space))
    print_run(opened, True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == summaries(rows)
    assert answer["verdict"][0] == "first: 2 of 2 are better than cross-entropy"
    assert [row["verdict"] for row in answer["validation"]] == ["better", "better", "equivalent", "equivalent"]


def test_what_is_worse_is_marked_as_worse(run: Path) -> None:
    scores(run, found=0.5, rival="varied")
    runner = CliRunner()
    shown = runner.invoke(app, ["validate", str(run), "--workers", "1"], terminal_width=200).stdout
    assert "first: none is better than cross-entropy; 2 of 2 are worse" in shown
    assert len([line for line in shown.splitlines() if "[" in line and line.rstrip().endswith(" worse")]) == 2
    answer = json.loads(runner.invoke(app, ["validate", str(run), "--workers", "1", "--json"]).stdout)
    assert {row["verdict"] for row in answer if row["task"] == "first"} == {"worse"}
    assert answer[0]["summary"] == "first: none is better than cross-entropy; 2 of 2 are worse"


def test_two_seeds_are_no_proof_and_the_interval_is_shown_all_the_same(run: Path) -> None:
    scores(run, found=0.99, rival=0.5)
    rows = of_first_task(lossforge.validate(run, seeds=2, workers=1))
    assert {verdict(row) for row in rows} == {Verdict.NOT_SEPARABLE}
    assert all(math.isfinite(row.low) and row.low < row.gain < row.high for row in rows)
    with pytest.raises(LossforgeError, match="2 or more, not 1"):
        lossforge.validate(run, seeds=1, workers=1)


def test_a_score_that_is_no_number_is_a_failure_and_counts_as_nothing(run: Path) -> None:
    scores(run, found="nan", rival="varied")
    rows = lossforge.validate(run, workers=1)
    for row in of_first_task(rows):
        assert (row.failed, row.accuracy, row.rival_failed) == (4, 0.0, 0)
        assert math.isfinite(row.p_adjusted)
    again = lossforge.validate(run, workers=1)  # from the ledger alone
    assert again == rows


@pytest.mark.parametrize("told", ["crash", "crash on some seeds"])
def test_a_rival_that_was_cut_short_is_compared_with_nothing(run: Path, told: str) -> None:
    scores(run, found=0.9, rival=told)
    with pytest.raises(LossforgeError, match=r"the rival cross_entropy crashed .*cut short.*nothing can be compared"):
        lossforge.validate(run, seeds=8, workers=1)
    assert read_comparisons(RunFolder.open(run)) == []


def test_a_finished_validation_is_reused_by_another(run: Path) -> None:
    scores(run, found=0.99, rival="varied")
    rows = lossforge.validate(run, workers=1)
    scores(run, found="crash", rival="crash")  # whoever trained again would hear of it
    progress = Progress()
    assert lossforge.validate(run, workers=1, progress=progress) == rows
    assert progress.trainings == 0
    assert lossforge.validate(run, workers=1, seeds=3) != rows
    assert lossforge.validate(run, workers=1) == rows  # the ledger still has them all


def test_results_that_hold_no_numbers_are_told(run: Path) -> None:
    scores(run, found=0.99, rival="varied")
    lossforge.validate(run, workers=1)
    path = run / "validation" / "results.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    for damaged in ([{**written[0], "p": math.nan}], [{**written[0], "gain": None}], ["x"], [[1]]):
        path.write_text(json.dumps(damaged), encoding="utf-8")
        with pytest.raises(LossforgeError, match=r"results\.json: is damaged .*nothing is trained twice"):
            read_comparisons(RunFolder.open(run))
    for row in written:
        older = {key: row[key] for key in row if key not in (*TOLD, "low_images", "cosine", "margin", "p_equivalent")}
        row.clear()
        row.update(older)  # as older runs have it
    path.write_text(json.dumps(written), encoding="utf-8")
    assert len(read_comparisons(RunFolder.open(run))) == 4
