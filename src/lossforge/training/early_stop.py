"""Early stopping of hopeless losses: those far below cross-entropy's own accuracy at the same step."""

from __future__ import annotations

from torch import Tensor

from lossforge.data.samples import IGNORED
from lossforge.losses.heads import SOFTMAX, Head

_SIGMAS = 2.0
"""Standard errors that a running accuracy gets as a gift: few samples stop nobody by chance."""


class RunningAccuracy:
    """Accuracy of K lanes on their own training batches (labels as trained on, wrong ones included).

    Of several labels a sample, it is the share of samples whose likeliest label is one of theirs. It counts from half
    of the way to the decision on: what a network did in its first steps says little. What was ``correct`` ``(K,)`` is
    part of the lanes' state; here is what is the same for all.
    """

    def __init__(self, decision_step: int, head: Head = SOFTMAX, *, ignoring: bool = False) -> None:
        self.first = decision_step // 2
        self.end = decision_step
        self.head = head
        self.ignoring = ignoring
        self._count = self._samples = 0

    def see(self, step: int, logits: Tensor, targets: Tensor, samples: int, correct: Tensor) -> None:
        """Count a batch of ``step``: logits ``(K, B, outputs)`` of so many samples, and their targets for each lane.

        Where pixels have classes B is their number, but they are no independent samples.
        """
        if self.first <= step < self.end:
            predicted = self.head.predicted(logits.detach(), -1)
            if targets.is_floating_point():
                correct += targets.gather(-1, predicted.unsqueeze(-1)).sum((1, 2))
            else:
                right = (predicted == targets).sum(1)
                # Of the pixels that count, as if all did: every batch has the same weight.
                correct += right * self._weight(targets) if self.ignoring else right
            self._count += targets.shape[1]
            self._samples += samples

    @staticmethod
    def _weight(targets: Tensor) -> Tensor:
        return targets.shape[1] / (targets != IGNORED).sum(1).clamp(min=1)

    def values(self, correct: Tensor) -> Tensor:
        """Accuracies ``(K,)`` in [0, 1]."""
        return correct / max(self._count, 1)

    def below(self, floors: Tensor, correct: Tensor) -> Tensor:
        """Which lanes ``(K,)`` are below their floor by more than chance explains."""
        accuracy = self.values(correct)
        error = (accuracy * (1 - accuracy) / max(self._samples, 1)).sqrt()
        return accuracy + _SIGMAS * error < floors
