"""Networks in requests: the user's own in worker processes, and the key of a training."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lossforge.errors import ModelError
from lossforge.evaluation.evaluate import backend_name, evaluate
from lossforge.evaluation.local import PoolExecutor
from lossforge.evaluation.records import TrainingRequest
from lossforge.evaluation.requests import cohorts
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.imported import source_digest
from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection

NETWORK = """
from torch import nn

def net(shape, classes, width):
    hidden = [nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, classes))
"""


def request(model: str, width: int = 16) -> TrainingRequest:
    task = TaskSection(data="digits", train=400, validation=100, model=model, width=width)
    space = SearchSpace(name="test", task=[task], recipe=RecipeSection(epochs=5))
    return cohorts(space, task, LossSpec(CROSS_ENTROPY), "ce", 0.02, range(2), stage="test")[0]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "own_network_of_this_test.py"
    file.write_text(NETWORK, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, file.stem, raising=False)
    source_digest.cache_clear()
    return file


def test_workers_find_a_network_in_the_current_folder(mine: Path) -> None:
    wanted = request(f"{mine.stem}:net")
    pool = PoolExecutor(1, "cpu")
    try:
        ((_, there),) = pool.run([wanted], lambda: False)
    finally:
        pool.close()
    here = evaluate(wanted, "cpu")
    assert here.accuracies == there.accuracies
    assert all(accuracy is not None and accuracy > 0.6 for accuracy in here.accuracies)
    assert backend_name(wanted.task, 2, "cpu") == "vmap"


def test_an_edited_network_is_another(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(f"{mine.stem}:net")
    first = wanted.fingerprint()
    source_digest.cache_clear()
    assert wanted.fingerprint() == first
    mine.write_text(NETWORK.replace("nn.ReLU()", "nn.GELU()"), encoding="utf-8")
    source_digest.cache_clear()
    assert wanted.fingerprint() != first


@pytest.mark.parametrize(
    ("model", "epochs"),
    [("resnet8", 5), ("mlp", 5), ("inception_small", 5), pytest.param("mobilenet_v3", 10, marks=pytest.mark.slow)],
)
def test_named_networks_learn_the_digits(model: str, epochs: int) -> None:
    """MobileNet does not where its running statistics have torchvision's momentum."""
    result = evaluate(replace(request(model, width=4), epochs=epochs, learning_rate=0.01), "cpu")
    assert all(accuracy is not None and accuracy > 0.25 for accuracy in result.accuracies), result


def test_a_network_that_does_not_fit_is_told_before_workers_start() -> None:
    task = TaskSection(data="digits", model="unet")
    with pytest.raises(ModelError, match="'unet' gives a class for every pixel"):
        backend_name(task, 2, "cpu")
    with pytest.raises(ModelError, match="'convnext_tiny' takes images of 16×16 or more"):
        backend_name(task.model_copy(update={"model": "convnext_tiny"}), 2, "cpu")


def test_recipe_keys_that_are_off_leave_the_key_of_a_training_as_it_was() -> None:
    wanted = request("small_cnn")
    changed = {"steps": 9, "clip_norm": 1.0, "label_smoothing": 0.1, "optimizer": "muon"}
    keys = {replace(wanted, recipe=RecipeSection(**{name: value})).fingerprint() for name, value in changed.items()}
    assert len({*keys, wanted.fingerprint()}) == 5
    longer = RecipeSection(epochs=20)
    assert replace(wanted, recipe=longer).fingerprint() == wanted.fingerprint()
    by_steps = RecipeSection(steps=9)
    assert replace(wanted, recipe=by_steps.model_copy(update={"epochs": 20})).fingerprint() not in keys
