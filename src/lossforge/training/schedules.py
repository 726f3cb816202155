"""Learning-rate schedules: tables of each step's factor of the rate and its momentum; and one that looks at losses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, optim

if TYPE_CHECKING:
    from lossforge.spaces.recipe_section import RecipeSection

_LEAST_PROGRESS = 1e-4
"""What an epoch must gain not to be flat, as a share of all that was gained since the first."""


class StepValues(NamedTuple):
    """``factor`` of the learning rate, and the momentum that the schedule asks for (None: the optimiser's own)."""

    factor: float
    momentum: float | None


@lru_cache(maxsize=32)
def schedule_values(schedule: str, steps: int) -> tuple[StepValues, ...]:
    """A schedule ("one_cycle", "cosine", "constant") over ``steps`` steps, as torch's own goes, with a peak of 1.

    "plateau" is constant here: `plateau_rates` changes the rates themselves, between epochs.
    """
    if schedule in ("constant", "plateau"):
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


def plateau_rates(peaks: Tensor, curve: Sequence[Tensor], recipe: RecipeSection) -> Tensor:
    """Rates ``(K,)`` after epochs with mean training losses ``curve``, each ``(K,)``, from rates ``peaks`` ``(K,)``.

    As Keras's ReduceLROnPlateau: once ``recipe.plateau_epochs`` epochs in a row were flat, the rate is multiplied with
    ``recipe.plateau_factor``, and never falls below ``recipe.plateau_floor``. It looks at the training loss, for the
    part that a loss is scored on must have no part in its training. Flat is an epoch that lowers the least loss so far
    by less than a ten-thousandth of the way that it has come since the first epoch; so ``3 f + 1`` has the rates of
    ``f``.
    """
    floor = peaks.clamp(max=recipe.plateau_floor)
    rates, flat = peaks.clone(), torch.zeros_like(peaks)
    if not curve:
        return rates
    first = least = curve[0]
    for loss in curve[1:]:
        better = loss < least - _LEAST_PROGRESS * (first - least)
        flat = torch.where(better, 0, flat + 1)
        least = torch.where(better, loss, least)
        down = flat >= recipe.plateau_epochs
        rates = torch.where(down, torch.maximum(rates * recipe.plateau_factor, floor), rates)
        flat = torch.where(down, 0, flat)
    return rates
