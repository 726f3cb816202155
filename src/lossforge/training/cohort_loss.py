"""K losses on K networks' logits: formulas all in one call of the interpreter, terms by their modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossforge.data.samples import IGNORED
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import SOFTMAX, Head
from lossforge.losses.population import PopulationLoss


class CohortLoss:
    """The losses of a cohort.

    Args:
        specs: a loss for each replica.
        label_smoothing: the recipe's, on top of each loss's own.
        head: what stands between logits and losses.
        ignoring: whether targets may be `IGNORED`; the mean is then of all others, and 0 where there is none.

    A loss of the whole batch, such as Dice, is taken of each replica's own batch.
    """

    def __init__(
        self, specs: Sequence[LossSpec], label_smoothing: float, head: Head = SOFTMAX, *, ignoring: bool = False
    ) -> None:
        self.head = head
        self._ignoring = ignoring
        self.specs = smoothed = [_smoothed(spec, label_smoothing) for spec in specs]
        # A sweep or a control of nothing but cross-entropy is torch's own; it waits for no kernel to be compiled.
        standard = head.cross_entropy_formula
        plain = {spec.label_smoothing for spec in smoothed if spec.formula == standard and not spec.class_mean}
        alike = len(set(smoothed)) == 1 and len(plain) == 1
        self._cross_entropy = plain.pop() if alike else None
        self._formulas = [k for k, spec in enumerate(smoothed) if not spec.is_term]
        self._terms = {k: spec.build(head=head.name) for k, spec in enumerate(smoothed) if spec.is_term}
        formulas = [] if alike else [smoothed[k] for k in self._formulas]
        self._population = PopulationLoss(formulas, head.name) if formulas else None
        self.needs: frozenset[str] = frozenset() if self._population is None else self._population.needs
        """What the losses read besides logits and target: "progress", "class_share"."""

    @property
    def room(self) -> tuple[object, ...] | None:
        """The same for losses whose `tables` can stand in each other's place; None for terms, which are programs."""
        if self._cross_entropy is not None:
            return "cross_entropy", self._cross_entropy
        return None if self._terms or self._population is None else self._population.room

    def tables(self, like: Tensor) -> list[Tensor]:
        """The losses as data on the device of ``like``, float32: whoever overwrites them has other losses here."""
        return [] if self._population is None else self._population.tables(like)

    def __call__(
        self, logits: Tensor, targets: Tensor, progress: Tensor | None = None, class_share: Tensor | None = None
    ) -> Tensor:
        """Mean loss ``(K,)`` of logits ``(K, B, outputs)`` against class indices ``(K, B)`` or labels ``(K, B, C)``.

        ``progress`` ``(1,)`` and ``class_share`` ``(K or 1, classes)`` are for losses that need them.
        """
        if self._ignoring:
            kept = targets != IGNORED
            return self._of_kept(logits, targets, kept, progress, class_share)
        if self._cross_entropy is not None:
            each = self.head.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), self._cross_entropy)
            return each.view(targets.shape[:2]).mean(1)
        if not self._terms and self._population is not None:
            together: Tensor = self._population(logits, targets, progress, class_share)
            return together
        values: list[Tensor] = [logits.new_zeros(())] * len(logits)
        if self._population is not None:
            shares = class_share[self._formulas] if class_share is not None and len(class_share) > 1 else class_share
            found = self._population(logits[self._formulas], targets[self._formulas], progress, shares)
            for place, k in enumerate(self._formulas):
                values[k] = found[place]
        for k, term in self._terms.items():
            values[k] = term(logits[k], targets[k])
        return torch.stack(values)

    def _of_kept(
        self, logits: Tensor, targets: Tensor, kept: Tensor, progress: Tensor | None, class_share: Tensor | None
    ) -> Tensor:
        """The same, of class indices of which those not ``kept`` ``(K, B)`` do not count."""
        if self._cross_entropy is not None:
            each = self.head.cross_entropy(logits.flatten(0, 1), targets.flatten(0, 1), self._cross_entropy)
            return each.view(targets.shape[:2]).sum(1) / kept.sum(1).clamp(min=1)
        values: list[Tensor] = [logits.new_zeros(())] * len(logits)
        if self._population is not None:
            own = self._formulas
            shares = class_share[own] if class_share is not None and len(class_share) > 1 else class_share
            found = self._population(logits[own], targets[own], progress, shares, kept=kept[own])
            for place, k in enumerate(own):
                values[k] = found[place]
        for k, term in self._terms.items():
            # The mean of nothing is no number: where nothing counts, of something, and then not at all.
            some = kept[k].any()
            values[k] = torch.where(some, term(logits[k], targets[k].where(some, 0)), 0.0)
        return torch.stack(values)


def _smoothed(spec: LossSpec, label_smoothing: float) -> LossSpec:
    """The loss with the recipe's smoothing as well: targets are smoothed twice, which is smoothing once by more."""
    both = 1 - (1 - spec.label_smoothing) * (1 - label_smoothing)
    return LossSpec(spec.formula, both if label_smoothing else spec.label_smoothing, spec.class_mean)
