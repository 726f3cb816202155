"""Loss scaling for float16, each replica its own: small gradients survive, and an overflow costs one replica a step.

Dynamic loss scaling (Micikevicius et al., ICLR 2018). A lane's scale is part of its state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossforge.training.lanes import LaneState

_GROWTH_STEPS = 500
"""Steps without overflow after which a scale doubles."""


def unscaled(lanes: LaneState, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The flat gradient of losses times ``overflow_scale`` without it, and which lanes ``(K,)`` must skip this step.

    Scales are halved where a gradient overflowed, and doubled after 500 steps without.
    """
    layout = lanes.weights.layout
    finite = torch.stack([row.isfinite().all(1) for row in layout.rows(gradient)]).all(0)
    gradient = gradient * layout.spread(1 / lanes.overflow_scale)
    # In place: a captured step reads and writes the same memory every time.
    lanes.good_steps.add_(1).mul_(finite)
    grown = lanes.good_steps >= _GROWTH_STEPS
    lanes.good_steps.masked_fill_(grown, 0)
    factor = torch.where(finite, 1.0 + grown.float(), 0.5)
    lanes.overflow_scale.mul_(factor).clamp_(min=1.0)
    return torch.where(layout.spread(finite), gradient, torch.zeros_like(gradient)), ~finite
