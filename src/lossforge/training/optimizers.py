"""Optimisers of K networks at once: torch's formulas, each replica with its own learning rate.

torch's own take one rate for all; here a replica's is a vector's entry, and everything is elementwise over one flat
vector (`lossforge.training.stacked`), so no replica touches another.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from lossforge.training.lanes import LaneState
from lossforge.training.muon import is_matrix, orthogonalised
from lossforge.training.schedules import StepValues
from lossforge.training.stacked import Layout

if TYPE_CHECKING:
    from lossforge.spaces.schema import RecipeSection

_SQUARE_DECAY = 0.999
_MOMENTUM = 0.9
_MUON_MOMENTUM = 0.95


Number = float | Tensor
"""A number of a step: Python's, or in a captured step a tensor without axes, which a replay reads anew."""


class StackedOptimizer(ABC):
    """Steps the weights of K lanes; what it carries from step to step is their state.

    Args:
        weight_decay: as torch's optimisers have it.
        one_rate: whether all lanes have the same rate.
        epsilon: what Adam adds to the root that it divides by.
        factors: of the rate, for each number of the flat vector; None: 1.
    """

    decoupled_decay = True
    vectors = 2
    """Vectors carried along: the lanes' momenta."""

    def __init__(
        self, weight_decay: float, *, one_rate: bool, epsilon: float = 1e-8, factors: Tensor | None = None
    ) -> None:
        self.weight_decay = weight_decay
        self.one_rate = one_rate
        self.epsilon = epsilon
        self.factors = factors

    def numbers(self, values: StepValues, step: int) -> tuple[float, ...]:
        """What step ``step``, from 1, multiplies with: the rate's factor, the decay, and what `direction` takes."""
        return values.factor, values.factor * self.weight_decay, *self.scalars(values.momentum, step)

    @abstractmethod
    def scalars(self, momentum: float | None, step: int) -> tuple[float, ...]:
        """Numbers of step ``step``, from 1; ``momentum`` is the schedule's (None: the optimiser's own)."""

    def apply(self, lanes: LaneState, gradient: Tensor, numbers: Sequence[Number], kept: Tensor | None = None) -> None:
        """One step along a flat gradient. Lanes that ``kept`` ``(K,)`` marks stay as they were, momenta and all.

        It depends on its `numbers` and on tensors alone, so that it can be captured.
        """
        changed = [lanes.weights.vector, *(momentum.vector for momentum in lanes.momenta)]
        before = [] if kept is None else [tensor.clone() for tensor in changed]
        self._step(lanes, gradient, numbers)
        if kept is not None:
            where = lanes.weights.layout.spread(kept)
            for tensor, old in zip(changed, before, strict=True):
                tensor.copy_(torch.where(where, old, tensor))

    def _step(self, lanes: LaneState, gradient: Tensor, numbers: Sequence[Number]) -> None:
        flat, layout = lanes.weights.vector, lanes.weights.layout
        momenta = [momentum.vector for momentum in lanes.momenta]
        factor, decay, *scalars = numbers
        # Equal rates need no vector. A tensor, not a number of Python's: both ways give the same bits.
        rates = lanes.rates[0] if self.one_rate else layout.spread(lanes.rates)
        if self.factors is not None:
            rates = rates * self.factors
        if self.weight_decay and self.decoupled_decay:
            flat.mul_(1 - rates * decay)
        elif self.weight_decay:
            gradient = gradient.add(flat, alpha=self.weight_decay)
        flat.sub_(self.direction(layout, gradient, momenta, scalars).mul_(rates * factor))

    @abstractmethod
    def direction(
        self, layout: Layout, gradient: Tensor, momenta: Sequence[Tensor], scalars: Sequence[Number]
    ) -> Tensor:
        """What is subtracted, times the rate: a new flat vector. ``momenta`` are brought up to date in place."""


class StackedSGD(StackedOptimizer):
    """SGD with Nesterov momentum (Sutskever et al., ICML 2013), as `torch.optim.SGD`."""

    vectors = 1
    decoupled_decay = False

    def scalars(self, momentum: float | None, step: int) -> tuple[float, ...]:
        """The momentum."""
        return (_MOMENTUM if momentum is None else momentum,)

    def direction(
        self, layout: Layout, gradient: Tensor, momenta: Sequence[Tensor], scalars: Sequence[Number]
    ) -> Tensor:
        """See `StackedOptimizer.direction`."""
        (momentum,), (velocity,) = scalars, momenta
        velocity.mul_(momentum).add_(gradient)
        return gradient + velocity * momentum


class StackedAdam(StackedOptimizer):
    """Adam (Kingma & Ba, ICLR 2015), as `torch.optim.Adam`."""

    decoupled_decay = False

    def _step(self, lanes: LaneState, gradient: Tensor, numbers: Sequence[Number]) -> None:
        flat = lanes.weights.vector
        usual = flat.device.type == "cpu" and flat.dtype is torch.float32 and self.factors is None
        if not usual or any(isinstance(number, Tensor) for number in numbers):
            super()._step(lanes, gradient, numbers)
            return
        # On a CPU in one pass over the weights.
        from lossforge.training.adam_kernel import adam_step

        factor, decay, *scalars = (float(number) for number in numbers)
        coupled, decoupled = (0.0, decay) if self.decoupled_decay else (self.weight_decay, 0.0)
        rates = lanes.rates.numpy()
        told = numpy.array([coupled, scalars[0], 1 - _SQUARE_DECAY, *scalars[1:], self.epsilon], numpy.float32)
        sizes = numpy.array(lanes.weights.layout.sizes, numpy.uint64)
        mean, square = (momentum.vector.numpy() for momentum in lanes.momenta)
        kept_shares = (1 - rates * decoupled).astype(numpy.float32)
        step = (rates * factor).astype(numpy.float32)
        adam_step(flat.numpy(), gradient.numpy(), mean, square, sizes, step, kept_shares, told)

    def scalars(self, momentum: float | None, step: int) -> tuple[float, ...]:
        """See `adam_scalars`."""
        return adam_scalars(_MOMENTUM if momentum is None else momentum, step)

    def direction(
        self, layout: Layout, gradient: Tensor, momenta: Sequence[Tensor], scalars: Sequence[Number]
    ) -> Tensor:
        """See `StackedOptimizer.direction`."""
        mean, square = momenta
        return adam_direction(gradient, mean, square, scalars, self.epsilon)


class StackedAdamW(StackedAdam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019), as `torch.optim.AdamW`."""

    decoupled_decay = True


def adam_scalars(beta: float, step: int) -> tuple[float, ...]:
    """The new gradient's share of the mean, and the corrections of the squares' root and of the mean."""
    return 1 - beta, 1 / math.sqrt(1 - _SQUARE_DECAY**step), 1 / (1 - beta**step)


def adam_direction(gradient: Tensor, mean: Tensor, square: Tensor, scalars: Sequence[Number], epsilon: float) -> Tensor:
    """Adam's direction; ``mean`` and ``square`` are brought up to date in place."""
    share, root_correction, mean_correction = scalars
    mean.lerp_(gradient, share)
    square.mul_(_SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - _SQUARE_DECAY)
    root = square.sqrt().mul_(root_correction).add_(epsilon)
    return mean.div(root).mul_(mean_correction)


class StackedMuon(StackedOptimizer):
    """Muon with Nesterov momentum for matrices, AdamW for the rest.

    A matrix's step has the size of AdamW's (Liu et al., "Muon is scalable for LLM training", 2025), so that one
    learning rate and one weight decay serve both.
    """

    def scalars(self, momentum: float | None, step: int) -> tuple[float, ...]:
        """Muon's momentum and what is left to one, then Adam's numbers."""
        beta = _MUON_MOMENTUM if momentum is None else momentum
        return beta, 1 - beta, *adam_scalars(_MOMENTUM if momentum is None else momentum, step)

    def direction(
        self, layout: Layout, gradient: Tensor, momenta: Sequence[Tensor], scalars: Sequence[Number]
    ) -> Tensor:
        """See `StackedOptimizer.direction`."""
        beta, share, *adam = scalars
        direction = torch.empty_like(gradient)
        views = (layout.views(vector) for vector in (gradient, direction, *momenta))
        for part, found, mean, square in zip(*views, strict=True):
            if is_matrix(part):
                mean.lerp_(part, share)
                matrices = part.lerp(mean, beta).flatten(2)
                size = 0.2 * math.sqrt(max(matrices.shape[1:]))
                found.copy_(orthogonalised(matrices).view_as(part).mul(size))
            else:
                found.copy_(adam_direction(part, mean, square, adam, self.epsilon))
        return direction


_KINDS: dict[str, type[StackedAdam | StackedSGD | StackedMuon]] = {
    "adam": StackedAdam,
    "adamw": StackedAdamW,
    "sgd": StackedSGD,
    "muon": StackedMuon,
}


def momenta_of(recipe: RecipeSection) -> int:
    """How many vectors the recipe's optimiser carries along."""
    return _KINDS[recipe.optimizer].vectors


def make_optimizer(recipe: RecipeSection, rates: Sequence[float], factors: Tensor | None = None) -> StackedOptimizer:
    """The recipe's optimiser for lanes with these peak rates; ``factors`` are those of each number's own."""
    one_rate = len(set(rates)) == 1 and recipe.schedule != "plateau"  # which looks at each lane's own losses
    return _KINDS[recipe.optimizer](recipe.weight_decay, one_rate=one_rate, epsilon=recipe.epsilon, factors=factors)


def clip_gradient(layout: Layout, gradient: Tensor, limit: float) -> Tensor:
    """A flat gradient with each replica's part shrunk to a norm of at most ``limit``."""
    factors = (limit / (layout.norms(gradient) + 1e-6)).clamp(max=1.0)
    return gradient * layout.spread(factors)
