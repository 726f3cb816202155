"""Cross-entropy of logits of one length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge.losses.term_losses.base import TermLoss

SMALLEST_NORM = 1e-6


class LogitNormLoss(TermLoss):
    """Wei et al. 2022: cross-entropy of z / (tau |z|), with |z| the Euclidean norm of a sample's logits.

    The norm is that of the logits as they are, so it is no formula: those see logits less their mean. It is held at
    1e-6 or more (the authors' code adds 1e-7 instead). A logit of -inf is a class that cannot be: the norm is that of
    the others.
    """

    heads = ("softmax",)
    headless = "it divides the logits of a sample by their norm, and so it needs one logit for each of several classes"

    def __init__(self, call: str, values: Mapping[str, float], **arguments: Any) -> None:
        super().__init__(call, values, **arguments)
        self.tau = values["tau"]

    def class_terms(self, logits: Tensor, y_true: Tensor, dim: int) -> Tensor:
        """The loss of every sample and class, in the shape of ``logits``."""
        absent = logits == -torch.inf
        there = logits.masked_fill(absent, 0.0)
        # By the largest first: the square of a number near the type's end would be infinite.
        largest = there.detach().abs().amax(dim, keepdim=True).clamp(min=SMALLEST_NORM)
        square = (there / largest).square().sum(dim, keepdim=True)
        norm = square.clamp(min=(SMALLEST_NORM / largest).square()).sqrt() * largest
        scaled = (there / (self.tau * norm)).masked_fill(absent, -torch.inf)
        return -y_true * self.behind.log_probabilities(scaled, dim)
