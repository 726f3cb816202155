"""A weighted sum of losses of which some count over a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lossforge.losses.drop_in import DropInLoss, widened


class FusionLoss(DropInLoss):
    """w_1 L_1 + w_2 L_2 + ..., a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for the arguments.

    Value and gradient are the sums of the parts', each of which has the reduction "mean" (or "sum") that is its own:
    of an elementwise loss over samples, of an overlap over classes. So there is no value for each sample, and
    ``reduction="none"`` a ValueError. The parts have no state of their own: weights of classes, progress and the rest
    are the sum's.
    """

    def __init__(
        self, call: str, parts: Sequence[tuple[float, DropInLoss]], *, head: str = "softmax", **arguments: Any
    ) -> None:
        """``call`` is the sum as it is written, ``parts`` are weights and losses, all behind the ``head``."""
        self.head = head
        self.needs = tuple(sorted({need for _, part in parts for need in part.needs}))
        self.hard_labels = any(part.hard_labels for _, part in parts)
        super().__init__(**arguments)
        if self.reduction == "none":
            raise ValueError(
                "reduction 'none' is not for a sum in which a loss counts over the whole batch: there is no value for "
                "each sample; use 'mean' or 'sum'"
            )
        self.formula = call
        # A tuple, so that they are no submodules, whose state would be in state_dict twice.
        self.parts = tuple(parts)
        self._lend()

    def _lend(self) -> None:
        """Let the parts have what the sum was told."""
        for _, part in self.parts:
            for name in ("weight", "shares", "reached"):
                own = getattr(self, name)
                if getattr(part, name) is not own:
                    setattr(part, name, own)
            for name in ("ignore_index", "reduction", "label_smoothing", "_follows"):
                own = getattr(self, name)
                if getattr(part, name) != own:
                    setattr(part, name, own)

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``; see `DropInLoss.forward`."""
        first, *others = self.values(input, target)
        return sum(others, start=first)

    def values(self, input: Tensor, target: Tensor) -> list[Tensor]:
        """Each part's loss, times its weight."""
        self._lend()
        logits = widened(input) if input.is_floating_point() else input
        values = [(weight, part.unscaled(logits, target)) for weight, part in self.parts]
        return [value if weight == 1 else weight * value for weight, value in values]

    def extra_repr(self) -> str:
        """The sum, for printing."""
        return repr(self.formula)
