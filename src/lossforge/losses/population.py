"""K losses on K networks' logits in one call: for training many candidates at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lossforge.errors import LossError
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.losses.compiled import LossSpec


class _Population(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, losses: Interpreter) -> Tensor:
        value, gradient = losses.value_and_gradient(logits, target)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():
            raise LossError("the gradient of a population of losses cannot be differentiated again; build them singly")
        (gradient,) = ctx.saved_tensors
        return gradient * given.unsqueeze(-1), None, None


class PopulationLoss(nn.Module):
    """K losses as one module; its formulas are data, so nothing is compiled for a loss.

    Args:
        specs: the losses; formulas, no terms (LossError). ``label_smoothing`` and ``class_mean`` are kept.

    Its gradient cannot be differentiated again: LossError says so.
    """

    def __init__(self, specs: Sequence[LossSpec]) -> None:
        super().__init__()
        term = next((spec.formula for spec in specs if spec.is_term), None)
        if term is not None:
            raise LossError(f"'{term}' is no formula: only formulas can be computed as a population")
        self.specs = tuple(specs)
        self._losses = Interpreter(
            [parse_formula(spec.formula) for spec in specs], [spec.label_smoothing for spec in specs]
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss ``(K,)`` over the samples of logits ``(K, N, C)``.

        ``target`` holds class indices ``(K, N)`` or ``(N,)``, or probabilities ``(K, N, C)`` or ``(N, C)``. float16
        and bfloat16 logits are computed in float32. Raises ValueError for shapes that do not fit.
        """
        values: Tensor = _Population.apply(
            logits.float() if logits.dtype.itemsize < 4 else logits, target, self._losses
        )
        means = values.mean(-1)
        if not any(spec.class_mean for spec in self.specs):
            return means
        return means / values.new_tensor([logits.shape[-1] if spec.class_mean else 1 for spec in self.specs])

    def extra_repr(self) -> str:
        """How many losses there are, for printing."""
        return f"{len(self.specs)} losses"
