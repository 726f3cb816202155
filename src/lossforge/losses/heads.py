"""Heads: from a network's logits to the leaves of a loss, and from targets to ``y_true``.

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

LEAST_LOG = -1e5
"""Least value of log(y_pred)."""


class Head:
    """A softmax, and what the other heads do in another way."""

    name = "softmax"
    cross_entropy_formula = "-y_true * log(y_pred)"
    """What cross-entropy is behind it."""

    def outputs(self, classes: int) -> int:
        """Logits a sample that a network has for so many classes, or labels."""
        return classes

    def classes(self, outputs: int) -> int:
        """Columns of ``y_pred`` for so many logits a sample."""
        return outputs

    def probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """``y_pred``: in [0, 1], in the logits' shape but for `classes` columns along ``dim``."""
        return torch.softmax(logits, dim)

    def log_probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """``log(y_pred)``, exact however large the logits are; not held."""
        return torch.log_softmax(logits, dim)

    def scores(self, logits: Tensor, dim: int) -> Tensor:
        """Logits whose softmax or, for this head, sigmoid is ``y_pred``: a number for each class, larger for likelier."""
        return logits

    def predicted(self, logits: Tensor, dim: int) -> Tensor:
        """The likeliest class's index, without ``dim``; the first of equals."""
        return self.scores(logits, dim).argmax(dim)

    def cross_entropy(
        self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0, reduction: str = "none"
    ) -> Tensor:
        """Cross-entropy of logits ``(N, outputs)`` as torch has it: of each sample, ``(N,)``, or their "mean".

        ``target`` holds class indices ``(N,)``, or for independent labels floats ``(N, C)`` in [0, 1].
        """
        return functional.cross_entropy(logits, target, reduction=reduction, label_smoothing=label_smoothing)

    def smoothed(self, y_true: Tensor, label_smoothing: float, classes: int) -> Tensor:
        """Targets mixed with those of one who knows nothing: each of the ``classes`` alike."""
        return y_true * (1 - label_smoothing) + label_smoothing / classes


class Sigmoid(Head):
    """Independent logits: no column of ``y_pred`` depends on another's logit."""

    name = "sigmoid"
    cross_entropy_formula = "-y_true * log(y_pred) - (1 - y_true) * log(1 - y_pred)"

    def probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """See `Head.probabilities`."""
        return torch.sigmoid(logits)

    def log_probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """See `Head.log_probabilities`."""
        return functional.logsigmoid(logits)

    def cross_entropy(
        self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0, reduction: str = "none"
    ) -> Tensor:
        """Binary cross-entropy ``(N,)``, summed over labels; see `Head.cross_entropy`."""
        y_true = target if target.is_floating_point() else one_hot(target, logits, 1)
        if label_smoothing:
            y_true = self.smoothed(y_true, label_smoothing, 2)
        each = functional.binary_cross_entropy_with_logits(logits, y_true, reduction="none").sum(1)
        return each.mean() if reduction == "mean" else each

    def smoothed(self, y_true: Tensor, label_smoothing: float, classes: int) -> Tensor:
        """Each label is there or not: targets mixed with a half."""
        return super().smoothed(y_true, label_smoothing, 2)


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

    def log_probabilities(self, logits: Tensor, dim: int) -> Tensor:
        """See `Head.log_probabilities`."""
        return functional.logsigmoid(torch.cat([-logits, logits], dim))

    def scores(self, logits: Tensor, dim: int) -> Tensor:
        """(0, z)."""
        return torch.cat([torch.zeros_like(logits), logits], dim)

    def cross_entropy(
        self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0, reduction: str = "none"
    ) -> Tensor:
        """See `Head.cross_entropy`."""
        y_true = target.to(logits.dtype)
        if label_smoothing:
            y_true = self.smoothed(y_true, label_smoothing, 2)
        return functional.binary_cross_entropy_with_logits(logits.squeeze(1), y_true, reduction=reduction)


SOFTMAX = Head()
HEADS: dict[str, Head] = {head.name: head for head in (SOFTMAX, Sigmoid(), Binary())}
"""Every head by name."""


def one_hot(indices: Tensor, logits: Tensor, dim: int) -> Tensor:
    """1 at each sample's index along ``dim`` and else 0, in the shape and type of the logits."""
    return torch.zeros_like(logits).scatter(dim, indices.unsqueeze(dim), 1.0)
