"""A search on masks, as a user does it: from pairs to tables, re-validation and exported code."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy
import pytest
from tests.conftest import ROOT, SMOKE, TINY
from tests.helpers.cohorts import request_of
from typer.testing import CliRunner

import lossforge
from lossforge.cli import app
from lossforge.errors import LossforgeError, SpaceError
from lossforge.evaluation.evaluate import evaluate
from lossforge.losses.library import loss_spec
from lossforge.spaces.load import load_space
from lossforge.spaces.schema import RecipeSection, TaskSection

KEYS = [
    *(key for key in TINY if key.startswith(("evolution", "recipe"))),
    "task.label_noise=0",
    "task.model=unet",
    "task.width=2",
    "task.train=16",
    "task.validation=10",
    "task.test=10",
    "task.augmentation.flip=true",
    "recipe.batch_size=8",
    "recipe.epochs=20",
    "recipe.stop_at=0",
    "budget.generations=1",
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey noise with a bright square of 4x4 pixels in each image: 6 % of the pixels."""
    rng = numpy.random.default_rng(0)
    x = rng.integers(0, 120, (36, 16, 16), dtype=numpy.uint8)
    masks = numpy.zeros_like(x)
    for image, mask in zip(x, masks, strict=True):
        top, left = rng.integers(0, 12, 2)
        image[top : top + 4, left : left + 4] += 120
        mask[top : top + 4, left : left + 4] = 255
    path = tmp_path_factory.mktemp("masks") / "squares.npz"
    numpy.savez(path, x_train=x[:26], m_train=masks[:26], x_test=x[26:], m_test=masks[26:])
    return path


def values(path: Path, loss: str, epochs: int, **keys: object) -> tuple[float | None, ...]:
    task = TaskSection(data=f"masks:{path}", model="unet", width=2, train=16, validation=10, **keys)  # type: ignore[arg-type]
    recipe = RecipeSection(batch_size=8, epochs=epochs)
    formula = loss_spec(loss).formula
    request = request_of(task, recipe, learning_rate=0.03, epochs=epochs, seeds=(1, 2), formula=formula)
    result = evaluate(request, "cpu")
    for value, metrics in zip(result.accuracies, result.metrics, strict=True):
        assert value == pytest.approx(metrics[task.measure], abs=1e-6)
    return result.accuracies


@pytest.mark.parametrize("loss", ["cross_entropy", "dice"])
def test_a_unet_finds_the_squares(squares: Path, loss: str) -> None:
    # All background: mean IoU 0.47.
    found = values(squares, loss, 20, augmentation={"flip": True, "crop": 2})
    assert min(value or 0 for value in found) > 0.8


def test_each_metric_is_what_fitness_is_measured_in(squares: Path) -> None:
    found = {metric: values(squares, "cross_entropy", 3, metric=metric) for metric in ("accuracy", "mean_iou", "dice")}
    assert len(set(found.values())) == 3
    assert values(squares, "cross_entropy", 3) == found["mean_iou"]


def test_a_search_on_masks_from_start_to_export(squares: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    keys = [*KEYS, f"task.data='masks:{squares}'", "validation.top=1", "validation.seeds=2", "validation.epochs=3"]
    rivals = "validation.rivals=['cross_entropy', 'dice', 'tversky']"
    keys.append("validation.best_known=0")
    found = lossforge.search(SMOKE, run=run, seed=1, workers=1, overrides=[*keys, rivals])
    assert {entry.metric for entry in found.hall_of_fame} == {"mean_iou"}
    assert [row.rival for row in found.validation()] == ["cross_entropy", "dice", "tversky"]
    assert {row.metric for row in found.validation()} == {"mean_iou"}
    log = (run / "log.txt").read_text()
    assert "learning rate" not in log  # it was given
    assert "of the training pixels; fitness is mean IoU" in log
    with sqlite3.connect(run / "ledger.sqlite") as ledger:
        rows = ledger.execute("select accuracy, metrics from trainings where accuracy is not null").fetchall()
    assert rows
    assert all(value == pytest.approx(json.loads(metrics)["mean_iou"], abs=1e-6) for value, metrics in rows)
    runner = CliRunner()
    assert "mean IoU" in runner.invoke(app, ["top", str(run)]).stdout
    exported = runner.invoke(app, ["export", str(run)])
    assert exported.exit_code == 0
    assert "of validation mean IoU over cross-entropy" in next((run / "export").glob("*.py")).read_text()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("task.metric=f1", "'f1' does not fit data with a mask"),
        ("task.label_noise=0.2", "label_noise: replaces labels of whole samples"),
        ("task.model=small_cnn", "'small_cnn' gives a class for every sample"),
    ],
)
def test_what_does_not_fit_masks_is_refused_before_the_run(
    squares: Path, tmp_path: Path, override: str, told: str
) -> None:
    with pytest.raises(LossforgeError, match=told):
        lossforge.search(SMOKE, run=tmp_path / "run", overrides=[*KEYS, f"task.data='masks:{squares}'", override])
    assert not (tmp_path / "run").exists()


def test_the_space_for_cracks_says_that_the_data_are_missing(tmp_path: Path) -> None:
    space = ROOT / "search_spaces" / "crackforest.toml"
    with pytest.raises(LossforgeError, match=r"there is nothing at 'crackforest\.npz'"):
        lossforge.search(space, run=tmp_path / "run")
    with pytest.raises(SpaceError, match="mean_iou"):
        load_space(space, ["task.data=digits"])
