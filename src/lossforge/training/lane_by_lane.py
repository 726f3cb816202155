"""A step of a cohort lane by lane: forward, loss and gradient of one network before the next begins.

What a network keeps for its gradient is freed before the next needs memory: K networks take the room of one, and small
ones find theirs still in the cache. It is for the back end that runs one after the other anyway, on a CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lossforge.training.backends import LoopBackend

if TYPE_CHECKING:
    from lossforge.training.cohort import Cohort


def goes_lane_by_lane(cohort: Cohort) -> bool:
    """Whether the cohort's steps can be taken by `lane_gradients`: losses with rules for their weights meet."""
    return isinstance(cohort.backend, LoopBackend) and cohort.device.type == "cpu" and cohort.changing is None


def lane_gradients(cohort: Cohort, x: Tensor, targets: Tensor, factors: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(K, N, outputs)``, losses ``(K,)`` and the flat gradient of a step on samples ``(S, B, C, H, W)``.

    ``targets`` are as for `Cohort.loss`; gradients are those of the losses times ``factors`` ``(K,)``. Idle lanes,
    where they can be left out, have zeros everywhere.
    """
    backend, lanes = cohort.backend, cohort.lanes
    assert isinstance(backend, LoopBackend)
    skipped = backend.skipped(cohort.idle, training=True)
    gradient = torch.zeros_like(lanes.weights.vector) if skipped else torch.empty_like(lanes.weights.vector)
    places = lanes.weights.layout.views(gradient)
    losses = lanes.scale.new_zeros(len(cohort))
    logits: dict[int, Tensor] = {}
    with backend.watched(x.device, training=True):
        for lane in range(len(cohort)):
            if lane in skipped:
                continue
            own = [part[lane].detach().requires_grad_() for part in cohort.params]
            found = cohort.lane_logits(lane, own, x)
            loss = cohort.lane_loss(lane, found, targets)
            told = loss if factors is None else loss * factors[lane]
            for place, part in zip(places, torch.autograd.grad(told, own, materialize_grads=True), strict=True):
                place[lane].copy_(part)
            logits[lane], losses[lane] = found.detach(), loss.detach()
    nothing = torch.zeros_like(next(iter(logits.values())))
    return torch.stack([logits.get(lane, nothing) for lane in range(len(cohort))]), losses, gradient
