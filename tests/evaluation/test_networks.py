"""Networks in requests: the user's own in worker processes, and the key of a training."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.cohorts import request_of

from lossforge.errors import ModelError
from lossforge.evaluation.evaluate import backend_name, evaluate
from lossforge.evaluation.names import check_names
from lossforge.evaluation.records import TrainingRequest
from lossforge.executors.local import PoolExecutor
from lossforge.models.activations.registry import ACTIVATIONS, make_activation
from lossforge.models.imported import import_function, source_digest
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import RecipeSection, TaskSection

NETWORK = """
from torch import nn

def net(shape, classes, width):
    hidden = [nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, classes))
"""


def request(
    model: str, width: int = 16, epochs: int = 5, learning_rate: float = 0.02, activation: str = "relu"
) -> TrainingRequest:
    task = TaskSection(data="digits", train=400, validation=100, model=model, width=width, activation=activation)
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
    assert backend_name(wanted.setup.task, "rule", 2, "cpu") == "layers"


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
    changed |= {"epsilon": 1e-7, "output_rate": 0.5}
    keys = {key(**{name: value}) for name, value in changed.items()}
    assert len({*keys, key()}) == len(changed) + 1
    assert key(epochs=20) == key()
    assert key(steps=9, epochs=20) not in keys
    assert "precision" not in replace(request("small_cnn").setup, recipe=RecipeSection()).deciding["recipe"]


SPECIAL = [name for name in ACTIVATIONS if name != "relu"]


@pytest.mark.parametrize("activation", [*SPECIAL, "lerch(s=learned, a=learned)", "mittag_leffler(alpha=learned)"])
def test_networks_of_every_activation_learn_the_digits_in_a_cohort(activation: str) -> None:
    wanted = request("small_cnn", width=4, epochs=10, activation=activation)
    assert backend_name(wanted.setup.task, "rule", 2, "cpu") == "vmap"
    result = evaluate(wanted, "cpu")
    assert all(accuracy is not None and accuracy > 0.3 for accuracy in result.accuracies), result


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_an_activation_trains_in_half_precision(precision: str) -> None:
    wanted = request("mlp", width=4, activation="mittag_leffler(alpha=learned 0.7)")
    recipe = wanted.setup.recipe.model_copy(update={"precision": precision})
    result = evaluate(replace(wanted, setup=replace(wanted.setup, recipe=recipe)), "cpu")
    assert all(accuracy is not None and accuracy > 0.3 for accuracy in result.accuracies), result


def test_kernels_that_know_relu_alone_are_refused_for_another_activation() -> None:
    task = TaskSection(data="digits", model="small_cnn", activation="jacobi_sn")
    assert backend_name(task.model_copy(update={"activation": "relu"}), "grouped", 2, "cpu") == "grouped"
    with pytest.raises(ModelError, match=r"^recipe\.backend: 'grouped' is for .*grouped form.*ReLU alone"):
        backend_name(task, "grouped", 2, "cpu")


def test_an_activation_enters_the_key_of_a_training_where_it_is_not_the_usual_one() -> None:
    keys = [
        request("small_cnn", activation=name).replicas[0].fingerprint()
        for name in ("relu", "jacobi_sn", "jacobi_sn(m=0.3)")
    ]
    assert len(set(keys)) == 3
    assert "activation" not in request("small_cnn").setup.task.identity()


def test_a_network_of_ones_own_takes_an_activation_where_it_has_a_parameter_for_it(mine: Path) -> None:
    with pytest.raises(
        ModelError, match=rf"^task\.activation: '{mine.stem}:net' has no parameter 'activation'; give it one"
    ):
        backend_name(request(f"{mine.stem}:net", activation="lerch").setup.task, "rule", 2, "cpu")
    text = NETWORK.replace("width)", "width, activation=nn.Tanh)", 1).replace("nn.ReLU()", "activation()")
    other = mine.with_name("own_network_with_activation.py")
    other.write_text(text, encoding="utf-8")
    try:
        model = import_function(f"{other.stem}:net")((1, 8, 8), 10, 4, partial(make_activation, "lerch"))
        assert [type(layer).__name__ for layer in model][3] == "Lerch"
        scores = [
            evaluate(request(f"{other.stem}:net", activation=name), "cpu").accuracies for name in ("relu", "lerch")
        ]
        assert scores[0] != scores[1]
        assert all(score is not None and score > 0.3 for score in (*scores[0], *scores[1]))
    finally:
        sys.modules.pop(other.stem, None)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"activation": "lerch(s=9)"}, "task.activation: lerch: s must be from 0.5 to 4, not 9"),
        ({"activation": "lurch"}, "task.activation: 'lurch' is not an activation; did you mean 'lerch'?"),
        (
            {"activation": "lerch", "model": "vit_small"},
            "task.activation: 'vit_small' has gelu, as published",
        ),
    ],
)
def test_a_space_with_an_activation_that_cannot_be_is_refused(changed: dict[str, str], told: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_names(validate_space({"name": "mine", "task": [{"data": "digits", **changed}]}, "mine"))
    assert str(caught.value).startswith(told)
