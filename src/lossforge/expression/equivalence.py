"""Do two expressions have the same value and gradient? Asked on a grid that includes the extremes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.codegen import compile_expression
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    from torch import Tensor


@lru_cache(maxsize=1)
def probe_grid() -> tuple[Tensor, Tensor]:
    """Logits and targets ``(N, C)`` in float64: moderate and large logits, ±50, and probabilities 0 and 1."""
    import numpy
    import torch

    generator = numpy.random.Generator(numpy.random.PCG64(7))
    classes = 10
    logits = torch.from_numpy(
        numpy.concatenate(
            [
                generator.normal(size=(64, classes)),
                generator.normal(size=(32, classes)) * 8,
                numpy.sign(generator.normal(size=(16, classes))) * 50,
                numpy.eye(classes) * 2000 - 1000,  # softmax gives exact 0 and 1
                numpy.zeros((1, classes)),
            ]
        )
    )
    indices = torch.from_numpy(generator.integers(classes, size=len(logits)))
    y_true = torch.nn.functional.one_hot(indices, classes).double()
    y_true[::5] = y_true[::5] * 0.9 + 0.1 / classes
    return logits, y_true


def value_and_gradient(expression: Expression, logits: Tensor, y_true: Tensor) -> tuple[Tensor, Tensor]:
    """Elementwise value ``(N, C)`` and the gradient ``(N, C)`` of its sum on the logits."""
    import torch

    z = logits.detach().clone().requires_grad_()
    log_y_pred = torch.log_softmax(z, 1)
    loss = compile_expression(expression)(log_y_pred.exp(), y_true, log_y_pred)
    if not loss.requires_grad:
        return loss, torch.zeros_like(logits)
    (gradient,) = torch.autograd.grad(loss.sum(), z, allow_unused=True)
    return loss.detach(), torch.zeros_like(logits) if gradient is None else gradient


def same_value_and_gradient(first: Expression, second: Expression, tolerance: float = 1e-7) -> bool:
    """Whether value and gradient agree everywhere on the grid, relative to their size there (at least 1)."""
    import torch

    logits, y_true = probe_grid()
    for a, b in zip(value_and_gradient(first, logits, y_true), value_and_gradient(second, logits, y_true), strict=True):
        if not (a.isfinite().all() and b.isfinite().all()):
            return False
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance):
            return False
    return True
