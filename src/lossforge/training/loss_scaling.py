"""Loss scaling for float16, each replica its own: small gradients survive, and an overflow costs one replica a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossforge.training.stacked import Layout

_START = 2.0**13
_GROWTH_STEPS = 500
"""Steps without overflow after which a scale doubles."""


class LossScaling:
    """Dynamic loss scaling (Micikevicius et al., ICLR 2018) for K replicas."""

    def __init__(self, layout: Layout, device: torch.device) -> None:
        self.layout = layout
        self.scale = torch.full((layout.lanes,), _START, device=device)
        self._good = torch.zeros(layout.lanes, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """Losses ``(K,)`` times their scales."""
        return loss * self.scale

    def unscaled(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The flat gradient without the scales, and which replicas ``(K,)`` must skip this step.

        Scales are halved where a gradient overflowed, and doubled after 500 steps without.
        """
        finite = torch.stack([row.isfinite().all(1) for row in self.layout.rows(gradient)]).all(0)
        gradient = gradient * self.layout.spread(1 / self.scale)
        self._good = torch.where(finite, self._good + 1, torch.zeros_like(self._good))
        grown = self._good >= _GROWTH_STEPS
        self._good = self._good.masked_fill(grown, 0)
        self.scale = torch.where(finite, torch.where(grown, 2 * self.scale, self.scale), self.scale / 2).clamp(min=1.0)
        return torch.where(self.layout.spread(finite), gradient, torch.zeros_like(gradient)), ~finite

    def take(self, others: Sequence[LossScaling], lanes: Sequence[tuple[int, int]]) -> None:
        """Carry on others' scales: each lane is (which of them, which lane)."""
        self.scale = torch.stack([others[number].scale[lane] for number, lane in lanes])
        self._good = torch.stack([others[number]._good[lane] for number, lane in lanes])
