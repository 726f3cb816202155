"""How good predictions are, beyond accuracy: figures from one confusion matrix, rounded, as plain numbers.

torchmetrics gives the same (a test compares), but importing it takes every worker process three and a half seconds.
"""

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
    classes = logits.shape[1]
    table = _confusion(logits, target)
    hits, true, predicted = table.diagonal(), table.sum(1), table.sum(0)
    occurring = true > 0
    recall = (hits / true)[occurring].mean()
    found = {
        "accuracy": hits.sum() / table.sum(),
        "balanced_accuracy": recall,
        "precision": (hits / predicted.clamp(min=1))[occurring].mean(),
        "recall": recall,
        "f1": (2 * hits / (true + predicted))[occurring].mean(),
        "negative_log_likelihood": torch.nn.functional.cross_entropy(logits.float(), target),
        "calibration_error": _calibration_error(logits, target),
    }
    if classes > 5:
        found["top5_accuracy"] = (logits.topk(5, 1).indices == target[:, None]).any(1).double().mean()
    metrics: Metrics = {name: round(float(value), _DIGITS) for name, value in found.items()}
    if classes <= _LARGEST_CONFUSION:
        metrics["confusion_matrix"] = table.long().tolist()
    return metrics


def _confusion(logits: Tensor, target: Tensor) -> Tensor:
    """Counts ``(C, C)``, a row a true class, a column a predicted one, of logits ``(N, C, ...)``."""
    classes = logits.shape[1]
    places = target.flatten() * classes + logits.argmax(1).flatten()
    return torch.bincount(places, minlength=classes**2).view(classes, classes).double()


def _calibration_error(logits: Tensor, target: Tensor) -> Tensor:
    """Expected calibration error: the mean gap between confidence and accuracy, over 15 bins of equal width."""
    confidence, predicted = torch.softmax(logits.double(), 1).max(1)
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gaps = torch.zeros(_BINS, dtype=torch.float64, device=logits.device)
    gaps.index_add_(0, bins, (predicted == target).double() - confidence)
    return gaps.abs().sum() / len(target)


def segmentation_metrics(logits: Tensor, target: Tensor) -> Metrics:
    """Figures of logits ``(N, C, H, W)``, or ``(pixels, C)``, finite, against class indices without the C.

    accuracy (of pixels) and balanced_accuracy (mean recall of the classes that occur in the target); mean_iou and dice:
    means over the classes that occur in target or prediction, of counts over all pixels; class_iou, a number a class,
    None for one that does not occur.
    """
    table = _confusion(logits, target)
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
