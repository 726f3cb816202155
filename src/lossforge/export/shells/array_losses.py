"""From logits and targets to a loss, on arrays of numpy or jax; shipped with every export to them.

Classes lie along axis 1 of the logits, as in torch: ``(N, C)`` or ``(N, C, d1, ...)``; inside they are the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lossforge.export.shells.numpy_dialect import _one_hot, _sigmoid

LEAST_LOG = -1e5
"""Least value of log(y_pred)."""


class Leaves(NamedTuple):
    """What a formula reads, with classes along the last axis; the last three are numbers or arrays that broadcast."""

    y_pred: Any
    y_true: Any
    log_y_pred: Any
    logit: Any
    n_classes: Any
    progress: Any
    class_share: Any


class Loss(NamedTuple):
    """One loss: its function of `Leaves`, its gradient's, and what it was validated with."""

    name: str
    function: Callable[[Leaves], Any]
    gradient: Callable[[Leaves], Any] | None
    scale: float
    head: str
    smoothing: float
    of_sample: bool
    class_mean: bool
    needs: tuple[str, ...]


def _columns(logits: Any, head: str) -> Any:
    """Logits with their classes last; of one logit of class 1 there are two, -z and z."""
    logits = np.moveaxis(np.asarray(logits), 1, -1)
    if head != "binary":
        return logits
    if logits.shape[-1] != 1:
        raise ValueError(f"the head binary has one logit a sample, (N, 1), not {logits.shape[-1]}")
    return np.concatenate([-logits, logits], -1)


def _log_probabilities(columns: Any, head: str) -> Any:
    if head == "softmax":
        shifted = columns - np.max(columns, axis=-1, keepdims=True)
        found = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    else:
        found = np.minimum(columns, 0.0) - np.log1p(np.exp(-np.abs(columns)))
    return np.where(found >= LEAST_LOG, found, LEAST_LOG)


def _targets(columns: Any, target: Any, head: str, ignore_index: int) -> tuple[Any, Any]:
    """``y_true`` in the shape of the columns, and which samples count (None: all)."""
    target = np.asarray(target)
    classes = columns.shape[-1]
    if target.ndim == columns.ndim - 1:  # class indices
        kept = target != ignore_index
        return _one_hot(np.where(kept, target, 0).astype(int), classes), kept
    y_true = np.moveaxis(target, 1, -1) * 1.0
    return (np.concatenate([1.0 - y_true, y_true], -1), None) if head == "binary" else (y_true, None)


def _leaves(
    loss: Loss, logits: Any, target: Any, ignore_index: int, label_smoothing: float | None, progress: Any, shares: Any
) -> tuple[Leaves, Any]:
    columns = _columns(logits, loss.head)
    for name, value in (("progress", progress), ("class_share", shares)):
        if name in loss.needs and value is None:
            raise ValueError(f"{loss.name} depends on {name}: give it")
    y_true, kept = _targets(columns, target, loss.head, ignore_index)
    classes = columns.shape[-1]
    smoothing = loss.smoothing if label_smoothing is None else label_smoothing
    if smoothing:
        y_true = y_true * (1 - smoothing) + smoothing / (2 if loss.head == "sigmoid" else classes)
    log_y_pred = _log_probabilities(columns, loss.head)
    y_pred = _sigmoid(columns) if loss.head == "sigmoid" else np.exp(log_y_pred)
    logit = np.clip(columns, LEAST_LOG, -LEAST_LOG)
    share = 0.0 if shares is None else np.asarray(shares)
    return Leaves(y_pred, y_true, log_y_pred, logit, float(classes), 0.0 if progress is None else progress, share), kept


def value(
    loss: Loss,
    logits: Any,
    target: Any,
    *,
    reduction: str = "mean",
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float | None = None,
    progress: Any = None,
    class_share: Any = None,
) -> Any:
    """The loss of logits ``(N, C)`` or ``(N, C, d1, ...)``, as torch's class of the same name has it.

    ``target`` holds class indices ``(N,)`` or ``(N, d1, ...)``, or probabilities in the logits' shape; ``weight`` one
    number a class ``(C,)``; ``reduction`` is "mean", "sum" or "none".
    """
    leaves, kept = _leaves(loss, logits, target, ignore_index, label_smoothing, progress, class_share)
    each = loss.function(leaves) + 0.0 * leaves.y_pred
    if loss.of_sample:
        each = each[..., :1]
    if weight is not None:
        weight = np.asarray(weight)
        each = each * (np.sum(weight * leaves.y_true, axis=-1, keepdims=True) if loss.of_sample else weight)
    each = np.sum(each, axis=-1)
    if loss.class_mean and not loss.of_sample:
        each = each / leaves.n_classes
    each = loss.scale * each
    if kept is not None:
        each = np.where(kept, each, 0.0)
    if reduction == "none":
        return each
    if reduction == "sum":
        return np.sum(each)
    if kept is None:
        return np.mean(each)
    if weight is None or loss.head == "sigmoid":
        return np.sum(each) / np.sum(kept)
    return np.sum(each) / np.sum(weight[np.where(kept, target, 0).astype(int)] * kept)


def gradient(
    loss: Loss,
    logits: Any,
    target: Any,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float | None = None,
    progress: Any = None,
    class_share: Any = None,
) -> Any:
    """The gradient of `value` on the logits, in their shape, in closed form; class weights have none here."""
    if loss.gradient is None:
        raise ValueError(f"{loss.name}: differentiate its value with jax.grad")
    leaves, kept = _leaves(loss, logits, target, ignore_index, label_smoothing, progress, class_share)
    g = loss.gradient(leaves) + 0.0 * leaves.y_pred
    if loss.head != "sigmoid":
        g = g - leaves.y_pred * np.sum(g, axis=-1, keepdims=True)
    if loss.head == "binary":
        g = g[..., 1:]
    if loss.class_mean and not loss.of_sample:
        g = g / leaves.n_classes
    g = loss.scale * g
    if kept is not None:
        g = np.where(kept[..., None], g, 0.0)
    if reduction == "mean":
        g = g / (np.prod(np.asarray(g.shape[:-1])) if kept is None else np.sum(kept))
    return np.moveaxis(g, -1, 1)
