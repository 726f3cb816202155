"""How good predictions are, beyond accuracy: figures from one confusion matrix, rounded, as plain numbers.

torchmetrics and scikit-learn give the same (tests compare), but importing torchmetrics takes every worker process
three and a half seconds. Where the two differ:

- **balanced_accuracy** is scikit-learn's, which names it: the mean recall of the classes that occur in the target.
  torchmetrics (``multiclass_accuracy``, macro) counts a class that is predicted only as a recall of 0; a recall of
  nothing has no value, and the mistake is in the recall of the true class already. ``recall`` itself is both
  libraries' macro recall, with that 0.
- **Ties**: the lowest class among equal logits comes first, in accuracy as in top5_accuracy. For the first place both
  libraries do so too; in the top 5 scikit-learn takes the highest class, and torchmetrics what a sort leaves there.
- **mean_iou** and **dice** are of counts over all pixels, as scikit-learn's jaccard_score and f1_score and
  torchmetrics' ``multiclass_jaccard_index`` and ``dice_score(aggregation_level="global")`` are. Those in
  ``torchmetrics.segmentation`` that average over images give an image without a class another weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lossforge.losses.heads import SOFTMAX, Head
from lossforge.losses.targets import one_hot
from lossforge.spaces.task_section import OF_LABELS
from lossforge.training.calibration import calibration_error, scaled_metrics
from lossforge.training.label_metrics import chance_of_labels, label_metrics

Metrics = dict[str, Any]
"""Name to number; to lists for the confusion matrix and the curve, and see `lossforge.training.correctness`."""

_DIGITS = 6
_ROUNDING = 1e-6
"""Share of a logit that rows of one matrix product may differ by, though they are of equal samples."""
_LARGEST_CONFUSION = 100
"""Classes beyond which no confusion matrix is kept: it would be most of the ledger."""


def metrics_of(logits: Tensor, target: Tensor, head: Head = SOFTMAX) -> Metrics:
    """Figures of a head's logits ``(N, outputs)``, finite, against class indices ``(N,)`` or labels ``(N, C)``.

    Behind sigmoids each class of those indices is a label too, of which the others are the rest.
    """
    if target.ndim == 2:
        likelihood = head.cross_entropy(logits.float(), target.float(), reduction="mean")
        return {**label_metrics(logits, target), "negative_log_likelihood": round(float(likelihood), _DIGITS)}
    metrics = classification_metrics(logits, target, head)
    if head.name == "sigmoid":
        metrics |= label_metrics(logits, one_hot(target.long(), logits, 1))
    return metrics


def metrics_of_test_part(logits: Tensor, target: Tensor, head: Head = SOFTMAX) -> Metrics:
    """`metrics_of` a test part, and what is left of its miscalibration with the temperature set; see `scaled_metrics`.

    The latter of one class a sample, behind a softmax or the head of one logit.
    """
    scaled = scaled_metrics(logits, target, head) if target.ndim == 1 and head.name != "sigmoid" else {}
    return {**metrics_of(logits, target, head), **scaled}


def metrics_of_training_part(logits: Tensor, target: Tensor, head: Head = SOFTMAX) -> Metrics:
    """How a network does on what it was trained on: logits ``(N, outputs)``, finite, classes ``(N,)`` as they are true.

    train_accuracy; predicted_share, of the class that is predicted most; one_class, whether it is the only one; dead,
    whether the logits are the same for every sample (within rounding), as where no unit of a hidden layer is alive.
    Of labels ``(N, C)`` a prediction is right where all are, and its kind is all of them.
    """
    if target.ndim == 2:
        predicted, right = logits > 0, ((logits > 0) == target.bool()).all(1)
    else:
        predicted = head.predicted(logits, -1)
        right = predicted == target
    counts = torch.unique(predicted, dim=0, return_counts=True)[1]
    spread = logits.amax(0) - logits.amin(0)
    return {
        "train_accuracy": round(float(right.double().mean()), _DIGITS),
        "predicted_share": round(int(counts.max()) / len(target), _DIGITS),
        "one_class": len(counts) == 1,
        "dead": bool((spread <= _ROUNDING * (1 + logits.abs().amax())).all()),
    }


def classification_metrics(logits: Tensor, target: Tensor, head: Head = SOFTMAX) -> Metrics:
    """Figures of a head's logits ``(N, outputs)``, finite, against class indices ``(N,)``, N at least 1.

    accuracy, top5_accuracy (where C > 5); balanced_accuracy and worst_class (mean, and least, recall of the classes in
    the target); precision, recall and f1, means over the classes that occur in target or prediction, 0 where one is
    never predicted, or never true; negative_log_likelihood in nats; calibration_error (expected, 15 bins, in [0, 1]);
    confusion_matrix, row by true class, for up to 100 classes.
    """
    outputs, target = logits, target.long()
    logits = head.scores(outputs, 1)
    classes = logits.shape[1]
    table = _confusion(logits, target)
    hits, true, predicted = table.diagonal(), table.sum(1), table.sum(0)
    occurring = true + predicted > 0
    found = {
        "accuracy": hits.sum() / table.sum(),
        "balanced_accuracy": (hits / true)[true > 0].mean(),
        "worst_class": (hits / true)[true > 0].min(),
        "precision": (hits / predicted.clamp(min=1))[occurring].mean(),
        "recall": (hits / true.clamp(min=1))[occurring].mean(),
        "f1": (2 * hits / (true + predicted))[occurring].mean(),
        "negative_log_likelihood": head.cross_entropy(outputs.float(), target, reduction="mean"),
        "calibration_error": calibration_error(head.probabilities(outputs.double(), 1), target),
    }
    if classes > 5:
        found["top5_accuracy"] = (_places(logits, target) < 5).double().mean()
    metrics: Metrics = {name: round(float(value), _DIGITS) for name, value in found.items()}
    if classes <= _LARGEST_CONFUSION:
        metrics["confusion_matrix"] = table.long().tolist()
    return metrics


def _confusion(logits: Tensor, target: Tensor) -> Tensor:
    """Counts ``(C, C)``, a row a true class, a column a predicted one, of logits ``(N, C, ...)``."""
    classes = logits.shape[1]
    places = target.flatten().long() * classes + logits.argmax(1).flatten()
    return torch.bincount(places, minlength=classes**2).view(classes, classes).double()


def _places(logits: Tensor, target: Tensor) -> Tensor:
    """Place ``(N,)`` of the true class in the order of logits ``(N, C)``, 0 for the largest; equal ones by number."""
    own, classes = logits.gather(1, target[:, None]), torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (classes < target[:, None]))
    return ahead.sum(1)


def segmentation_metrics(logits: Tensor, target: Tensor, head: Head = SOFTMAX) -> Metrics:
    """Figures of a head's logits ``(N, C, H, W)``, or ``(pixels, C)``, finite, against class indices without the C.

    accuracy (of pixels) and balanced_accuracy (mean recall of the classes that occur in the target); mean_iou and dice:
    means over the classes that occur in target or prediction, of counts over all pixels; class_iou, a number a class,
    None for one that does not occur; confusion_matrix of pixels, row by true class, for up to 100 classes.
    """
    table = _confusion(head.scores(logits, 1), target)
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
    if len(table) <= _LARGEST_CONFUSION:
        metrics["confusion_matrix"] = table.long().tolist()
    return metrics


def chance_score(counts: Tensor, metric: str, samples: int = 0) -> float:
    """The best expected score of predictions that know nothing of a sample, for ``counts`` ``(C,)`` of true classes.

    In the metrics of several labels ``counts`` are those of ``samples`` that have each.

    They are always the commonest class (or in top5_accuracy the five commonest), or drawn as often as the classes
    occur: the means over classes of precision, F1 and Dice are then those of the shares p, and of intersection over
    union p² / (2 p - p²).
    """
    if metric in OF_LABELS:
        return chance_of_labels(counts, metric, samples)
    shares = (counts[counts > 0] / counts.sum()).double().sort(descending=True).values
    if metric == "accuracy":
        return float(shares[0])
    if metric == "top5_accuracy":
        return float(shares[:5].sum())
    if metric == "mean_iou":
        return float(max(shares[0] / len(shares), (shares / (2 - shares)).mean()))
    return 1 / len(shares)
