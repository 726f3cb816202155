"""The losses of a cohort's sums one by one: what weights that change, and shares of the gradient, are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import SOFTMAX, Head
from lossforge.training.cohort_loss import CohortLoss


class PartLosses:
    """The parts of K losses, P in all, each computed as if it had a lane of its own.

    Args:
        parts: of each lane, what is asked for; none where nothing is.
        label_smoothing: the recipe's, on top of each loss's own.
        head: what stands between logits and losses.
        ignoring: as for `CohortLoss`.
    """

    def __init__(
        self, parts: Sequence[Sequence[LossSpec]], label_smoothing: float, head: Head = SOFTMAX, *, ignoring: bool
    ) -> None:
        self.lanes = [lane for lane, own in enumerate(parts) for _ in own]
        """The lane of each part."""
        self.slots = [slot for own in parts for slot in range(len(own))]
        """Its place among the lane's."""
        self._loss = CohortLoss([spec for own in parts for spec in own], label_smoothing, head, ignoring=ignoring)
        self.needs = self._loss.needs

    def __len__(self) -> int:
        return len(self.lanes)

    def __call__(self, logits: Tensor, targets: Tensor, progress: Tensor | None, class_share: Tensor | None) -> Tensor:
        """Mean loss ``(P,)`` of each part; arguments as for `CohortLoss`, of K lanes."""
        own = torch.tensor(self.lanes, device=logits.device)
        return self.of_parts(logits[own], targets[own], progress, self._shares(class_share, own))

    def of_parts(self, logits: Tensor, targets: Tensor, progress: Tensor | None, class_share: Tensor | None) -> Tensor:
        """The same of logits ``(P, B, outputs)`` that are each part's own."""
        values: Tensor = self._loss(logits, targets, progress, class_share)
        return values

    def gradient_norms(
        self, logits: Tensor, targets: Tensor, progress: Tensor | None, class_share: Tensor | None
    ) -> Tensor:
        """Norm ``(P,)`` of each part's gradient on its lane's logits."""
        own = torch.tensor(self.lanes, device=logits.device)
        with torch.enable_grad():
            z = logits.detach()[own].requires_grad_()
            values = self.of_parts(z, targets[own], progress, self._shares(class_share, own))
            (gradient,) = torch.autograd.grad(values.sum(), z, materialize_grads=True)
        norms: Tensor = gradient.flatten(1).norm(dim=1)
        return norms

    @staticmethod
    def _shares(class_share: Tensor | None, own: Tensor) -> Tensor | None:
        return class_share[own] if class_share is not None and len(class_share) > 1 else class_share

    def table(self, values: Tensor, lanes: int, width: int) -> Tensor:
        """Values ``(P,)`` as ``(lanes, width)``, 0 where a lane has no such part."""
        places = [lane * width + slot for lane, slot in zip(self.lanes, self.slots, strict=True)]
        flat = values.new_zeros(lanes * width)
        return flat.index_copy(0, torch.tensor(places, device=values.device), values).view(lanes, width)
