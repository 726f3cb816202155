"""The bi-tempered logistic loss: a logarithm that is bounded, of a softmax with heavy tails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lossforge.losses.term_losses.base import TermLoss

STEPS = 10
"""Newton's steps for the normaliser: more than the 9 that the slowest case up to 1,000 classes and t2 = 5 needs."""
_DIFFERENTIATED = 2


class BiTemperedLoss(TermLoss):
    """Amid et al. 2019, equation (4), summed over classes: with q the tempered softmax of the logits,

    y log_t1(y) - y log_t1(q) - y^(2 - t1) / (2 - t1) + q^(2 - t1) / (2 - t1)

    where log_t(x) = (x^(1 - t) - 1) / (1 - t), q_c = exp_t2(z_c - n(z)) and exp_t is log_t's inverse, 0 where that
    has none. ``t1`` < 1 bounds the loss of a wrong label, ``t2`` > 1 gives q heavy tails; t2 = 1 is softmax. The
    normaliser n(z), for which the q sum to 1, has no closed form. Value and gradient are those at the exact
    normaliser, also when differentiated again (the paper's five iterations, and code that follows it, stop before).
    """

    heads = ("softmax", "binary")
    headless = "it compares the classes of a sample, and behind sigmoids each label stands alone"

    def __init__(self, call: str, values: Mapping[str, float], **arguments: Any) -> None:
        super().__init__(call, values, **arguments)
        self.t1, self.t2 = values["t1"], values["t2"]

    def class_terms(self, logits: Tensor, y_true: Tensor, dim: int) -> Tensor:
        """The loss of every sample and class, in the shape of ``y_true``."""
        if self.t2 == 1:
            log_q = self.behind.log_probabilities(logits, dim)
        else:
            log_q = tempered_log_softmax(self.behind.scores(logits, dim), self.t2, dim)
        left, power = 1 - self.t1, 2 - self.t1
        y_power = y_true**power
        entropy = (y_power - y_true) / left
        cross = y_true * torch.expm1(left * log_q) / left
        return entropy - cross + (torch.exp(power * log_q) - y_power) / power


def tempered_log_softmax(logits: Tensor, t: float, dim: int) -> Tensor:
    """Logarithm of exp_t(z - n(z)), whose sum over ``dim`` is 1, for t above 1; -inf at a logit of -inf.

    With S and D the sums over classes of q and q^t at a guess of n, the guess grows by (S^(t - 1) - 1) / (t - 1)
    S / D. That is Newton's step for S^(1 - t) = 1, whose left side is increasing and concave in n and a straight line
    where all logits are equal: from n = max(z) on it rises to the solution and never passes it. The paper's
    fixed-point iteration has the same solution and takes up to hundreds of steps to it. Each step that is
    differentiated doubles the number of derivatives that are exact.
    """
    k = t - 1
    from_top = logits - logits.detach().amax(dim, keepdim=True)
    normaliser = torch.zeros_like(from_top.select(dim, 0)).unsqueeze(dim)
    for step in range(STEPS):
        a = from_top if step >= STEPS - _DIFFERENTIATED else from_top.detach()
        log_q = _log_tempered(a - normaliser, k)
        total, slope = log_q.exp().sum(dim, keepdim=True), (t * log_q).exp().sum(dim, keepdim=True)
        normaliser = normaliser + torch.expm1(k * total.log()) / k * total / slope
    return _log_tempered(from_top - normaliser, k)


def _log_tempered(x: Tensor, k: float) -> Tensor:
    """log(exp_t(x)) for t = 1 + k and x of 0 or less."""
    return -torch.log1p(-k * x) / k
