"""K losses on K networks' logits: formulas all in one call of the interpreter, terms by their modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossforge.losses.compiled import LossSpec
from lossforge.losses.population import PopulationLoss


class CohortLoss:
    """The losses of a cohort.

    Args:
        specs: a loss for each replica.
        label_smoothing: the recipe's, on top of each loss's own.

    A loss of the whole batch, such as Dice, is taken of each replica's own batch.
    """

    def __init__(self, specs: Sequence[LossSpec], label_smoothing: float) -> None:
        smoothed = [_smoothed(spec, label_smoothing) for spec in specs]
        self._formulas = [k for k, spec in enumerate(smoothed) if not spec.is_term]
        self._terms = {k: spec.build() for k, spec in enumerate(smoothed) if spec.is_term}
        self._population = PopulationLoss([smoothed[k] for k in self._formulas]) if self._formulas else None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss ``(K,)`` of logits ``(K, B, classes)`` against class indices ``(K, B)``."""
        if not self._terms and self._population is not None:
            together: Tensor = self._population(logits, targets)
            return together
        values: list[Tensor] = [logits.new_zeros(())] * len(logits)
        if self._population is not None:
            found = self._population(logits[self._formulas], targets[self._formulas])
            for place, k in enumerate(self._formulas):
                values[k] = found[place]
        for k, term in self._terms.items():
            values[k] = term(logits[k], targets[k])
        return torch.stack(values)


def _smoothed(spec: LossSpec, label_smoothing: float) -> LossSpec:
    """The loss with the recipe's smoothing as well: targets are smoothed twice, which is smoothing once by more."""
    both = 1 - (1 - spec.label_smoothing) * (1 - label_smoothing)
    return LossSpec(spec.formula, both if label_smoothing else spec.label_smoothing, spec.class_mean)
