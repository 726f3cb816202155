"""How good predictions are, beyond accuracy: torchmetrics' figures, rounded, as plain numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Metrics = dict[str, Any]
"""Name to number (or, for the confusion matrix and the training curve, lists of numbers)."""

_DIGITS = 6
_BINS = 15
"""Bins of the calibration error (Guo et al. 2017, arXiv 1706.04599)."""
_LARGEST_CONFUSION = 100
"""Classes beyond which no confusion matrix is kept: it would be most of the ledger."""


def classification_metrics(logits: Tensor, target: Tensor) -> Metrics:
    """Figures of logits ``(N, C)``, finite, against class indices ``(N,)``.

    accuracy, top5_accuracy (where C > 5), and over the classes that occur balanced_accuracy (mean recall), precision,
    recall and f1 (means of classes); negative_log_likelihood in nats; calibration_error (expected, 15 bins, in [0, 1]);
    confusion_matrix, row by true class, for up to 100 classes.
    """
    from torchmetrics.functional import classification as of

    classes = logits.shape[1]
    y_pred = torch.softmax(logits.float(), 1)
    occurring = torch.bincount(target, minlength=classes) > 0

    def mean(values: Tensor) -> Tensor:
        return values[occurring].mean()

    recall = mean(of.multiclass_recall(y_pred, target, classes, average="none"))
    found = {
        "accuracy": of.multiclass_accuracy(y_pred, target, classes, average="micro"),
        "balanced_accuracy": recall,
        "precision": mean(of.multiclass_precision(y_pred, target, classes, average="none")),
        "recall": recall,
        "f1": mean(of.multiclass_f1_score(y_pred, target, classes, average="none")),
        "negative_log_likelihood": torch.nn.functional.cross_entropy(logits.float(), target),
        "calibration_error": of.multiclass_calibration_error(y_pred, target, classes, n_bins=_BINS),
    }
    if classes > 5:
        found["top5_accuracy"] = of.multiclass_accuracy(y_pred, target, classes, average="micro", top_k=5)
    metrics: Metrics = {name: round(float(value), _DIGITS) for name, value in found.items()}
    if classes <= _LARGEST_CONFUSION:
        metrics["confusion_matrix"] = of.multiclass_confusion_matrix(y_pred, target, classes).tolist()
    return metrics


def segmentation_metrics(logits: Tensor, target: Tensor) -> Metrics:
    """Figures of logits ``(N, C, H, W)``, or ``(pixels, C)``, finite, against class indices without the C.

    accuracy (of pixels) and balanced_accuracy (mean recall of the classes that occur in the target); mean_iou and dice:
    means over the classes that occur in target or prediction, of counts over all pixels; class_iou, a number a class,
    None for one that does not occur.
    """
    from torchmetrics.functional import classification as of

    classes = logits.shape[1]
    table = of.multiclass_confusion_matrix(logits.argmax(1).flatten(), target.flatten(), classes).double()
    hits, true, predicted = table.diagonal(), table.sum(1), table.sum(0)
    occurring = true + predicted > 0
    iou = hits[occurring] / (true + predicted - hits)[occurring]
    dice = 2 * hits[occurring] / (true + predicted)[occurring]
    found = {
        "accuracy": hits.sum() / table.sum(),
        "balanced_accuracy": (hits[true > 0] / true[true > 0]).mean(),
        "mean_iou": iou.mean(),
        "dice": dice.mean(),
    }
    metrics: Metrics = {name: round(float(value), _DIGITS) for name, value in found.items()}
    known = iter(iou.tolist())
    metrics["class_iou"] = [round(next(known), _DIGITS) if occurs else None for occurs in occurring.tolist()]
    return metrics
