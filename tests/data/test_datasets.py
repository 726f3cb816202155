from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from tests.helpers.cohorts import request_of

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import DATASETS, _loaded, load_task
from lossforge.data.prepare import part_sizes
from lossforge.data.samples import Form
from lossforge.errors import DataError
from lossforge.evaluation import evaluate as evaluation
from lossforge.evaluation.records import TrainingRequest
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.registry import build_model
from lossforge.spaces.schema import RecipeSection, TaskSection
from lossforge.training.plan import Plan, Replica, ReplicaScore
from lossforge.training.train import train_cohort

NOISY = TaskSection(data="digits", train=120, validation=60, test=100, label_noise=0.9, width=2)


def rows(x: torch.Tensor) -> set[tuple[float, ...]]:
    return {tuple(sample.flatten().tolist()) for sample in x}


def test_digits_are_scikit_learns() -> None:
    raw = DATASETS["digits"].load("", Form())
    bunch = load_digits()
    assert raw.train.x.shape == (1797, 1, 8, 8)
    assert (str(raw.train.x.dtype), raw.train.x.min(), raw.train.x.max()) == ("float32", 0, 1)
    assert raw.test is None
    assert raw.classes == 10
    assert raw.train.y.tolist() == bunch.target.tolist()
    assert (raw.train.x[:, 0] * 16 == bunch.images).all()


def test_digits_reach_the_network_as_they_are() -> None:
    data = load_task(NOISY, "cpu")
    assert data.scale is None
    x = data.train.x[:5]
    assert Preparation(NOISY.augmentation, data.scale, data.shape)(x) is x


def test_a_task_is_split_as_asked() -> None:
    data = load_task(NOISY, "cpu")
    assert (len(data.train), len(data.validation), len(data.test)) == (120, 60, 100)
    assert (data.classes, data.shape) == (10, (1, 8, 8))
    assert data.train.x.dtype == torch.float32
    assert data.train.y.dtype == torch.int64


def test_parts_hold_different_images_with_their_own_labels() -> None:
    data = load_task(TaskSection(data="digits"), "cpu")
    bunch: Any = load_digits()
    label_of = {
        tuple((image / 16).ravel().tolist()): label for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    assert len(label_of) == 1797
    parts = (data.train, data.validation, data.test)
    found = [rows(part.x) for part in parts]
    assert sum(map(len, found)) == len(set.union(*found)) == 1797
    for part in parts:
        assert [label_of[tuple(sample.flatten().tolist())] for sample in part.x] == part.y.tolist()


def test_the_split_follows_its_seed_alone() -> None:
    first = load_task(NOISY, "cpu")
    _loaded.cache_clear()
    torch.manual_seed(5)
    again = load_task(NOISY, "cpu")
    other = load_task(NOISY.model_copy(update={"split_seed": 1}), "cpu")
    assert torch.equal(first.train.x, again.train.x)
    assert not torch.equal(first.train.x, other.train.x)


def test_what_is_not_split_does_not_change_the_split() -> None:
    first = load_task(NOISY, "cpu")
    other = load_task(NOISY.model_copy(update={"width": 7, "label_noise": 0.0, "name": "other"}), "cpu")
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name).x, getattr(other, name).x)
        assert torch.equal(getattr(first, name).y, getattr(other, name).y)


def test_a_loaded_task_is_kept() -> None:
    assert load_task(NOISY, "cpu") is load_task(NOISY.model_copy(), "cpu")


def test_an_unknown_data_set_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"^task\.data: 'mnits' is not a data set; did you mean 'mnist' or 'kmnist'\?$"):
        load_task(TaskSection(data="mnits"), "cpu")


def test_sizes_that_are_not_given_are_shares_of_all() -> None:
    assert part_sizes(TaskSection(data="digits"), 1797) == (1078, 269, 450)
    assert part_sizes(TaskSection(data="digits", train=1000), 1797) == (1000, 269, 528)
    assert part_sizes(TaskSection(data="digits", train=20, validation=10, test=30), 1797) == (20, 10, 30)


@pytest.mark.parametrize("train", [1697, 1797, 5000])
def test_a_task_without_a_test_part_is_refused(train: int) -> None:
    with pytest.raises(DataError, match=rf"train = {train} and validation = 100 leave no test part of the 1797"):
        load_task(TaskSection(data="digits", train=train, validation=100), "cpu")


def test_a_task_that_asks_for_too_much_is_refused() -> None:
    with pytest.raises(DataError, match="but the data set has 1797; make the parts smaller"):
        load_task(TaskSection(data="digits", train=1000, validation=500, test=500), "cpu")


def request(part: str) -> TrainingRequest:
    recipe = RecipeSection(epochs=1, batch_size=32)
    return request_of(NOISY, recipe, part=part)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_scores_are_never_taken_on_noisy_labels(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    plans: list[Plan] = []

    def spy(plan: Plan, replicas: list[Replica], **keys: Any) -> list[ReplicaScore]:
        plans.append(plan)
        return train_cohort(plan, replicas, **keys)

    clean = load_task(NOISY.model_copy(update={"label_noise": 0.0}), "cpu")
    expected = getattr(clean, part)
    monkeypatch.setattr(evaluation, "train_cohort", spy)
    evaluation.evaluate(request(part), "cpu")
    (plan,) = plans
    assert plan.label_noise == 0.9
    assert torch.equal(plan.score.x, expected.x)
    assert torch.equal(plan.score.y, expected.y)
    assert not rows(plan.score.x) & rows(plan.train.x)
    # The training drew its noise, and no part of the task has it.
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(load_task(NOISY, "cpu"), name).y, getattr(clean, name).y)


def test_a_search_never_sees_the_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def spy(plan: Plan, replicas: list[Replica], **keys: Any) -> list[ReplicaScore]:
        plans.append(plan)
        return [ReplicaScore(0.5)]

    monkeypatch.setattr(evaluation, "train_cohort", spy)
    evaluation.evaluate(request("validation"), "cpu")
    test = rows(load_task(NOISY, "cpu").test.x)
    assert not test & rows(plans[0].train.x)
    assert not test & rows(plans[0].score.x)


def test_label_noise_reaches_the_training() -> None:
    data = load_task(NOISY, "cpu")
    plan = Plan(
        train=data.train,
        score=data.train,
        classes=10,
        recipe=RecipeSection(batch_size=20),
        epochs=15,
        label_noise=0.0,
        build=lambda seed: build_model("small_cnn", data.shape, 10, 8, seed),
    )
    noisy = Plan(**{name: getattr(plan, name) for name in Plan.__slots__} | {"label_noise": 0.9})
    replicas = [Replica(LossSpec(CROSS_ENTROPY), 1, 0.02)]
    clean_accuracy, noisy_accuracy = (train_cohort(one, replicas)[0].accuracy for one in (plan, noisy))
    assert clean_accuracy is not None
    assert noisy_accuracy is not None
    assert clean_accuracy > 0.9 > 0.6 > noisy_accuracy
