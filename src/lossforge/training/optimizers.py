"""Optimisers of K networks at once: torch's formulas, each replica with its own learning rate.

torch's own take one rate for all; here a replica's is a vector's entry, and everything is elementwise over one flat
vector (`lossforge.training.stacked`), so no replica touches another.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lossforge.training.muon import is_matrix, orthogonalised
from lossforge.training.schedules import StepValues
from lossforge.training.stacked import Layout

if TYPE_CHECKING:
    from lossforge.spaces.schema import RecipeSection

_EPS = 1e-8
_SQUARE_DECAY = 0.999
_MOMENTUM = 0.9
_MUON_MOMENTUM = 0.95


class StackedOptimizer(ABC):
    """One step after another of flat parameters ``flat``, laid out by ``layout``; ``rates`` (K,) are the peak rates.

    ``momenta`` are the vectors that it carries from step to step.
    """

    decoupled_decay = True

    def __init__(self, layout: Layout, flat: Tensor, rates: Tensor, weight_decay: float) -> None:
        self.layout = layout
        self.flat = flat
        self.weight_decay = weight_decay
        self.steps_done = 0
        self.momenta: list[Tensor] = [torch.zeros_like(flat) for _ in range(self.vectors)]
        self.set_rates(rates)

    vectors = 2
    """Vectors carried along."""

    def set_rates(self, rates: Tensor) -> None:
        """Give each replica its peak learning rate ``(K,)``. Equal rates need no vector."""
        # A scalar tensor, not a number of Python's: both ways give the same bits.
        same = bool((rates == rates[0]).all())
        self._rates = rates[0] if same else self.layout.spread(rates)

    def step(self, gradient: Tensor, values: StepValues, kept: Tensor | None = None) -> None:
        """One step along a flat gradient. Replicas that ``kept`` ``(K,)`` marks stay as they were, momenta and all."""
        before = [] if kept is None else [tensor.clone() for tensor in (self.flat, *self.momenta)]
        self.steps_done += 1
        decay = self.weight_decay
        if decay and self.decoupled_decay:
            self.flat.mul_(1 - self._rates * (values.factor * decay))
        elif decay:
            gradient = gradient.add(self.flat, alpha=decay)
        self.flat.sub_(self.direction(gradient, values.momentum).mul_(self._rates * values.factor))
        if kept is not None:
            where = self.layout.spread(kept)
            for tensor, old in zip((self.flat, *self.momenta), before, strict=True):
                tensor.copy_(torch.where(where, old, tensor))

    @abstractmethod
    def direction(self, gradient: Tensor, momentum: float | None) -> Tensor:
        """What is subtracted, times the rate: a new flat vector."""

    def take(self, others: Sequence[StackedOptimizer], lanes: Sequence[tuple[int, int]]) -> None:
        """Carry on what other optimisers, equally far, did for their lanes: each is (which optimiser, which lane)."""
        for place in range(self.vectors):
            flats = [(other.layout, other.momenta[place]) for other in others]
            self.momenta[place] = self.layout.take(flats, lanes)
        self.steps_done = others[0].steps_done


class StackedSGD(StackedOptimizer):
    """SGD with Nesterov momentum (Sutskever et al., ICML 2013), as `torch.optim.SGD`."""

    vectors = 1
    decoupled_decay = False

    def direction(self, gradient: Tensor, momentum: float | None) -> Tensor:
        """See `StackedOptimizer.direction`."""
        momentum = _MOMENTUM if momentum is None else momentum
        velocity = self.momenta[0]
        if self.steps_done == 1:
            velocity.copy_(gradient)
        else:
            velocity.mul_(momentum).add_(gradient)
        return gradient.add(velocity, alpha=momentum)


class StackedAdam(StackedOptimizer):
    """Adam (Kingma & Ba, ICLR 2015), as `torch.optim.Adam`."""

    decoupled_decay = False

    def direction(self, gradient: Tensor, momentum: float | None) -> Tensor:
        """See `StackedOptimizer.direction`."""
        mean, square = self.momenta
        return adam_direction(gradient, mean, square, self.steps_done, _MOMENTUM if momentum is None else momentum)


class StackedAdamW(StackedAdam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019), as `torch.optim.AdamW`."""

    decoupled_decay = True


def adam_direction(gradient: Tensor, mean: Tensor, square: Tensor, steps: int, beta: float) -> Tensor:
    """Adam's direction; ``mean`` and ``square`` are brought up to date in place."""
    mean.lerp_(gradient, 1 - beta)
    square.mul_(_SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - _SQUARE_DECAY)
    root = square.sqrt().mul_(1 / math.sqrt(1 - _SQUARE_DECAY**steps)).add_(_EPS)
    return mean.div(root).mul_(1 / (1 - beta**steps))


class StackedMuon(StackedOptimizer):
    """Muon with Nesterov momentum for matrices, AdamW for the rest.

    A matrix's step has the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so that one
    learning rate and one weight decay serve both.
    """

    def direction(self, gradient: Tensor, momentum: float | None) -> Tensor:
        """See `StackedOptimizer.direction`."""
        direction = torch.empty_like(gradient)
        views = (self.layout.views(vector) for vector in (gradient, direction, *self.momenta))
        for part, found, mean, square in zip(*views, strict=True):
            if is_matrix(part):
                beta = _MUON_MOMENTUM if momentum is None else momentum
                mean.lerp_(part, 1 - beta)
                matrices = part.lerp(mean, beta).flatten(2)
                size = 0.2 * math.sqrt(max(matrices.shape[1:]))
                found.copy_(orthogonalised(matrices).view_as(part).mul(size))
            else:
                beta = _MOMENTUM if momentum is None else momentum
                found.copy_(adam_direction(part, mean, square, self.steps_done, beta))
        return direction


_KINDS: dict[str, type[StackedAdam | StackedSGD | StackedMuon]] = {
    "adam": StackedAdam,
    "adamw": StackedAdamW,
    "sgd": StackedSGD,
    "muon": StackedMuon,
}


def make_optimizer(recipe: RecipeSection, layout: Layout, flat: Tensor, rates: Tensor) -> StackedOptimizer:
    """The recipe's optimiser, which steps ``flat`` in place."""
    return _KINDS[recipe.optimizer](layout, flat, rates, recipe.weight_decay)


def clip_gradient(layout: Layout, gradient: Tensor, limit: float) -> Tensor:
    """A flat gradient with each replica's part shrunk to a norm of at most ``limit``."""
    factors = (limit / (layout.norms(gradient) + 1e-6)).clamp(max=1.0)
    return gradient * layout.spread(factors)
