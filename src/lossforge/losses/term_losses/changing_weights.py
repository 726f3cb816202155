"""A sum of losses whose weights change in the course of a training, by uncertainty, DWA or GradNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.term_losses.weighted_sum import FusionLoss

LEAST_FACTOR = 1e-3
"""What GradNorm's factors are held at, at least, before their sum is made their number again."""


class WeightedFusionLoss(FusionLoss):
    """f_1 L_1 + f_2 L_2 + ... with factors f that begin at 1; a drop-in, see `FusionLoss` for the arguments.

    - ``method`` "uncertainty" (Kendall et al., CVPR 2018): the sum of exp(-s_i) L_i + s_i / 2, s_i = log sigma_i^2. The
      ``log_variances`` s are parameters: ``optimizer = Adam([*model.parameters(), *criterion.parameters()])``.
    - "dwa" (Liu et al., CVPR 2019): call ``criterion.end_epoch()`` at the end of each epoch. With L_i(t) the mean loss
      of epoch t, f_i = n exp(r_i / T) / sum_j exp(r_j / T) with r_i = L_i(t - 1) / L_i(t - 2), and 1 in the first two;
      T is ``value``. What is called in ``eval`` mode or without gradients does not count.
    - "gradnorm" (Chen et al., ICML 2018): ``factors`` are parameters, to be given to the optimiser as above, without
      weight decay. At each step, ``loss = criterion(logits, target)``, then ``criterion.balance(weight)`` with the
      weight of the last layer that all losses share (the one that gives the logits), then ``loss.backward()``.
      alpha is ``value``.

    All of it is in ``state_dict``: saved, loaded, and gone on with.
    """

    factors: Tensor
    initial: Tensor
    totals: Tensor
    batches: Tensor
    last: Tensor
    before: Tensor

    def __init__(
        self,
        call: str,
        parts: Sequence[tuple[float, DropInLoss]],
        method: str,
        value: float,
        *,
        head: str = "softmax",
        **arguments: Any,
    ) -> None:
        super().__init__(call, parts, head=head, **arguments)
        self.method, self.value = method, value
        unknown = torch.full((len(parts),), torch.nan)
        if method == "uncertainty":
            self.log_variances = nn.Parameter(torch.zeros(len(parts)))
        elif method == "gradnorm":
            self.factors = nn.Parameter(torch.ones(len(parts)))
            self.register_buffer("initial", unknown)
        else:
            self.register_buffer("factors", torch.ones(len(parts)))
            self.register_buffer("totals", torch.zeros(len(parts)))
            self.register_buffer("batches", torch.zeros(()))
            self.register_buffer("last", unknown)
            self.register_buffer("before", unknown.clone())
        self._seen: Tensor | None = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """See `DropInLoss.forward`."""
        counts = self.training and torch.is_grad_enabled()
        if counts and self.method == "gradnorm":
            with torch.no_grad():  # what the optimiser's last step made of them
                self.factors.clamp_(min=LEAST_FACTOR)
                self.factors.mul_(len(self.parts) / self.factors.sum())
        loss = super().forward(input, target)
        if counts and self.method == "dwa" and self._seen is not None:
            self.totals += self._seen.detach()
            self.batches += 1
        return loss

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss before it is multiplied by ``scale``; see `forward`."""
        self._seen = values = torch.stack(self.values(input, target))
        if self.method == "uncertainty":
            spread = self.log_variances.to(values)
            return ((-spread).exp() * values).sum() + spread.sum() / 2
        return (self.factors.detach().to(values) * values).sum()

    def end_epoch(self) -> None:
        """An epoch is over: DWA's factors for the next. Does nothing for the other methods."""
        if self.method != "dwa" or not float(self.batches):
            return
        self.before.copy_(self.last)
        self.last.copy_(self.totals / self.batches)
        self.totals.zero_()
        self.batches.zero_()
        ratio = self.last / self.before
        ratio = ratio.where(ratio.isfinite(), torch.ones_like(ratio))
        powers = ((ratio - ratio.max()) / self.value).exp()
        self.factors.copy_(len(self.parts) * powers / powers.sum())

    def balance(self, shared: Tensor) -> None:
        """GradNorm's gradient of its factors, from the last call's losses and a ``shared`` weight.

        To be called between the loss and ``backward``. Does nothing for the other methods.
        """
        if self.method != "gradnorm":
            return
        if self._seen is None or not self._seen.requires_grad:
            raise ValueError("balance asks for the losses of a call with gradients: call the criterion first")
        norms = torch.stack(
            [torch.autograd.grad(value, shared, retain_graph=True)[0].norm() for value in self._seen]
        ).to(self.factors)
        values = self._seen.detach().to(self.factors)
        self.initial.copy_(values.where(self.initial.isnan(), self.initial))
        lengths = self.factors.detach() * norms
        ratio = values / self.initial
        ratio = ratio.where(ratio.isfinite(), torch.ones_like(ratio)).clamp(min=0)
        wanted = lengths.mean() * (ratio / ratio.mean()).nan_to_num(1.0) ** self.value
        self.factors.grad = (lengths - wanted).sign() * norms

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_seen": None}  # which is of a graph
