"""Activations whose values are a Chebyshev series, made from slow and exact values in float64."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from lossforge.models.activations.base import SpecialFunction
from lossforge.models.activations.chebyshev import chebyshev_sum, coefficients, shortest


class Interpolated(SpecialFunction):
    """A function that is analytic on its domain, by a Chebyshev series in a variable `in_series` of it.

    With fixed parameters the series is made once, and is as short as the type allows. With learned ones each call makes
    it anew, from ``TERMS`` values in float64: a few thousand operations, however many numbers the input has.
    """

    TERMS: dict[torch.dtype, int]
    """How many terms reach the rounding of a type, whatever the parameters are."""

    def __init__(self, values: Mapping[str, float] | None = None, learned: Collection[str] = ()) -> None:
        super().__init__(values, learned)
        self._fixed: dict[torch.dtype, tuple[float, ...]] = {}
        if not self.learned:
            full = coefficients(self.at_nodes(self.TERMS[torch.float64], torch.device("cpu"))).tolist()
            self._fixed = {dtype: shortest(full, dtype) for dtype in self.TERMS}

    def at_nodes(self, count: int, device: torch.device) -> Tensor:
        """The function ``(count,)`` at Chebyshev's nodes in [-1, 1], float64, differentiable in learned parameters."""
        raise NotImplementedError

    def in_series(self, z: Tensor) -> Tensor:
        """The variable of the series, in [-1, 1], at ``z`` of the domain."""
        raise NotImplementedError

    def function(self, z: Tensor) -> Tensor:
        """The function at ``z`` of the domain."""
        if self.learned:
            return chebyshev_sum(self.in_series(z), coefficients(self.at_nodes(self.TERMS[z.dtype], z.device)))
        return chebyshev_sum(self.in_series(z), self._fixed[z.dtype])
