"""Binary cross-entropy of every class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lossforge.losses.term_losses.base import TermLoss


class BinaryCrossEntropyLoss(TermLoss):
    """One classifier a class: -y log s - (1 - y) log(1 - s) with s the sigmoid of the logit.

    Computed from the logits, so it is exact however large they are, and 0 where an infinite one is right; summed
    over classes. It is a sigmoid's of every logit whatever the head: of a binary one's single logit, once.
    """

    def class_terms(self, logits: Tensor, y_true: Tensor, dim: int) -> Tensor:
        """The loss of every sample and class, in the shape of ``y_true``."""
        if y_true.shape != logits.shape:  # one logit of two classes, each of which has a column
            return _cost(y_true, torch.cat([-logits, logits], dim))
        return _cost(y_true, logits) + _cost(1 - y_true, -logits)


def _cost(share: Tensor, logits: Tensor) -> Tensor:
    """-share * log(sigmoid(logits)), which is 0 where the share is, also at a logit of -inf."""
    log = functional.logsigmoid(logits)
    return -share * log.masked_fill(log.isinf() & (share == 0), 0.0)
