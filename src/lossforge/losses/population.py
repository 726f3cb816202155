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
from lossforge.losses.heads import HEADS


class _Population(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: Tensor,
        losses: Interpreter,
        progress: Tensor | None,
        class_share: Tensor | None,
        kept: Tensor | None,
    ) -> Tensor:
        if kept is not None:
            target = target.where(kept, 0)
        value, gradient = losses.value_and_gradient(logits, target, progress=progress, class_share=class_share)
        if kept is not None:
            value, gradient = value.where(kept, 0.0), gradient.where(kept.unsqueeze(-1), 0.0)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise LossError("the gradient of a population of losses cannot be differentiated again; build them singly")
        (gradient,) = ctx.saved_tensors
        return gradient * given.unsqueeze(-1), None, None, None, None, None


class PopulationLoss(nn.Module):
    """K losses as one module; its formulas are data, so nothing is compiled for a loss.

    Args:
        specs: the losses; formulas, no terms (LossError). ``label_smoothing`` and ``class_mean`` are kept.
        head: what makes probabilities of logits; see `lossforge.losses.heads`.

    Its gradient cannot be differentiated again: LossError says so.
    """

    def __init__(self, specs: Sequence[LossSpec], head: str = "softmax") -> None:
        super().__init__()
        term = next((spec.formula for spec in specs if spec.is_term), None)
        if term is not None:
            raise LossError(f"'{term}' is no formula: only formulas can be computed as a population")
        self.specs = tuple(specs)
        parsed = [parse_formula(spec.formula) for spec in specs]
        self._mean = [spec.class_mean and not loss.of_sample for spec, loss in zip(specs, parsed, strict=True)]
        self._any_mean = any(self._mean)
        self._means: dict[torch.device, Tensor] = {}
        losses = Interpreter(parsed, [spec.label_smoothing for spec in specs], head=head)
        self.head = head
        self._losses = losses.padded()
        self.needs = losses.needs

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        progress: Tensor | None = None,
        class_share: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Mean loss ``(K,)`` over the samples of logits ``(K, N, C)``, or ``(K, N, 1)`` behind a binary head.

        ``target`` holds class indices ``(K, N)`` or ``(N,)``, or probabilities ``(K, N, C)`` or ``(N, C)``. float16
        and bfloat16 logits are computed in float32. ``progress`` ``(K or 1,)`` and ``class_share`` ``(K or 1, C)`` are
        for losses that need them (``needs``). Samples that are not ``kept``, bool ``(K, N)``, do not count, whatever
        their index; with none kept the loss is 0. Raises ValueError for shapes that do not fit.
        """
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        values: Tensor = _Population.apply(wide, target, self._losses, progress, class_share, kept)
        means = values.mean(-1) if kept is None else values.sum(-1) / kept.sum(-1).clamp(min=1)
        if not self._any_mean:
            return means
        return means / (1 + self._over_classes(means) * (HEADS[self.head].classes(logits.shape[-1]) - 1))

    def _over_classes(self, like: Tensor) -> Tensor:
        """Where ``(K,)`` a loss is the mean over classes; kept on a device, so that a captured step can read it."""
        if like.device not in self._means:
            self._means[like.device] = torch.tensor([float(mean) for mean in self._mean], device=like.device)
        return self._means[like.device]

    @property
    def room(self) -> tuple[object, ...]:
        """The same for populations whose `tables` can stand in each other's place."""
        return (*self._losses.room, self._any_mean, *sorted(self.needs), self.head)

    def tables(self, like: Tensor) -> list[Tensor]:
        """The losses as data on the device of ``like`` and in its floating type, read at every call."""
        return [*self._losses.shared_tables(like), *([self._over_classes(like)] if self._any_mean else [])]

    def extra_repr(self) -> str:
        """How many losses there are, for printing."""
        return f"{len(self.specs)} losses"
