"""Losses that count overlap over a whole batch: Dice and its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge.losses.term_losses.base import TermLoss

SMALLEST_MISS = 1e-6
"""Below this the power of focal Tversky gives way to a straight line, so that its slope stays finite."""
NO_OVERLAP = (
    "it counts, class by class, the pixels on which masks overlap, and labels of whole samples have none; use bce, or "
    "a formula"
)
"""Why such losses are not for several labels a sample."""


class OverlapLoss(TermLoss):
    """Dice, Tversky and focal Tversky: (a FP + b FN) / (TP + a FP + b FN + e) for every class.

    That is one minus the Tversky index (TP + e) / (TP + a FP + b FN + e); Dice has a = b = 1/2. TP, FP and FN are soft
    counts of the head's probabilities over the whole batch and space, so the loss of a batch is not the mean of its
    samples' losses. Of several labels a sample it is for pixels alone, and a ValueError says so. Focal Tversky raises
    it to the power 1 / gamma: that is what Abraham and Khan's code computes, where the exponent 3/4 itself is called
    gamma (their figure draws 1 - index^(1 / gamma)).

    ``a`` weighs false positives and ``b`` false negatives, as in Salehi et al. 2017, who found 0.3 and 0.7
    best; Abraham and Khan swap the two letters and use the same values, with gamma = 4/3.

    ``reduction``: "mean" over classes (by ``weight``: a weighted mean), "sum" over classes, or "none" for
    one value a class, shape ``(C,)``, times its weight. Samples at ``ignore_index`` enter no count. A class
    that is absent from the batch costs a FP / (a FP + e). With every sample ignored, or none there, each
    class's value is 0 and so is the gradient; "mean" is then NaN, as cross-entropy's is. The gradient is finite
    for all finite logits.
    """

    def __init__(self, call: str, values: Mapping[str, float], **arguments: Any) -> None:
        super().__init__(call, values, **arguments)
        self.a, self.b, self.e = values.get("a", 0.5), values.get("b", 0.5), values["e"]
        self.exponent = 1 / values.get("gamma", 1.0)

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``; targets are those of `DropInLoss`."""
        if self.head == "sigmoid" and input.dim() == target.dim() < 3:
            raise ValueError(f"{self.formula} is for pixels, logits (N, C, d1, ...): {NO_OVERLAP}")
        logits, y_true, kept = self.encoded(input, target)
        dim = 0 if logits.dim() == 1 else 1
        y_pred = self.behind.probabilities(logits, dim)
        if kept is not None:
            counted = kept.unsqueeze(dim)
            y_pred, y_true = torch.where(counted, y_pred, 0.0), torch.where(counted, y_true, 0.0)
        classes = y_pred.shape[dim]
        y_pred = y_pred.movedim(dim, -1).reshape(-1, classes)
        y_true = y_true.movedim(dim, -1).reshape(-1, classes)
        loss = missed(overlaps(y_pred, y_true), self.a, self.b, self.e)
        loss = loss if self.exponent == 1 else focused(loss, self.exponent)
        weight = torch.ones_like(loss) if self.weight is None else self.weight.to(logits.dtype)
        loss = loss * weight
        if self.reduction != "mean":
            return loss if self.reduction == "none" else loss.sum()
        mean = loss.sum() / weight.sum()
        if kept is None:
            return mean if len(y_true) else mean.new_full((), torch.nan) + 0 * mean
        return torch.where(kept.any(), mean, torch.nan)


def overlaps(y_pred: Tensor, y_true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft counts TP, FP and FN, each ``(..., C)``, of probabilities and targets ``(..., N, C)``."""
    return (y_pred * y_true).sum(-2), (y_pred * (1 - y_true)).sum(-2), ((1 - y_pred) * y_true).sum(-2)


def missed(counts: tuple[Tensor, Tensor, Tensor], a: float | Tensor, b: float | Tensor, e: float | Tensor) -> Tensor:
    """(a FP + b FN) / (TP + a FP + b FN + e), in [0, 1), of counts as `overlaps` gives them."""
    hit, false, left = counts
    wrong = a * false + b * left
    return wrong / (hit + wrong + e)


def focused(miss: Tensor, exponent: float | Tensor) -> Tensor:
    """``miss``, in [0, 1), to a power; a straight line below `SMALLEST_MISS`."""
    power = miss.clamp(min=SMALLEST_MISS) ** exponent
    return power * (miss / SMALLEST_MISS).clamp(max=1)
