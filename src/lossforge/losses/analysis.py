"""What a loss asks for: its minimiser, the size of its gradient, and its nearest relative in the library."""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.expression.codegen import compile_expression
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import probe_gradient
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY, LIBRARY

CLASSES = (2, 10, 100)
"""Numbers of classes for which minimiser and gradient are told."""


def minimiser(loss: LossSpec, classes: int) -> float:
    """The true class's probability at which the loss is least, the other classes sharing the rest equally.

    In [0, 1]; 1 for a proper loss, less for one that acts like label smoothing. Found on a grid of 1,001
    points that is refined twice around its best.
    """
    function = compile_expression(parse_formula(loss.formula))
    smoothing = loss.label_smoothing

    def value(p_true: Tensor) -> Tensor:
        y_pred = torch.stack([p_true, (1 - p_true) / (classes - 1)])
        y_true = torch.tensor([[1 - smoothing + smoothing / classes], [smoothing / classes]], dtype=torch.float64)
        terms = function(y_pred, y_true.expand_as(y_pred), y_pred.clamp(min=1e-300).log())
        return terms[0] + (classes - 1) * terms[1]

    low, high = 0.0, 1.0
    for _ in range(3):
        grid = torch.linspace(low, high, 1001, dtype=torch.float64)
        best = float(grid[value(grid).argmin()])
        step = (high - low) / 1000
        low, high = max(0.0, best - 2 * step), min(1.0, best + 2 * step)
    return best


def gradient_ratio(loss: LossSpec, classes: int) -> float:
    """Norm of the gradient on the logits of a uniform prediction, as a multiple of cross-entropy's."""
    target = torch.zeros(1, dtype=torch.int64)

    def norm(spec: LossSpec) -> float:
        logits = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
        value = spec.build()(logits, target)
        if not value.requires_grad:
            return 0.0
        (gradient,) = torch.autograd.grad(value, logits, allow_unused=True)
        return 0.0 if gradient is None else float(gradient.norm())

    return norm(loss) / norm(LossSpec(CROSS_ENTROPY))


def nearest(loss: LossSpec) -> tuple[str, float]:
    """The library's loss whose gradient on the signature's probe points most nearly the same way.

    Returns its name and the cosine of the two gradients, in [0, 1] (the sign does not count).
    """
    own = probe_gradient(parse_formula(loss.formula))
    similarities = {
        name: abs(_cosine(own, probe_gradient(parse_formula(entry.spec().formula)))) for name, entry in LIBRARY.items()
    }
    best = max(similarities, key=lambda name: similarities[name])
    return best, similarities[best]


def _cosine(a: Tensor, b: Tensor) -> float:
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if 0 < scale < float("inf") else 0.0
