"""The shell around an elementwise loss that makes it a drop-in for ``nn.CrossEntropyLoss``.

This file needs torch alone and is shipped word for word at the head of every export, so what was
searched and what is exported are one text.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

LEAST_LOG = -1e5
"""Least value of log(y_pred)."""


class DropInLoss(nn.Module):
    """An elementwise loss f(y_pred, y_true) over classes, called like ``nn.CrossEntropyLoss``.

    The logits become ``y_pred`` by softmax over classes, the target becomes ``y_true`` (one-hot, or the
    probabilities given), f is summed over classes (``class_mean=True``: averaged), and the samples are
    reduced. ``weight`` multiplies the class's term of the sum, and the mean over samples with class
    indices is divided by the weights of their classes: for -y_true * log(y_pred) that is what
    ``nn.CrossEntropyLoss`` does in every case. float16 and bfloat16 logits are computed in float32.

    Args:
        weight: shape ``(C,)``, or None.
        ignore_index: class index whose samples do not count (class-index targets only).
        reduction: "mean", "sum" or "none".
        label_smoothing: in [0, 1]; mixes the target with 1/C.
    """

    weight: Tensor | None
    class_mean = False
    uses_log = True

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1], not {label_smoothing!r}")
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def elementwise_function(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The function ``(y_pred, y_true, log_y_pred) -> loss``; each loss has its own."""
        raise TypeError(f"{type(self).__name__} has no formula; use one of its subclasses")

    def encoded(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits in float32 or wider, ``y_true`` in their shape, and which samples count (None: all)."""
        check_input(input, target, self.weight)
        logits = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        dim = 0 if logits.dim() == 1 else 1
        classes = logits.shape[dim]
        kept: Tensor | None = None
        if target.is_floating_point():
            y_true = target.to(logits.dtype)
        else:
            indices = class_indices(target, classes, self.ignore_index)
            kept = indices != self.ignore_index
            y_true = torch.zeros_like(logits).scatter(dim, indices.where(kept, 0).unsqueeze(dim), 1.0)
        if self.label_smoothing > 0:
            y_true = y_true * (1 - self.label_smoothing) + self.label_smoothing / classes
        return logits, y_true, kept

    def class_terms(self, logits: Tensor, y_true: Tensor, dim: int) -> Tensor:
        """The loss of every sample and class, in the shape of ``logits``, whose classes lie along ``dim``."""
        if self.uses_log:
            # Held where 0 * log(y_pred) is still 0: a masked class has the logit -inf.
            log_y_pred = torch.log_softmax(logits, dim).clamp(min=LEAST_LOG)
            y_pred = log_y_pred.exp()
        else:
            y_pred = torch.softmax(logits, dim)
            log_y_pred = y_pred
        return self.elementwise_function()(y_pred, y_true, log_y_pred)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``.

        ``target`` holds class indices, ``(N,)``, ``(N, d1, ...)`` or ``()``, of any integer type (of two classes
        also bool), or probabilities in the shape of the logits. With no sample that counts, "mean" is NaN and its
        gradient 0, as torch has it. Raises ValueError for shapes, types or indices that do not fit.
        """
        logits, y_true, kept = self.encoded(input, target)
        dim = 0 if logits.dim() == 1 else 1
        loss = self.class_terms(logits, y_true, dim)
        if self.weight is not None:
            loss = loss * self.class_weight(logits)
        return self.reduced(loss.sum(dim), logits, target, kept)

    def class_weight(self, logits: Tensor) -> Tensor:
        """``weight`` in a shape that broadcasts to the logits."""
        assert self.weight is not None
        return self.weight.to(logits.dtype).view([-1] + [1] * max(0, logits.dim() - 2))

    def reduced(self, loss: Tensor, logits: Tensor, target: Tensor, kept: Tensor | None) -> Tensor:
        """The losses of the samples, summed over classes, by ``reduction``; those not kept do not count."""
        if self.class_mean:
            loss = loss / logits.shape[0 if logits.dim() == 1 else 1]
        if kept is not None:
            loss = torch.where(kept, loss, torch.zeros_like(loss))
        if self.reduction == "none":
            return loss
        if self.reduction == "sum":
            return loss.sum()
        if kept is None:
            return loss.mean()
        if self.weight is None:
            return loss.sum() / kept.sum()
        indices = target.long().where(kept, 0)
        return loss.sum() / (self.weight.to(logits.dtype)[indices] * kept).sum()


def class_indices(target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Class indices as int64. Raises ValueError where one is neither in [0, classes) nor ``ignore_index``.

    They are widened before they are compared with anything: in uint8, -100 is 156. Values are looked at on a CPU
    alone; elsewhere torch's own check of an index tells.
    """
    indices = target.long()
    if target.dtype == torch.uint64:
        indices = indices.masked_fill(indices < 0, torch.iinfo(torch.int64).max)  # beyond int64, and no -100
    if torch.compiler.is_compiling() or indices.device.type != "cpu" or indices.numel() == 0:
        return indices
    try:
        low, high = (int(end) for end in indices.aminmax())
    except RuntimeError:  # torch.func.vmap, or tensors without values
        return indices
    if low < 0 or high >= classes:
        outside = indices[((indices < 0) | (indices >= classes)) & (indices != ignore_index)]
        if outside.numel():
            raise ValueError(
                f"class indices must be in [0, {classes}), or ignore_index = {ignore_index} for what does not count, "
                f"but one is {int(outside[0])}"
            )
    return indices


def check_input(logits: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raise ValueError, with what was expected, for shapes or types that do not fit."""
    if not logits.is_floating_point() or logits.dim() < 1:
        raise ValueError(f"logits must be floating point, (N, C) or (N, C, d1, ...), not {_seen(logits)}")
    dim = 0 if logits.dim() == 1 else 1
    if target.is_floating_point():
        if target.shape != logits.shape:
            raise ValueError(f"probabilities must have the logits' shape {tuple(logits.shape)}, not {_seen(target)}")
    else:
        expected = logits.shape[:dim] + logits.shape[dim + 1 :]
        # True and false are two classes; where there are more, they are likelier a class's own mask.
        unclear = target.dtype == torch.bool and logits.shape[dim] != 2
        if unclear or target.is_complex() or target.shape != expected:
            raise ValueError(f"class indices must be integers of shape {tuple(expected)}, not {_seen(target)}")
    if weight is not None and weight.shape != (logits.shape[dim],):
        raise ValueError(f"weight must have shape ({logits.shape[dim]},), not {tuple(weight.shape)}")


def _seen(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
