"""A long tail of classes: how many samples each keeps, in which parts."""

from __future__ import annotations

import pytest
import torch

from lossforge.data.datasets import load_task
from lossforge.data.examine import describe
from lossforge.data.splits import TaskData
from lossforge.evaluation.feasibility import validated_sizes
from lossforge.spaces.schema import TaskSection


def task(**keys: object) -> TaskSection:
    return TaskSection(data="digits", **keys)  # type: ignore[arg-type]


def tailed(**keys: object) -> TaskData:
    return load_task(task(**keys), "cpu")


@pytest.mark.parametrize("factor", [2, 10, 100])
def test_each_class_keeps_what_the_factor_leaves_it_of_the_largest(factor: int) -> None:
    whole, found = tailed().train.counts(10), tailed(imbalance=factor).train.counts(10)
    wanted = [min(int(whole[k]), max(1, int(int(whole.max()) * factor ** (-k / 9) + 1e-9))) for k in range(10)]
    assert found.tolist() == wanted
    assert int(found[0]) / int(found[9]) == pytest.approx(factor, rel=0.5)


def test_only_what_is_trained_on_has_a_tail() -> None:
    whole, found = tailed(), tailed(imbalance=50)
    assert torch.equal(whole.validation.x, found.validation.x)
    assert torch.equal(whole.test.x, found.test.x)
    pooled = found.pooled()
    assert len(pooled) == found.pooled_size == validated_sizes(task(imbalance=50))[0]
    counts = pooled.counts(10)
    assert int(counts[0]) / int(counts[9]) > 25
    assert int(counts[9]) < int(found.validation.counts(10)[9])


def test_which_samples_are_kept_follows_from_the_split_seed_alone() -> None:
    one, other = tailed(imbalance=20).train, tailed(imbalance=20, label_noise=0.4, noise_kind="asymmetric").train
    assert torch.equal(one.x, other.x)
    large = {sample.numpy().tobytes() for sample in tailed(imbalance=2).train.x}
    small = {sample.numpy().tobytes() for sample in one.x}
    assert small < large
    assert not torch.equal(one.x, tailed(imbalance=20, split_seed=1).train.x)


def test_no_tail_is_the_data_as_they_were() -> None:
    assert torch.equal(tailed().train.x, tailed(imbalance=1.0).train.x)
    assert tailed(imbalance=1.0).tail is None
    assert task(imbalance=1.0).identity() == task().identity()
    assert task(imbalance=5).identity() == {**task().identity(), "imbalance": 5.0}


def test_doctor_tells_of_the_tail() -> None:
    rows = [told for name, _, told in describe(tailed(imbalance=50)) if name == "labels"]
    assert rows == [
        "long tail (task.imbalance = 50): from 107 training samples of class '0' to 2 of '9'; validation and test "
        "parts are as they were"
    ]
