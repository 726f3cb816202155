"""Weights of sums that change in the course of a training, for a cohort: what `WeightedFusionLoss` does for one.

Everything a rule carries along is in the lanes' state: ``factors`` as what a step has added to where it began
(log sigma^2 from 0, GradNorm's factor from 1), with momenta as the network's weights have them, and ``part_losses``.
Each lane has `MOST_TERMS` places, so that what is computed for one does not depend on how many its neighbours need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lossforge.losses.compiled import LEAST_FACTOR, LossSpec
from lossforge.losses.heads import Head
from lossforge.losses.weighting_rules import MOST_TERMS
from lossforge.training.lanes import LaneState
from lossforge.training.optimizers import Number, StackedOptimizer
from lossforge.training.part_losses import PartLosses


class ChangingWeights:
    """The rules of K lanes, of which some have none.

    Args:
        specs: the lanes' losses.
        label_smoothing, head, ignoring: as for `PartLosses`.
        device: where the lanes are.
    """

    def __init__(
        self, specs: Sequence[LossSpec], label_smoothing: float, head: Head, *, ignoring: bool, device: torch.device
    ) -> None:
        found = [spec.weighted for spec in specs]
        self.losses = PartLosses(
            [() if one is None else one[1] for one in found], label_smoothing, head, ignoring=ignoring
        )
        methods = ["" if one is None else one[0].method for one in found]
        counts = [0 if one is None else len(one[1]) for one in found]

        def column(values: Sequence[float | bool]) -> Tensor:
            return torch.tensor(values, device=device)[:, None]

        self.uncertainty = column([method == "uncertainty" for method in methods])
        self.dwa = column([method == "dwa" for method in methods])
        self.gradnorm = column([method == "gradnorm" for method in methods])
        self.balances = "gradnorm" in methods
        """Whether a step needs the norms of the parts' gradients."""
        self.value = column([1.0 if one is None else one[0].value for one in found])
        self.count = column(counts)
        self.used = torch.arange(MOST_TERMS, device=device) < self.count
        self._most = max(counts)

    def factors(self, lanes: LaneState) -> Tensor:
        """What each part is multiplied by, ``(K, MOST_TERMS)``; 0 where there is none."""
        learned = lanes.factors.parts[0]
        found = torch.where(self.uncertainty, (-learned).exp(), torch.where(self.gradnorm, 1 + learned, 1.0))
        return torch.where(self.dwa, lanes.part_losses["factors"], found) * self.used

    def loss(self, lanes: LaneState, table: Tensor) -> Tensor:
        """The sums ``(K,)`` of losses ``(K, MOST_TERMS)``; 0 of lanes without a rule."""
        spread = (self.uncertainty & self.used) * lanes.factors.parts[0]
        return (self.factors(lanes) * table + spread / 2).sum(1)

    def norms(self, table: Tensor, shared: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        """Norm ``(K, MOST_TERMS)`` of each part's gradient on the lanes' ``shared`` weight, ``(K, ...)``.

        The gradient is computed times ``scale``, ``(K,)``.
        """
        found = torch.zeros_like(table)
        for slot in range(self._most):
            (gradient,) = torch.autograd.grad(
                (table[:, slot] * scale).sum(), shared, retain_graph=True, materialize_grads=True
            )
            found[:, slot] = gradient.flatten(1).norm(dim=1) / scale
        return found

    def step(
        self,
        lanes: LaneState,
        table: Tensor,
        norms: Tensor | None,
        optimizer: StackedOptimizer,
        numbers: Sequence[Number],
        kept: Tensor | None,
    ) -> None:
        """One step of the factors, behind one of the network; ``kept`` as for `StackedOptimizer.apply`."""
        state, learned = lanes.part_losses, lanes.factors.parts[0]
        state["totals"] += table
        state["initial"].copy_(table.where(state["initial"].isnan(), state["initial"]))
        gradient = lanes.scale[:, None] * (0.5 - (-learned).exp() * table) * (self.uncertainty & self.used)
        if norms is not None:
            gradient = torch.where(self.gradnorm & self.used, self._balancing(lanes, table, norms), gradient)
        optimizer.apply(
            replace(lanes, weights=lanes.factors, momenta=lanes.factor_momenta), gradient.flatten(), numbers, kept
        )
        factors = (1 + learned).clamp(min=LEAST_FACTOR) * self.used
        balanced = factors * (self.count / factors.sum(1, keepdim=True)) - 1
        learned.copy_(torch.where(self.gradnorm & self.used, balanced, learned))

    def _balancing(self, lanes: LaneState, table: Tensor, norms: Tensor) -> Tensor:
        """GradNorm's gradient on the factors."""
        lengths = self.factors(lanes) * norms
        ratio = table / lanes.part_losses["initial"]
        ratio = (ratio.where(ratio.isfinite(), torch.ones_like(ratio)) * self.used).clamp(min=0)
        rate = (ratio / (ratio.sum(1, keepdim=True) / self.count)).nan_to_num(1.0)
        wanted = lengths.sum(1, keepdim=True) / self.count * rate**self.value
        return (lengths - wanted).sign() * norms

    def end_epoch(self, lanes: LaneState, steps: int) -> None:
        """An epoch of ``steps`` batches is over: DWA's factors for the next."""
        state = lanes.part_losses
        state["before"].copy_(state["last"])
        state["last"].copy_(state["totals"] / steps)
        state["totals"].zero_()
        ratio = state["last"] / state["before"]
        ratio = ratio.where(ratio.isfinite(), torch.ones_like(ratio)) / self.value
        most = ratio.where(self.used, ratio.new_full((), -torch.inf)).amax(1, keepdim=True)
        powers = torch.where(self.used, (ratio - most).exp(), 0.0)
        shares = self.count * powers / powers.sum(1, keepdim=True)
        state["factors"].copy_(torch.where(self.dwa & self.used, shares, state["factors"]))
