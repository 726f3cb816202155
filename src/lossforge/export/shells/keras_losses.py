"""From logits and targets to a loss in Keras 3, on any of its back ends; shipped with every export to it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

LEAST_LOG = -1e5
"""Least value of log(y_pred)."""


class DiscoveredLoss(keras.losses.Loss):  # type: ignore[misc]
    """A loss on logits ``(N, ..., C)``: classes last, as Keras has them, and no softmax at the end of the model.

    ``y_true`` holds class indices ``(N, ...)`` or ``(N, ..., 1)``, or probabilities in the logits' shape. Samples of
    ``ignore_class`` do not count. Sample weights are Keras's. ``progress`` says how far the training is, from 0 to 1,
    and ``class_share`` ``(C,)`` how frequent the classes are, where a loss depends on it.
    """

    scale = 1.0
    head = "softmax"
    smoothing = 0.0
    of_sample = False
    class_mean = False
    needs: tuple[str, ...] = ()

    def __init__(
        self,
        name: str | None = None,
        reduction: str = "sum_over_batch_size",
        ignore_class: int | None = None,
        class_share: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.ignore_class = ignore_class
        self.class_share = class_share
        self.progress: Any = None

    def formula(self, leaves: dict[str, Any]) -> Any:
        """The loss of every sample and class; each loss has its own."""
        raise NotImplementedError

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses ``(N, ...)`` of the samples; ``y_pred`` are logits."""
        columns = ops.concatenate([-y_pred, y_pred], -1) if self.head == "binary" else y_pred
        classes = columns.shape[-1]
        y_true, kept = self._targets(y_true, y_pred, columns)
        if self.smoothing:
            y_true = y_true * (1 - self.smoothing) + self.smoothing / (2 if self.head == "sigmoid" else classes)
        logs = ops.log_softmax(columns, -1) if self.head == "softmax" else ops.log_sigmoid(columns)
        logs = ops.where(logs >= LEAST_LOG, logs, LEAST_LOG)  # a maximum with a number would be in single precision
        y_pred = ops.sigmoid(columns) if self.head == "sigmoid" else ops.exp(logs)
        leaves = {
            "y_pred": y_pred,
            "y_true": y_true,
            "log_y_pred": logs,
            "logit": ops.clip(columns, LEAST_LOG, -LEAST_LOG),
            "n_classes": float(classes),
            "progress": self._told("progress", self.progress),
            "class_share": self._told("class_share", self.class_share),
        }
        each = self.formula(leaves) + 0.0 * y_pred
        each = each[..., 0] if self.of_sample else ops.sum(each, axis=-1)
        if self.class_mean and not self.of_sample:
            each = each / classes
        each = self.scale * each
        return each if kept is None else ops.where(kept, each, ops.zeros_like(each))

    def _told(self, name: str, value: Any) -> Any:
        if value is None and name in self.needs:
            raise ValueError(f"{type(self).__name__} depends on {name}: set criterion.{name}")
        return 0.0 if value is None else ops.convert_to_tensor(value, dtype=self.dtype)

    def _targets(self, y_true: Any, y_pred: Any, columns: Any) -> tuple[Any, Any]:
        """``y_true`` in the shape of the columns, and which samples count (None: all)."""
        sparse = len(y_true.shape) == len(y_pred.shape) - 1
        if not sparse and y_true.shape[-1] == 1 and columns.shape[-1] > 2:
            y_true, sparse = ops.squeeze(y_true, -1), True
        if sparse:
            indices = ops.cast(y_true, "int32")
            kept = None if self.ignore_class is None else indices != self.ignore_class
            if kept is not None:
                indices = ops.where(kept, indices, ops.zeros_like(indices))
            return ops.one_hot(indices, columns.shape[-1], dtype=columns.dtype), kept
        y_true = ops.cast(y_true, columns.dtype)
        return (ops.concatenate([1.0 - y_true, y_true], -1) if self.head == "binary" else y_true), None
