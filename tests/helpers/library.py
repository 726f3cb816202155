"""Losses of the library, told what they ask for."""

from __future__ import annotations

from typing import Any

import torch

from lossforge.losses.compiled import ExpressionLoss
from lossforge.losses.library import LIBRARY, loss
from lossforge.losses.term_losses.base import TermLoss
from lossforge.losses.terms import TERMS

KINDS = (
    *TERMS,
    "cross_entropy",
    "label_smoothing",
    "focal",
    "baikal",
    "nce",
    "ce_epsilon_mae",
    "maxsup",
    "ldam",
    "asymmetric",
    "log_ratio",
)
"""A loss of every kind that is computed in another way: for what costs seconds, and is the same for all of a kind."""


def ready(name_or_formula: str, classes: int, **arguments: Any) -> ExpressionLoss | TermLoss:
    """The loss, with shares for so many classes, each another, where it looks at them."""
    if name_or_formula in LIBRARY and "class_share" in LIBRARY[name_or_formula].needs:
        arguments = {"class_share": shares(classes), **arguments}
    return loss(name_or_formula, **arguments)


def shares(classes: int) -> torch.Tensor:
    """Shares that differ from class to class, in float64."""
    counts = torch.arange(1, classes + 1, dtype=torch.float64)
    return counts / counts.sum()
