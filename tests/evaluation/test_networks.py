"""Networks in requests: the user's own in worker processes, and the key of a training."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.cohorts import request_of

from lossforge.errors import ModelError
from lossforge.evaluation.evaluate import backend_name, evaluate
from lossforge.evaluation.records import TrainingRequest
from lossforge.executors.local import PoolExecutor
from lossforge.models.imported import source_digest
from lossforge.spaces.schema import RecipeSection, TaskSection

NETWORK = """
from torch import nn

def net(shape, classes, width):
    hidden = [nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, classes))
"""


def request(model: str, width: int = 16, epochs: int = 5, learning_rate: float = 0.02) -> TrainingRequest:
    task = TaskSection(data="digits", train=400, validation=100, model=model, width=width)
    return request_of(task, RecipeSection(), epochs=epochs, learning_rate=learning_rate, seeds=(1, 2))


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
    assert backend_name(wanted.setup.task, "rule", 2, "cpu") == "vmap"


def test_an_edited_network_is_another(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key() -> str:
        source_digest.cache_clear()
        return request(f"{mine.stem}:net").replicas[0].fingerprint()

    first = key()
    assert key() == first
    mine.write_text(NETWORK.replace("nn.ReLU()", "nn.GELU()"), encoding="utf-8")
    assert key() != first


@pytest.mark.parametrize(
    ("model", "epochs"),
    [("resnet8", 5), ("mlp", 5), ("inception_small", 5), pytest.param("mobilenet_v3", 10, marks=pytest.mark.slow)],
)
def test_named_networks_learn_the_digits(model: str, epochs: int) -> None:
    """MobileNet does not where its running statistics have torchvision's momentum."""
    result = evaluate(request(model, width=4, epochs=epochs, learning_rate=0.01), "cpu")
    assert all(accuracy is not None and accuracy > 0.25 for accuracy in result.accuracies), result


def test_a_network_that_does_not_fit_is_told_before_workers_start() -> None:
    task = TaskSection(data="digits", model="unet")
    with pytest.raises(ModelError, match="'unet' gives a class for every pixel"):
        backend_name(task, "rule", 2, "cpu")
    with pytest.raises(ModelError, match="'convnext_tiny' takes images of 16×16 or more"):
        backend_name(task.model_copy(update={"model": "convnext_tiny"}), "rule", 2, "cpu")


def test_a_back_end_that_the_network_does_not_have_is_told_before_workers_start() -> None:
    task = TaskSection(data="digits", model="mlp")
    assert backend_name(task, "loop", 2, "cpu") == "loop"
    with pytest.raises(ModelError, match=r"recipe\.backend: 'grouped' is for networks that have a grouped form"):
        backend_name(task, "grouped", 2, "cpu")


def test_recipe_keys_that_are_off_leave_the_key_of_a_training_as_it_was() -> None:
    def key(**changed: Any) -> str:
        setup = replace(request("small_cnn").setup, recipe=RecipeSection(**changed))
        return replace(request("small_cnn").replicas[0], setup=setup).fingerprint()

    changed = {"steps": 9, "clip_norm": 1.0, "label_smoothing": 0.1, "optimizer": "muon", "precision": "bfloat16"}
    changed |= {"heats": 2, "stop_at": 0.0, "deterministic": False, "backend": "loop"}
    keys = {key(**{name: value}) for name, value in changed.items()}
    assert len({*keys, key()}) == len(changed) + 1
    assert key(epochs=20) == key()
    assert key(steps=9, epochs=20) not in keys
    assert "precision" not in replace(request("small_cnn").setup, recipe=RecipeSection()).deciding["recipe"]
