"""The state of K lanes: one dataclass of tensors whose axis 0 is the lane's, and one map over its fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from lossforge.losses.weighting_rules import MOST_TERMS
from lossforge.training.backends import State
from lossforge.training.stacked import Flat

Change = Callable[[Sequence[Tensor]], Tensor]
"""Makes one tensor, axis 0 the lane's, of the same tensor of several states."""

_BETWEEN = {"between": True}
"""Marks what changes between steps: a step neither reads nor writes it."""


@dataclass(slots=True)
class LaneState:
    """Everything of K networks on their way that is a lane's own. Axis 0 of each tensor is the lane's.

    Tensors are ``(K,)`` unless they are parameters or buffers, ``(K, ...)``. What stands before ``factors``
    is read or changed, in place, by a captured step.
    """

    weights: Flat
    """Trainable parameters."""
    frozen: State
    """Parameters that are not trained, by name."""
    buffers: State
    """Running statistics and the like, by name."""
    momenta: list[Flat]
    """What the optimiser carries from step to step."""
    rates: Tensor
    """Learning rates: peaks, but under the schedule "plateau", which lowers them."""
    scale: Tensor
    """What each loss is multiplied with."""
    seed_of: Tensor
    """Number of each lane's seed among the cohort's."""
    finite: Tensor
    """Whether every loss so far was finite."""
    total: Tensor
    """Sum of the losses of this epoch's batches."""
    overflow_scale: Tensor
    """Scale of the loss in float16; see `lossforge.training.loss_scaling`."""
    good_steps: Tensor
    """Steps since it last changed."""
    factors: Flat = field(metadata=_BETWEEN)
    """What steps have added to factors of losses in a sum, ``(K, MOST_TERMS)``; no captured step has such."""
    factor_momenta: list[Flat] = field(metadata=_BETWEEN)
    """What the optimiser carries along for them."""
    part_losses: State = field(metadata=_BETWEEN)
    """What a rule for factors has to know of the losses so far, by name, each ``(K, MOST_TERMS)``."""
    shares: list[Tensor] = field(metadata=_BETWEEN)
    """Share of each loss of a sum in the gradient, ``(K, MOST_TERMS)``, at the end of each epoch so far."""
    weights_told: list[Tensor] = field(metadata=_BETWEEN)
    """Factors of the losses in a sum then, ``(K, MOST_TERMS)``."""
    correct: Tensor = field(metadata=_BETWEEN)
    """Samples that were classified as trained on; see `lossforge.training.early_stop`."""
    curve: list[Tensor] = field(metadata=_BETWEEN)
    """Mean training loss of each epoch so far."""

    @classmethod
    def begin(cls, weights: Flat, rates: Tensor, momenta: int, **known: Any) -> LaneState:
        """Lanes before their first step: ``momenta`` vectors of zeros, a scale of 1, and whatever is ``known``."""
        lanes = len(rates)

        def filled(value: float | bool) -> Tensor:
            return torch.full((lanes,), value, device=rates.device)

        def each(value: float) -> Tensor:
            return torch.full((lanes, MOST_TERMS), value, device=rates.device)

        factors = Flat.of([each(0.0)])
        fresh: dict[str, Any] = {
            "factors": factors,
            "factor_momenta": [factors.zeros() for _ in range(momenta)],
            "part_losses": {
                "factors": each(1.0),
                "initial": each(torch.nan),
                "totals": each(0.0),
                "last": each(torch.nan),
                "before": each(torch.nan),
            },
            "shares": [],
            "weights_told": [],
            "frozen": {},
            "buffers": {},
            "momenta": [weights.zeros() for _ in range(momenta)],
            "scale": filled(1.0),
            "seed_of": torch.arange(lanes, device=rates.device),
            "finite": filled(True),
            "total": filled(0.0),
            "overflow_scale": filled(2.0**13),
            "good_steps": filled(0.0),
            "correct": filled(0.0),
            "curve": [],
        }
        return cls(weights, rates=rates, **{**fresh, **known})

    def __len__(self) -> int:
        return len(self.rates)

    def in_step(self) -> list[Tensor]:
        """The tensors that a step reads or changes, the flat weights first; always in the same order."""
        values = [getattr(self, one.name) for one in fields(self) if not one.metadata]
        return [tensor for value in values for tensor in _tensors(value)]


def mapped(states: Sequence[LaneState], change: Change) -> LaneState:
    """A state whose every tensor is ``change`` of that tensor of all ``states``."""
    return LaneState(
        **{one.name: _mapped([getattr(state, one.name) for state in states], change) for one in fields(LaneState)}
    )


def gathered(states: Sequence[LaneState], lanes: Sequence[tuple[int, int]]) -> LaneState:
    """Lanes of several states that are equally far, each (which state, which lane), in memory of their own."""
    return mapped(states, lambda values: torch.stack([values[source][lane] for source, lane in lanes]))


def copied(state: LaneState) -> LaneState:
    """The same in memory of its own."""
    return mapped([state], lambda values: values[0].clone())


def _mapped(values: list[Any], change: Change) -> Any:
    first = values[0]
    if isinstance(first, Flat):
        return Flat.of([change(parts) for parts in zip(*(value.parts for value in values), strict=True)])
    if isinstance(first, dict):
        return {name: _mapped([value[name] for value in values], change) for name in first}
    if isinstance(first, list):
        return [_mapped(list(parts), change) for parts in zip(*values, strict=True)]
    return change(values)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Flat):
        return [value.vector]
    if isinstance(value, dict):
        return list(value.values())
    return [part.vector for part in value] if isinstance(value, list) else [value]
