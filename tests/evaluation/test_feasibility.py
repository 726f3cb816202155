"""What one test sample is worth in a task's metric."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from lossforge.data.datasets import load_task
from lossforge.evaluation.feasibility import resolution
from lossforge.spaces.schema import TaskSection
from lossforge.training.metrics import classification_metrics


def test_of_an_accuracy_it_is_a_share_of_the_test_part() -> None:
    task = TaskSection(data="digits")
    assert resolution(task) == pytest.approx(1 / len(load_task(task, "cpu").test))


@pytest.fixture
def uneven(tmp_path: Path) -> str:
    """Twelve samples of class 0 and of class 1, and four of class 2, for training and for the test."""
    y = numpy.repeat([0, 1, 2], [120, 120, 40])
    x = numpy.random.default_rng(0).integers(0, 256, (280, 4, 4)).astype(numpy.uint8)
    path = tmp_path / "uneven.npz"
    numpy.savez(path, x_train=x, y_train=y, x_test=x[::10], y_test=y[::10])
    return f"npz:{path}"


def test_of_a_mean_over_classes_it_is_a_sample_of_the_rarest(uneven: str) -> None:
    import torch

    assert resolution(TaskSection(data=uneven, train=200, validation=50)) == pytest.approx(1 / 28)
    for metric in ("balanced_accuracy", "f1", "precision"):
        found = resolution(TaskSection(data=uneven, train=200, validation=50, metric=metric))
        assert found == pytest.approx(1 / (3 * 4))
    # That is how far one more mistake there moves balanced accuracy.
    target = load_task(TaskSection(data=uneven, train=200, validation=50), "cpu").test.y
    right = torch.nn.functional.one_hot(target, 3).float()
    wrong = right.clone()
    wrong[int((target == 2).nonzero()[0])] = torch.tensor([1.0, 0.0, 0.0])
    values = [classification_metrics(logits, target)["balanced_accuracy"] for logits in (right, wrong)]
    assert values[0] - values[1] == pytest.approx(1 / 12, abs=1e-6)


def test_of_a_training_of_ones_own_nobody_knows_it() -> None:
    assert resolution(TaskSection(python="somewhere:train", classes=3)) == 0
