"""Learning-rate schedules as tables: every step's factor of the rate, and its momentum."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import optim


class StepValues(NamedTuple):
    """``factor`` of the learning rate, and the momentum that the schedule asks for (None: the optimiser's own)."""

    factor: float
    momentum: float | None


@lru_cache(maxsize=32)
def schedule_values(schedule: str, steps: int) -> tuple[StepValues, ...]:
    """A schedule ("one_cycle", "cosine", "constant") over ``steps`` steps, as torch's own goes, with a peak of 1."""
    if schedule == "constant":
        return (StepValues(1.0, None),) * steps
    optimizer = optim.SGD([torch.zeros(1)], lr=1.0, momentum=0.9)
    if schedule == "one_cycle":
        follower: optim.lr_scheduler.LRScheduler = optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps + 1)
    else:
        follower = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    values = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        values.append(StepValues(float(group["lr"]), float(group["momentum"]) if schedule == "one_cycle" else None))
        optimizer.step()
        follower.step()
    return tuple(values)
