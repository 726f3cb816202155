"""Early stopping of hopeless losses: those far below cross-entropy's own accuracy at the same step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SIGMAS = 2.0
"""Standard errors that a running accuracy gets as a gift: few samples stop nobody by chance."""


class RunningAccuracy:
    """Accuracy of K replicas on their own training batches (labels as trained on, wrong ones included).

    It counts from half of the way to the decision on: what a network did in its first steps says little.
    """

    def __init__(self, lanes: int, decision_step: int, device: torch.device) -> None:
        self.first = decision_step // 2
        self.end = decision_step
        self._correct = torch.zeros(lanes, device=device)
        self._count = self._samples = 0

    def see(self, step: int, logits: Tensor, targets: Tensor, samples: int) -> None:
        """Count a batch of ``step``: logits ``(K, B, classes)`` and class indices ``(K, B)`` of so many samples.

        Where pixels have classes B is their number, but they are no independent samples.
        """
        if self.first <= step < self.end:
            self._correct += (logits.detach().argmax(-1) == targets).sum(1)
            self._count += targets.shape[1]
            self._samples += samples

    @property
    def values(self) -> Tensor:
        """Accuracies ``(K,)`` in [0, 1]."""
        return self._correct / max(self._count, 1)

    def below(self, floors: Tensor) -> Tensor:
        """Which replicas ``(K,)`` are below their floor by more than chance explains."""
        accuracy = self.values
        error = (accuracy * (1 - accuracy) / max(self._samples, 1)).sqrt()
        return accuracy + _SIGMAS * error < floors

    @classmethod
    def gathered(cls, others: Sequence[RunningAccuracy], lanes: Sequence[tuple[int, int]]) -> RunningAccuracy:
        """Replicas of others that have seen as many batches: each is (which of them, which lane)."""
        made = cls(len(lanes), others[0].end, others[0]._correct.device)
        made._correct = torch.stack([others[number]._correct[lane] for number, lane in lanes])
        made._count, made._samples = others[0]._count, others[0]._samples
        return made
