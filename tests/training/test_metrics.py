"""Metrics against scikit-learn and torchmetrics, and by hand."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise

import numpy
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torchmetrics.functional import classification as of_classes
from torchmetrics.functional import segmentation as of_masks

from lossforge.losses.heads import HEADS
from lossforge.training.metrics import (
    chance_score,
    classification_metrics,
    metrics_of_training_part,
    segmentation_metrics,
)

Samples = tuple[torch.Tensor, torch.Tensor]
"""Logits ``(N, C)`` and class indices ``(N,)``."""
CLASSES = st.integers(2, 9)


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


@st.composite
def samples(draw: st.DrawFn, classes: st.SearchStrategy[int] = CLASSES, tied: bool = True) -> Samples:
    """Random ones, with classes that are absent from target or prediction, equal logits, and one class alone."""
    count, of = draw(st.integers(1, 40)), draw(classes)
    among = st.lists(st.integers(0, of - 1), min_size=1, max_size=of, unique=True)
    true, guessed = draw(among), draw(among)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def drawn(names: list[int]) -> torch.Tensor:
        return torch.tensor(names)[torch.randint(len(names), (count,), generator=generator)]

    logits = torch.randn(count, of, generator=generator)
    if tied and draw(st.booleans()):
        logits = logits.round()
    logits[:, [c for c in range(of) if c not in guessed]] -= 100
    return logits, drawn(true)


@settings(deadline=None, max_examples=100)
@given(samples())
def test_every_figure_is_scikit_learns_and_torchmetrics(drawn: Samples) -> None:
    logits, target = drawn
    classes, predicted = logits.shape[1], logits.argmax(1)
    true, guessed = target.numpy(), predicted.numpy()
    found = classification_metrics(logits, target)
    macro = {"average": "macro", "zero_division": 0}
    scikit_learns = {
        "accuracy": reference.accuracy_score(true, guessed),
        "precision": reference.precision_score(true, guessed, **macro),
        "recall": reference.recall_score(true, guessed, **macro),
        "f1": reference.f1_score(true, guessed, **macro),
    }
    torchmetrics_ = {
        "accuracy": of_classes.multiclass_accuracy(logits, target, classes, average="micro"),
        "precision": of_classes.multiclass_precision(logits, target, classes),
        "recall": of_classes.multiclass_recall(logits, target, classes),
        "f1": of_classes.multiclass_f1_score(logits, target, classes),
    }
    for name, value in scikit_learns.items():
        assert found[name] == pytest.approx(value, abs=2e-6), name
        assert found[name] == pytest.approx(float(torchmetrics_[name]), abs=2e-6), name
    masks = segmentation_metrics(logits, target)
    assert masks["accuracy"] == found["accuracy"]
    assert masks["balanced_accuracy"] == found["balanced_accuracy"]
    for name, value, other in (
        ("mean_iou", reference.jaccard_score(true, guessed, **macro), of_classes.multiclass_jaccard_index),
        ("dice", reference.f1_score(true, guessed, **macro), of_classes.multiclass_f1_score),
    ):
        assert masks[name] == pytest.approx(value, abs=2e-6)
        assert masks[name] == pytest.approx(float(other(logits, target, classes)), abs=2e-6)
    whole = {"num_classes": classes, "input_format": "index", "average": "macro", "aggregation_level": "global"}
    overall = of_masks.dice_score(predicted[:, None], target[:, None], **whole)
    assert masks["dice"] == pytest.approx(float(overall), abs=2e-6)


@settings(deadline=None, max_examples=100)
@given(samples())
def test_balanced_accuracy_is_scikit_learns_and_torchmetrics_where_no_class_is_predicted_only(drawn: Samples) -> None:
    logits, target = drawn
    predicted, found = logits.argmax(1), classification_metrics(logits, target)["balanced_accuracy"]
    invented = sorted(set(predicted.tolist()) - set(target.tolist()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true", UserWarning)
        warnings.filterwarnings("ignore", "A single label was found", UserWarning)
        assert found == pytest.approx(reference.balanced_accuracy_score(target.numpy(), predicted.numpy()), abs=2e-6)
    theirs = float(of_classes.multiclass_accuracy(logits, target, logits.shape[1], average="macro"))
    occurring = len(set(target.tolist()))
    # torchmetrics counts each class that is predicted only as one more, of recall 0.
    assert found * occurring / (occurring + len(invented)) == pytest.approx(theirs, abs=2e-6)


@settings(deadline=None, max_examples=100)
@given(samples(st.integers(6, 12)))
def test_of_equal_logits_the_lowest_class_is_the_first_in_the_top_5(drawn: Samples) -> None:
    logits, target = drawn
    classes = logits.shape[1]
    # scikit-learn takes the highest class first: with the classes turned round that is the lowest.
    theirs = reference.top_k_accuracy_score(
        (classes - 1 - target).numpy(), logits.flip(1).numpy(), k=5, labels=range(classes)
    )
    assert classification_metrics(logits, target)["top5_accuracy"] == pytest.approx(theirs, abs=2e-6)


@settings(deadline=None, max_examples=100)
@given(samples(st.integers(6, 12), tied=False))
def test_without_ties_the_top_5_is_torchmetrics_and_scikit_learns(drawn: Samples) -> None:
    logits, target = drawn
    assume(all(len(set(row)) == len(row) for row in logits.tolist()))
    classes, found = logits.shape[1], classification_metrics(logits, target)["top5_accuracy"]
    named = {"k": 5, "labels": range(classes)}
    assert found == pytest.approx(reference.top_k_accuracy_score(target.numpy(), logits.numpy(), **named), abs=2e-6)
    theirs = of_classes.multiclass_accuracy(logits, target, classes, average="micro", top_k=5)
    assert found == pytest.approx(float(theirs), abs=2e-6)


def test_a_class_that_is_predicted_and_never_true_lowers_precision_and_f1() -> None:
    target = torch.tensor([0, 0, 1, 1])
    logits = torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 1]), 4).float()
    found = classification_metrics(logits, target)
    assert found["f1"] == pytest.approx((2 / 3 + 1 + 0) / 3, abs=1e-6)  # and not (2 / 3 + 1) / 2 = 0.833
    assert found["precision"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["recall"] == pytest.approx(0.5, abs=1e-6)
    assert found["balanced_accuracy"] == 0.75


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16])
def test_targets_of_every_integer_type_count_alike(dtype: torch.dtype) -> None:
    logits, target = batch(100, samples=500)
    for figures in (classification_metrics, segmentation_metrics):
        assert figures(logits, target.to(dtype)) == figures(logits, target)


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
def test_calibration_and_confusion_are_torchmetrics(present: int) -> None:
    logits, target = batch(10, present=present)
    found, y_pred = classification_metrics(logits, target), torch.softmax(logits, 1)
    assert found["calibration_error"] == pytest.approx(
        float(of_classes.multiclass_calibration_error(y_pred, target, 10, n_bins=15)), abs=1e-5
    )
    assert found["confusion_matrix"] == of_classes.multiclass_confusion_matrix(y_pred, target, 10).tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_guessing_scores_what_is_called_chance_and_no_constant_class_more(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(classes, generator=generator) + 0.05
    target = torch.multinomial(shares, 20_000, replacement=True, generator=generator)
    counts = torch.bincount(target, minlength=classes)
    guesses = target[torch.randperm(len(target), generator=generator)]
    guessed = [
        torch.nn.functional.one_hot(one, classes).float() for one in (guesses, target.mode().values.expand(20_000))
    ]
    for names, measured in (
        (("accuracy", "balanced_accuracy", "precision", "f1"), [classification_metrics(x, target) for x in guessed]),
        (("mean_iou", "dice", "accuracy"), [segmentation_metrics(x, target) for x in guessed]),
    ):
        for name in names:
            found = max(float(one[name]) for one in measured)
            assert found == pytest.approx(chance_score(counts, name), abs=0.02)
    if classes > 5:
        order = counts.float().expand(20_000, classes)
        assert classification_metrics(order, target)["top5_accuracy"] == pytest.approx(
            chance_score(counts, "top5_accuracy"), abs=1e-6
        )


@settings(deadline=None, max_examples=30)
@given(CLASSES, st.integers(0, 1000))
def test_the_worst_class_is_scikit_learns_least_recall(classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (40,), generator=generator)
    logits = torch.randn(40, classes, generator=generator)
    found = classification_metrics(logits, target)["worst_class"]
    true = target.numpy()
    recalls = reference.recall_score(true, logits.argmax(1).numpy(), average=None, labels=numpy.unique(true))
    assert found == pytest.approx(min(recalls), abs=1e-6)


def test_the_training_part_tells_a_network_that_lives_from_one_that_does_not() -> None:
    target = torch.arange(30) % 3
    logits = torch.nn.functional.one_hot(target, 3).float()
    assert metrics_of_training_part(logits, target, HEADS["softmax"]) == {
        "train_accuracy": 1.0,
        "predicted_share": round(1 / 3, 6),
        "one_class": False,
        "dead": False,
    }
    leaning = logits + torch.tensor([2.0, 0.0, 0.0])
    found = metrics_of_training_part(leaning, target, HEADS["softmax"])
    assert found["one_class"]
    assert not found["dead"]
    assert found["train_accuracy"] == pytest.approx(1 / 3, abs=1e-6)
    still = torch.tensor([0.3, 0.1, -0.2]).expand(30, 3)
    assert metrics_of_training_part(still, target, HEADS["softmax"])["dead"]
    one = torch.full((30, 1), -5.0)
    found = metrics_of_training_part(one, target.clamp(max=1), HEADS["binary"])
    assert found == {"train_accuracy": round(1 / 3, 6), "predicted_share": 1.0, "one_class": True, "dead": True}
    labels = torch.nn.functional.one_hot(target, 3)
    found = metrics_of_training_part(logits * 2 - 1, labels, HEADS["sigmoid"])
    assert (found["train_accuracy"], found["predicted_share"]) == (1.0, round(1 / 3, 6))
