"""What becomes of a loss where labels are soft: the same loss with softer labels, or another one."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from lossforge.expression.codegen import compile_expression
from lossforge.expression.formula import parse_formula
from lossforge.losses.drop_in import start_probe
from lossforge.losses.heads import HEADS, Head

_SMOOTHING = 0.1
_NEAR = 0.5
"""Cosine, and ratio of the norms, from which on a gradient at soft labels is near the mixture of those at hard ones.

Kinks, such as absolute error's, cost some of it; a pole costs nearly all.
"""


@lru_cache(maxsize=256)
def hard_labels_only(formula: str, classes: int, head: str = "softmax") -> bool:
    """Whether the formula means another loss where ``y_true`` is neither 0 nor 1, as with a pole at ``y_true`` = 0.

    Compared are the gradients on the logits of the head's start probe: at labels that are smoothed by 0.1, and the
    mixture of those at 0 and 1 that a loss which is linear in ``y_true`` has there.
    """
    if parse_formula(formula).crosses_classes:
        return False  # no element stands alone, so nothing says what a mixture of two labels would be
    columns = HEADS[HEADS[head].program]
    logits, target = start_probe(classes, columns)
    hard = torch.nn.functional.one_hot(target, classes).to(logits.dtype)
    soft = columns.smoothed(hard, _SMOOTHING, classes)
    ends = [_slopes(formula, logits, torch.full_like(logits, end), columns) for end in (0.0, 1.0)]
    probabilities = columns.probabilities(logits, 1)
    expected = columns.back(ends[0] + soft * (ends[1] - ends[0]), probabilities, 1)
    found = columns.back(_slopes(formula, logits, soft, columns), probabilities, 1)
    norms = float(expected.norm()), float(found.norm())
    if min(norms) == 0 or not all(map(math.isfinite, norms)):
        return norms[0] != norms[1]
    cosine = float((expected * found).sum()) / (norms[0] * norms[1])
    return cosine < _NEAR or min(norms) < _NEAR * max(norms)


def _slopes(formula: str, logits: Tensor, y_true: Tensor, head: Head) -> Tensor:
    """The formula's derivative by each log-probability, ``(N, C)``, with the others held.

    Of ordinary probabilities 1 - y_pred needs no exactness of its own.
    """
    log_y_pred = head.log_probabilities(logits, 1).requires_grad_()
    value = compile_expression(parse_formula(formula))(log_y_pred.exp(), y_true, log_y_pred)
    if not value.requires_grad:
        return torch.zeros_like(logits)
    (slopes,) = torch.autograd.grad(value.sum(), log_y_pred)
    return slopes
