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
        self.good = torch.zeros(layout.lanes, device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """Losses ``(K,)`` times their scales."""
        return loss * self.scale

    def unscaled(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The flat gradient without the scales, and which replicas ``(K,)`` must skip this step.

        Scales are halved where a gradient overflowed, and doubled after 500 steps without.
        """
        finite = torch.stack([row.isfinite().all(1) for row in self.layout.rows(gradient)]).all(0)
        gradient = gradient * self.layout.spread(1 / self.scale)
        # In place: a captured step reads and writes the same memory every time.
        self.good.add_(1).mul_(finite)
        grown = self.good >= _GROWTH_STEPS
        self.good.masked_fill_(grown, 0)
        factor = torch.where(finite, 1.0 + grown.float(), 0.5)
        self.scale.mul_(factor).clamp_(min=1.0)
        return torch.where(self.layout.spread(finite), gradient, torch.zeros_like(gradient)), ~finite

    def take(self, others: Sequence[LossScaling], lanes: Sequence[tuple[int, int]]) -> None:
        """Carry on others' scales: each lane is (which of them, which lane)."""
        self.scale = torch.stack([others[number].scale[lane] for number, lane in lanes])
        self.good = torch.stack([others[number].good[lane] for number, lane in lanes])
