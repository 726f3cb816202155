"""Optimisers and schedules of a recipe, over stacked parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, optim

from lossforge.training.muon import StackedMuon

if TYPE_CHECKING:
    from lossforge.spaces.schema import RecipeSection


def make_optimizer(recipe: RecipeSection, params: list[Tensor], learning_rate: float) -> optim.Optimizer:
    """The recipe's optimiser. All but Muon are elementwise, and its matrices are each replica's own: none touch."""
    if recipe.optimizer == "muon":
        return StackedMuon(params, learning_rate, recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return optim.SGD(
            params, lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay, foreach=True
        )
    kind = optim.AdamW if recipe.optimizer == "adamw" else optim.Adam
    return kind(params, lr=learning_rate, weight_decay=recipe.weight_decay, foreach=True)


def make_schedule(
    recipe: RecipeSection, optimizer: optim.Optimizer, learning_rate: float, steps: int
) -> optim.lr_scheduler.LRScheduler:
    """The recipe's schedule over ``steps`` steps, with ``learning_rate`` at its peak."""
    if recipe.schedule == "one_cycle":
        return optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1)
    if recipe.schedule == "cosine":
        return optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def clip_gradients(params: list[Tensor], limit: float) -> None:
    """Shrink each replica's gradient, over all stacked parameters ``(K, ...)``, to a norm of at most ``limit``."""
    gradients = [param.grad for param in params if param.grad is not None]
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])
    factors = (limit / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
