"""A search on data of the user's own, from the command line's functions down to the worker processes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.conftest import SMOKE, TINY
from typer.testing import CliRunner

import lossforge
from lossforge.cli import app
from lossforge.data.datasets import load_task
from lossforge.errors import DataError, ModelError
from lossforge.store.run_folder import RunFolder

RNG = numpy.random.default_rng(0)
Y = numpy.arange(400) % 4
X = (RNG.integers(0, 60, (400, 8, 8)) + 60 * Y[:, None, None]).astype(numpy.uint8)
KEYS = [key for key in TINY if not key.startswith("budget")] + ["budget.generations=1", "task.width=2"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.npz"
    numpy.savez(path, x_train=X[:320], y_train=Y[:320], x_test=X[320:], y_test=Y[320:])
    return path


def search(path: Path, run: Path, *overrides: str, **changes: Any) -> lossforge.api.Run:
    keys = [*KEYS, f"task.data='npz:{path}'", "task.test=80", "task.label_noise=0", *overrides]
    return lossforge.search(SMOKE, run=run, seed=1, overrides=keys, **changes)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_on_ones_own_arrays_and_what_changed_is_noticed(mine: Path, tmp_path: Path, workers: int) -> None:
    run = tmp_path / "run"
    found = search(mine, run, "task.augmentation.crop=1", "task.augmentation.flip=true", workers=workers)
    assert found.hall_of_fame[0].accuracy is not None
    manifest = json.loads((run / "manifest.json").read_text())
    assert list(manifest["data"]) == [f"npz:{mine}"]
    before = (run / "hall_of_fame.csv").read_bytes()
    lossforge.resume(run, workers=1)
    assert (run / "hall_of_fame.csv").read_bytes() == before
    numpy.savez(mine, x_train=255 - X, y_train=Y)
    told = "is not what it was when the run began; put the old data back"
    with pytest.raises(DataError, match=told):
        lossforge.validate(run, workers=1)
    generations = RunFolder.open(run).space().budget.generations
    with pytest.raises(DataError, match=told):
        lossforge.resume(run, workers=1, overrides=[f"budget.generations={generations + 1}"])


@pytest.mark.parametrize(
    ("override", "error", "told"),
    [
        ("task.resize=2", ModelError, "takes images of 4×4 or more"),
        ("task.augmentation.cutout=9", DataError, "cutout: is 9, larger"),
        ("task.train=310", DataError, r"train \+ validation = 410 samples, but the training part"),
        ("task.data='npz:nowhere.npz'", DataError, "there is nothing at 'nowhere.npz'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    mine: Path, tmp_path: Path, override: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        search(mine, tmp_path / "run", override, workers=1)
    assert not (tmp_path / "run").exists()


def test_the_data_folder_may_change_on_resume(mine: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    search(mine, run, workers=1, data_dir=str(tmp_path / "a"))
    lossforge.resume(run, workers=1, data_dir=str(tmp_path / "b"))
    assert f'data_dir = "{tmp_path / "b"}"' in (run / "space.toml").read_text()


def test_two_files_of_one_name_need_names(mine: Path) -> None:
    from lossforge.spaces.schema import TaskSection

    assert TaskSection(data=f"npz:{mine}").title == "mine"
    assert TaskSection(data="csv:some/table.csv#label=a/b.c").title == "table"
    assert TaskSection(data="mnist").title == "mnist"


def test_the_identity_of_a_task_is_older_than_its_input_keys() -> None:
    from lossforge.spaces.schema import TaskSection

    plain = TaskSection(data="digits")
    first = {"name", "data", "train", "validation", "test", "split_seed", "label_noise", "model", "width"}
    assert set(plain.identity()) == first
    for key, value in (("resize", 4), ("greyscale", True), ("normalize", False), ("augmentation", {"crop": 1})):
        changed = TaskSection(**{"data": "digits", key: value})
        assert set(changed.identity()) - set(plain.identity()) == {key}


def test_duplicates_are_dropped_told_first_and_kept_in_older_runs(tmp_path: Path) -> None:
    path, run = tmp_path / "twice.npz", tmp_path / "run"
    numpy.savez(path, x_train=X[:320], y_train=Y[:320], x_test=X[300:], y_test=Y[300:])
    search(path, run, "task.test=100", workers=1)
    told = next(line for line in (run / "log.txt").read_text().splitlines() if "task.drop_duplicates" in line)
    assert 0 < int(told.partition("twice: ")[2].partition(" of 100 test samples are in the training or")[0]) <= 20
    space = tomllib.loads((run / "space.toml").read_text())
    assert space["task"][0]["drop_duplicates"] is True
    before = (run / "hall_of_fame.csv").read_bytes()
    lossforge.resume(run, workers=1)
    assert (run / "hall_of_fame.csv").read_bytes() == before
    # The run as one that is older than the switches wrote it: it goes on with every sample that it had.
    for name in ("drop_duplicates", "own_validation"):
        text = (run / "space.toml").read_text()
        (run / "space.toml").write_text(text.replace(f"{name} = true\n", ""))
        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["space"]["task"][0][name]
        (run / "manifest.json").write_text(json.dumps(manifest))
    (task,) = RunFolder.open(run).space().task
    assert (task.drop_duplicates, task.own_validation) == (False, False)
    data = load_task(task, "cpu")
    assert len(data.train) + len(data.validation) == (task.train or 0) + (task.validation or 0)
    assert set(task.identity()) & {"drop_duplicates", "own_validation", "drop_index"} == set()


def test_the_doctor_says_bad_and_tries_keys(tmp_path: Path) -> None:
    path = tmp_path / "twice.npz"
    numpy.savez(path, x_train=X[:320], y_train=Y[:320], x_test=X[300:], y_test=Y[300:])
    answer = CliRunner().invoke(app, ["doctor", "--data", f"npz:{path}", "--json"])
    assert answer.exit_code == 1
    rows = {row["check"]: row for row in json.loads(answer.stdout)}
    assert rows["duplicates"]["state"] == "bad"
    assert "20 of 100 test samples" in rows["duplicates"]["told"]
    table = tmp_path / "gaps.csv"
    lines = [f"{number},{'' if number % 5 else number},{number % 2}" for number in range(60)]
    table.write_text("\n".join(["id,a,class", *lines]), encoding="utf-8")
    answer = CliRunner().invoke(app, ["doctor", "--data", f"csv:{table}", "--json"])
    assert "set task.impute" in json.loads(answer.stdout)[0]["told"]
    keys = ["--set", "task.impute=mean", "--set", "task.drop_duplicates=false"]
    answer = CliRunner().invoke(app, ["doctor", "--data", f"csv:{table}", *keys, "--json"])
    told = [row["told"] for row in json.loads(answer.stdout)]
    assert told[0] == "training 36, validation 9, test 15"
    assert any("column 'id' counts the rows and is left out" in line for line in told)
    assert any("filled from the training part (task.impute): 48" in line for line in told)
    answer = CliRunner().invoke(app, ["doctor", "--data", f"csv:{table}", "--set", "task.impute=guess", "--json"])
    assert answer.exit_code == 1
    assert "impute: input should be 'mean'" in json.loads(answer.stdout)[0]["told"]


def test_the_doctor_examines_a_data_set(mine: Path) -> None:
    answer = CliRunner().invoke(app, ["doctor", "--data", f"npz:{mine}", "--json"])
    assert answer.exit_code == 0
    rows = {row["check"]: row for row in json.loads(answer.stdout)}
    assert rows["parts"]["told"] == "training 256, validation 64, test 80"
    assert rows["samples"]["told"] == "8×8, 1 channels, uint8"
    assert "0 of 80 test samples" in rows["duplicates"]["told"]
    small = CliRunner().invoke(app, ["doctor", "--data", f"npz:{mine}", "--resize", "5", "--json"])
    assert json.loads(small.stdout)[1]["told"].startswith("5×5")


def test_the_doctor_names_what_is_missing(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["doctor", "--data", "imagenet", "--data-dir", str(tmp_path), "--json"])
    assert answer.exit_code == 1
    (row,) = json.loads(answer.stdout)
    assert row["state"] == "bad"
    assert "ILSVRC2012_img_train.tar" in row["told"]
    assert str(tmp_path) in row["told"]
