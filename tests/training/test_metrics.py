"""Metrics against scikit-learn, and by hand."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy
import pytest
import torch
from sklearn import metrics as reference

from lossforge.training.metrics import classification_metrics, segmentation_metrics


def batch(classes: int, samples: int = 400, present: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(classes)
    target = torch.randint(present or classes, (samples,), generator=generator)
    logits = torch.randn(samples, classes, generator=generator)
    return logits + 2 * torch.nn.functional.one_hot(target, classes) * torch.rand(
        samples, 1, generator=generator
    ), target


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_figures_are_scikit_learns(classes: int) -> None:
    logits, target = batch(classes)
    found = classification_metrics(logits, target)
    predicted, true = logits.argmax(1).numpy(), target.numpy()
    expected = {
        "accuracy": reference.accuracy_score(true, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(true, predicted),
        "precision": reference.precision_score(true, predicted, average="macro"),
        "recall": reference.recall_score(true, predicted, average="macro"),
        "f1": reference.f1_score(true, predicted, average="macro"),
        "negative_log_likelihood": reference.log_loss(true, torch.softmax(logits.double(), 1).numpy()),
    }
    assert {name: found[name] for name in expected} == {
        name: pytest.approx(value, abs=2e-6) for name, value in expected.items()
    }
    assert found["confusion_matrix"] == reference.confusion_matrix(true, predicted).tolist()
    if classes > 5:
        top = reference.top_k_accuracy_score(true, logits.numpy(), k=5)
        assert found["top5_accuracy"] == pytest.approx(top, abs=1e-6)
    assert json.loads(json.dumps(found)) == found


def test_the_calibration_error_is_the_mean_gap_of_confidence() -> None:
    logits, target = batch(10)
    confidence, predicted = torch.softmax(logits, 1).max(1)
    edges = numpy.linspace(0, 1, 16)
    error = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = float((predicted[inside] == target[inside]).float().mean() - confidence[inside].mean())
            error += float(inside.float().mean()) * abs(gap)
    assert classification_metrics(logits, target)["calibration_error"] == pytest.approx(error, abs=1e-5)


def test_a_class_that_does_not_occur_is_in_no_mean() -> None:
    logits, target = batch(10, present=7)
    found = classification_metrics(logits, target)
    recall = reference.recall_score(target.numpy(), logits.argmax(1).numpy(), average=None, labels=range(7))
    assert found["recall"] == pytest.approx(recall.mean(), abs=1e-6)


def test_many_classes_have_no_confusion_matrix() -> None:
    assert "confusion_matrix" not in classification_metrics(*batch(101))


def test_masks_are_compared_by_counts_over_all_pixels() -> None:
    target = torch.tensor([[[0, 0], [1, 1]], [[0, 0], [0, 1]]])
    predicted = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])
    logits = torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float()
    found = segmentation_metrics(logits, target)
    # Class 0: 4 of 6; class 1: 2 of 4; class 2 does not occur.
    assert found["mean_iou"] == pytest.approx((4 / 6 + 2 / 4) / 2, abs=1e-6)
    assert found["dice"] == pytest.approx((8 / 10 + 4 / 6) / 2, abs=1e-6)
    assert found["accuracy"] == 0.75
    # Recall: 4 of 5 pixels of class 0, 2 of 3 of class 1.
    assert found["balanced_accuracy"] == pytest.approx((4 / 5 + 2 / 3) / 2, abs=1e-6)
    assert found["class_iou"] == [pytest.approx(4 / 6, abs=1e-6), pytest.approx(2 / 4, abs=1e-6), None]
    assert json.loads(json.dumps(found)) == found


def test_an_answer_without_cracks_is_accurate_and_worth_little() -> None:
    target = torch.zeros(1000, dtype=torch.int64)
    target[:20] = 1
    logits = torch.tensor([1.0, 0.0]).expand(1000, 2)
    found = segmentation_metrics(logits, target)
    assert (found["accuracy"], found["mean_iou"], found["balanced_accuracy"]) == (0.98, 0.49, 0.5)


@pytest.mark.parametrize("present", [4, 10])
def test_figures_are_torchmetrics(present: int) -> None:
    from torchmetrics.functional import classification as of

    logits, target = batch(10, present=present)
    found, y_pred = classification_metrics(logits, target), torch.softmax(logits, 1)
    occurring = torch.bincount(target, minlength=10) > 0
    for name, figure in (
        ("precision", of.multiclass_precision),
        ("recall", of.multiclass_recall),
        ("f1", of.multiclass_f1_score),
    ):
        of_classes = figure(y_pred, target, 10, average="none")
        assert found[name] == pytest.approx(float(of_classes[occurring].mean()), abs=1e-6)
    assert found["calibration_error"] == pytest.approx(
        float(of.multiclass_calibration_error(y_pred, target, 10, n_bins=15)), abs=1e-5
    )
    assert found["confusion_matrix"] == of.multiclass_confusion_matrix(y_pred, target, 10).tolist()
