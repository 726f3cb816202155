"""Heads: from a network's logits to the leaves of a loss, from targets to ``y_true``, and the way back of a gradient.

Nothing else knows how logits become probabilities. This file needs torch alone and is shipped word for word in every
export. ``dim`` is always the dimension that classes, or a network's outputs, lie along.

- **softmax**: C logits a sample, of which one class is true.
- **sigmoid**: C independent logits a sample, each for a label that is there or not: several labels, or one class
  against the rest.
- **binary**: one logit a sample, of class 1 of two. ``y_pred`` has two columns, 1 - p and p, as behind a softmax of the
  logits (0, z).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lossforge.losses.targets import (
    are_classes,
    check_weight,
    class_indices,
    dim_of,
    ends,
    is_soft,
    one_hot,
    reduced,
    seen,
)

LEAST_LOG = -1e5
"""Least value of log(y_pred)."""


class Head:
    """A softmax, and what the other heads do in another way."""

    name = "softmax"
    cross_entropy_formula = "-y_true * log(y_pred)"
    """What cross-entropy is behind it."""
    program = "softmax"
    """The head that programs are compiled for: what is one neuron is two logits to them, 0 and z."""
    means_by_weight = True
    """Whether a mean over class indices is divided by their classes' weights, as ``nn.CrossEntropyLoss`` has it."""

    def outputs(self, classes: int) -> int:
        """Logits a sample that a network has for so many classes, or labels."""
        return classes

    def classes(self, outputs: int) -> int:
        """Columns of ``y_pred`` for so many logits a sample."""
        return outputs

    def probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """``y_pred``: in [0, 1], in the logits' shape but for `classes` columns along ``dim``."""
        return torch.softmax(logits, dim)

    def log_probabilities(self, logits: Tensor, dim: int, *, in_place: bool = False) -> Tensor:
        """``log(y_pred)``, exact however large the logits are, and held at `LEAST_LOG`: a masked class has -inf.

        ``in_place`` is quicker, where nobody differentiates it.
        """
        return _held(torch.log_softmax(logits, dim), in_place)

    def logit(self, logits: Tensor) -> Tensor:
        """What the leaf ``logit`` is made of; formulas behind a softmax take it from ``log(y_pred)``."""
        return logits

    def back(self, g: Tensor, y_pred: Tensor, dim: int) -> Tensor:
        """The gradient on the logits from g, the one on ``log(y_pred)`` with the other columns held."""
        return torch.addcmul(g, y_pred, g.sum(dim, True), value=-1)

    def on_logits(self, g: Tensor, y_pred: Tensor, dim: int) -> Tensor:
        """The gradient on the logits from the g of a program, which is the one on ``log(y_pred)``."""
        return self.of_outputs(self.back(g, y_pred, dim), dim)

    def of_outputs(self, columns: Tensor, dim: int) -> Tensor:
        """Of what there is for every column, such as a gradient, that of a network's outputs."""
        return columns

    def scores(self, logits: Tensor, dim: int) -> Tensor:
        """A number for each class, larger for likelier: logits of as many columns as ``y_pred``."""
        return logits

    def predicted(self, logits: Tensor, dim: int) -> Tensor:
        """The likeliest class's index, without ``dim``; the first of equals."""
        return self.scores(logits, dim).argmax(dim)

    def check(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """Raise ValueError, with what was expected, for shapes or types that do not fit."""
        dim = dim_of(logits)
        if target.is_floating_point():
            if target.shape != logits.shape:
                shape = tuple(logits.shape)
                raise ValueError(f"probabilities must have the logits' shape {shape}, not {seen(target)}")
        else:
            expected = logits.shape[:dim] + logits.shape[dim + 1 :]
            # True and false are two classes; where there are more, they are likelier a class's own mask.
            unclear = target.dtype == torch.bool and self.classes(logits.shape[dim]) != 2
            if unclear or target.is_complex() or target.shape != expected:
                raise ValueError(f"class indices must be integers of shape {tuple(expected)}, not {seen(target)}")
        check_weight(weight, self.classes(logits.shape[dim]))

    def are_indices(self, logits: Tensor, target: Tensor) -> bool:
        """Whether targets name a class each, and are no probabilities or labels."""
        return not target.is_floating_point()

    def encoded(self, logits: Tensor, target: Tensor, dim: int, ignore_index: int) -> tuple[Tensor, Tensor | None]:
        """``y_true`` in the shape of ``y_pred``, and which samples count (None: all). ValueError for a wrong index."""
        if target.is_floating_point():
            return target.to(logits.dtype), None
        indices = class_indices(target, logits.shape[dim], ignore_index)
        kept = indices != ignore_index
        return one_hot(indices.where(kept, 0), logits, dim), kept

    def smoothed(self, y_true: Tensor, label_smoothing: float, classes: int) -> Tensor:
        """Targets mixed with those of one who knows nothing: each of the ``classes`` alike."""
        return y_true * (1 - label_smoothing) + label_smoothing / classes

    def has_own(self, target: Tensor, weight: Tensor | None, *, soft: bool) -> bool:
        """Whether `cross_entropy` is what the formula of that name is, for targets that are ``soft`` or not.

        torch's is NaN for soft targets at a logit of -inf, for 0 * log(0), and gives no gradient on weights.
        """
        return not soft and (weight is None or not weight.requires_grad)

    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        label_smoothing: float = 0.0,
        reduction: str = "none",
        weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        """Cross-entropy by torch's own functions, with what ``nn.CrossEntropyLoss`` takes.

        ``target`` holds class indices, or what else the head takes; see `has_own`.
        """
        return functional.cross_entropy(
            logits,
            class_indices(target, logits.shape[dim_of(logits)], ignore_index),
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

    def at_once(self, logits: Tensor, target: Tensor, ignore_index: int, reduction: str) -> Tensor | None:
        """`cross_entropy` in the usual case, checks included; None where one has to look closer."""
        return None

    def may_be_soft(self, target: Tensor) -> bool:
        """Whether targets may be something between 0 and 1."""
        return target.is_floating_point()

    def probe(self, logits: Tensor) -> Tensor:
        """Logits ``(N, outputs)`` of this head in place of ``(N, classes)`` of a softmax."""
        return logits


class Sigmoid(Head):
    """Independent logits: no column of ``y_pred`` depends on another's logit."""

    name = program = "sigmoid"
    cross_entropy_formula = "-y_true * log(y_pred) - (1 - y_true) * log(1 - y_pred)"
    means_by_weight = False

    def probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """See `Head.probabilities`."""
        return torch.sigmoid(logits)

    def log_probabilities(self, logits: Tensor, dim: int, *, in_place: bool = False) -> Tensor:
        """See `Head.log_probabilities`."""
        return _held(functional.logsigmoid(logits), in_place)

    def logit(self, logits: Tensor) -> Tensor:
        """Held where log(y_pred) is: log(1 - y_pred) is their difference, also at an infinite logit."""
        return logits.clamp(LEAST_LOG, -LEAST_LOG)

    def back(self, g: Tensor, y_pred: Tensor, dim: int) -> Tensor:
        """See `Head.back`."""
        return g * (1 - y_pred)

    def on_logits(self, g: Tensor, y_pred: Tensor, dim: int) -> Tensor:
        """Programs for this head give the gradient on the logits themselves."""
        return g

    def check(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """See `Head.check`; labels may be integers or bool in the logits' shape."""
        dim = dim_of(logits)
        expected = logits.shape[:dim] + logits.shape[dim + 1 :]
        indices = target.shape == expected and not target.is_floating_point() and target.dtype != torch.bool
        if target.is_complex() or not (indices or target.shape == logits.shape):
            raise ValueError(
                f"targets must be labels of 0 and 1 in the logits' shape {tuple(logits.shape)}, or class indices, "
                f"integers of shape {tuple(expected)}, not {seen(target)}"
            )
        check_weight(weight, logits.shape[dim])

    def are_indices(self, logits: Tensor, target: Tensor) -> bool:
        """See `Head.are_indices`."""
        return target.dim() < logits.dim()

    def encoded(self, logits: Tensor, target: Tensor, dim: int, ignore_index: int) -> tuple[Tensor, Tensor | None]:
        """See `Head.encoded`. ValueError for a whole label that is neither 0 nor 1, where that can be looked at."""
        if self.are_indices(logits, target):
            return super().encoded(logits, target, dim, ignore_index)
        if not target.is_floating_point() and target.dtype != torch.bool:
            low, high = ends(target)
            if low < 0 or high > 1:
                raise ValueError(f"labels must be 0 or 1, but one is {low if low < 0 else high}")
        return target.to(logits.dtype), None

    def may_be_soft(self, target: Tensor) -> bool:
        """Labels are often floats of 0 and 1; on a GPU to ask would be to wait for it."""
        return is_soft(target)

    def smoothed(self, y_true: Tensor, label_smoothing: float, classes: int) -> Tensor:
        """Each label is there or not: targets mixed with a half."""
        return super().smoothed(y_true, label_smoothing, 2)

    def has_own(self, target: Tensor, weight: Tensor | None, *, soft: bool) -> bool:
        """See `Head.has_own`."""
        return not target.requires_grad and (weight is None or not weight.requires_grad)

    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        label_smoothing: float = 0.0,
        reduction: str = "none",
        weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        """Binary cross-entropy, summed over labels; see `Head.cross_entropy`."""
        dim = dim_of(logits)
        y_true, kept = self.encoded(logits, target, dim, ignore_index)
        if label_smoothing:
            y_true = self.smoothed(y_true, label_smoothing, 2)
        held = logits.clamp(LEAST_LOG, -LEAST_LOG)  # 0 * log(0) is 0
        each = functional.binary_cross_entropy_with_logits(held, y_true, reduction="none")
        if weight is not None:
            each = each * weight.view([-1] + [1] * (logits.dim() - dim - 1))
        return reduced(each.sum(dim), kept, reduction)


class Binary(Head):
    """One logit, of class 1 of two: a softmax of (0, z)."""

    name = "binary"

    def outputs(self, classes: int) -> int:
        """One. Raises ValueError for other than two classes."""
        if classes != 2:
            raise ValueError(f"head 'binary' is for two classes, not {classes}")
        return 1

    def classes(self, outputs: int) -> int:
        """Two."""
        return 2

    def probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """See `Head.probabilities`."""
        return torch.sigmoid(torch.cat([-logits, logits], dim))

    def log_probabilities(self, logits: Tensor, dim: int, *, in_place: bool = False) -> Tensor:
        """See `Head.log_probabilities`."""
        return _held(functional.logsigmoid(torch.cat([-logits, logits], dim)), in_place)

    def of_outputs(self, columns: Tensor, dim: int) -> Tensor:
        """The second column: the first logit is always 0."""
        return columns.narrow(dim, 1, 1)

    def scores(self, logits: Tensor, dim: int) -> Tensor:
        """(0, z)."""
        return torch.cat([torch.zeros_like(logits), logits], dim)

    def check(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> None:
        """See `Head.check`; there is one logit."""
        dim = dim_of(logits)
        if logits.shape[dim] != 1:
            raise ValueError(f"the head binary has one logit a sample, (N, 1) or (N, 1, d1, ...), not {seen(logits)}")
        super().check(logits, target, weight)

    def encoded(self, logits: Tensor, target: Tensor, dim: int, ignore_index: int) -> tuple[Tensor, Tensor | None]:
        """See `Head.encoded`; probabilities are of class 1."""
        if target.is_floating_point():
            share, kept = target.to(logits.dtype), None
        else:
            indices = class_indices(target, 2, ignore_index)
            kept = indices != ignore_index
            share = indices.where(kept, 0).unsqueeze(dim).to(logits.dtype)
        return torch.cat([1 - share, share], dim), kept

    def has_own(self, target: Tensor, weight: Tensor | None, *, soft: bool) -> bool:
        """See `Head.has_own`."""
        return not target.requires_grad and (weight is None or not (soft or weight.requires_grad))

    def cross_entropy(
        self,
        logits: Tensor,
        target: Tensor,
        label_smoothing: float = 0.0,
        reduction: str = "none",
        weight: Tensor | None = None,
        ignore_index: int = -100,
    ) -> Tensor:
        """See `Head.cross_entropy`; ``nn.BCEWithLogitsLoss``, at an infinite logit too."""
        dim = dim_of(logits)
        kept, indices = None, None
        if target.is_floating_point():
            y_true = target.to(logits.dtype)
        else:
            if weight is not None or not are_classes(target, 2, ignore_index):
                indices = class_indices(target, 2, ignore_index)
                kept = indices != ignore_index
                indices = indices.where(kept, 0)
            y_true = (target if indices is None else indices).unsqueeze(dim).to(logits.dtype)
        if label_smoothing:
            y_true = self.smoothed(y_true, label_smoothing, 2)
        if kept is None and reduction != "none":
            return functional.binary_cross_entropy_with_logits(logits, y_true, reduction=reduction)
        each = functional.binary_cross_entropy_with_logits(logits, y_true, reduction="none").squeeze(dim)
        if weight is None or indices is None or kept is None:
            return reduced(each, kept, reduction)
        weights = weight[indices] * kept
        each = each * weights
        return each.sum() / weights.sum() if reduction == "mean" else reduced(each, None, reduction)

    def at_once(self, logits: Tensor, target: Tensor, ignore_index: int, reduction: str) -> Tensor | None:
        """See `Head.at_once`. It has to be quick: torch's own is."""
        if logits.dim() != 2 or logits.shape[1] != 1 or logits.itemsize < 4 or reduction == "none":
            return None
        if not target.is_floating_point():
            if target.shape != logits.shape[:1] or not are_classes(target, 2, ignore_index):
                return None
            target = target.unsqueeze(1).to(logits.dtype)
        elif target.shape != logits.shape or target.dtype is not logits.dtype or target.requires_grad:
            return None
        return functional.binary_cross_entropy_with_logits(logits, target, reduction=reduction)

    def may_be_soft(self, target: Tensor) -> bool:
        """See `Sigmoid.may_be_soft`."""
        return is_soft(target)

    def probe(self, logits: Tensor) -> Tensor:
        """By how much the second logit is above the first."""
        return logits[:, 1:] - logits[:, :1]


SOFTMAX = Head()
HEADS: dict[str, Head] = {head.name: head for head in (SOFTMAX, Sigmoid(), Binary())}
"""Every head by name."""


def _held(log: Tensor, in_place: bool) -> Tensor:
    return log.clamp_(min=LEAST_LOG) if in_place else log.clamp(min=LEAST_LOG)
