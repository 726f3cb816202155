"""Weierstrass's fractal: partial sums of the series that is continuous and nowhere differentiable."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lossforge.errors import ModelError
from lossforge.models.activations.base import Number, Parameter, SpecialFunction, cast, softly_bounded

_HIGHEST = 20_000
"""Largest frequency of a term, as a multiple of π: the rounding of x is then a thousandth of its period."""


class Weierstrass(SpecialFunction):
    """The first terms of Σ aⁿ cos(bⁿ π x), n from 0 (Weierstrass 1872); not the elliptic function `WeierstrassP`.

    The whole series is nowhere differentiable where ab ≥ 1 (Hardy, Trans. AMS 17, 1916). What is computed, and whose
    exact derivative is given, is the sum of ``terms`` terms: a smooth function, whose slope reaches π Σ (ab)ⁿ. It is
    65 for the defaults, and grows by ab with every further term: gradients of a deep network explode where there are
    many. The whole series differs from the sum by at most a^terms / (1 - a).

    Domain: all real x; terms whose frequency passes 20,000 π are refused, since single precision does not tell their
    phases apart. Errors are those of the rounding of x, times the slope, so that large inputs have lost their
    phase; ``tanh(x)`` maps every input to within ±1, one period where b is odd.
    """

    NAME = "weierstrass"
    PARAMETERS = (
        Parameter("a", 0.5, 0.05, 0.95, "each term's amplitude, as a share of the one before"),
        Parameter("b", 3.0, 1.0, 7.0, "each term's frequency, as a multiple of the one before"),
        Parameter("terms", 6, 1, 12, "terms of the partial sum", learnable=False),
    )
    DOMAIN = "all real x; 0 < a < 1 (fractal in the limit where ab ≥ 1)"
    MAP = "tanh(x)"

    def __init__(self, values: Mapping[str, float] | None = None, learned: Collection[str] = ()) -> None:
        super().__init__(values, learned)
        largest = self.PARAMETERS[1].high if "b" in self.learned else self.values["b"]
        most = 1 + int(math.log(_HIGHEST) / math.log(largest)) if largest > 1 else math.inf
        if self.values["terms"] > most:
            told = f"b up to {largest:g}, as it is learned," if "b" in self.learned else f"b = {largest:g}"
            raise ModelError(f"{self.NAME}: with {told} take {most} terms or fewer: higher frequencies are noise")

    def into_domain(self, x: Tensor) -> Tensor:
        """Within ±1."""
        return softly_bounded(x, -1.0, 1.0)

    def function(self, z: Tensor) -> Tensor:
        """The partial sum at real ``z``."""
        a, b = self.number("a"), self.number("b")
        count = int(self.values["terms"])
        amplitudes, frequencies = [a**n for n in range(count)], [math.pi * b**n for n in range(count)]
        if self.learned:
            return _cosines(z, amplitudes, frequencies, 0)
        found: Tensor = _FixedSum.apply(z, _Waves(amplitudes, frequencies, 0))
        return found


def _cosines(x: Tensor, amplitudes: Sequence[Number], frequencies: Sequence[Number], quarters: int) -> Tensor:
    """Σ amplitude · cos(frequency · x + quarters · π / 2)."""
    function, sign = (torch.sin if quarters % 2 else torch.cos), (-1 if quarters % 4 in (1, 2) else 1)
    total = torch.zeros_like(x)
    for amplitude, frequency in zip(amplitudes, frequencies, strict=True):
        total = total + sign * cast(amplitude, x) * function(cast(frequency, x) * x)
    return total


class _Waves:
    """Amplitudes, frequencies and phase of a sum of cosines; its derivative is another such sum."""

    def __init__(self, amplitudes: Sequence[Number], frequencies: Sequence[Number], quarters: int) -> None:
        self.amplitudes, self.frequencies, self.quarters = amplitudes, frequencies, quarters

    @property
    def slope(self) -> _Waves:
        pairs = zip(self.amplitudes, self.frequencies, strict=True)
        return _Waves([one * other for one, other in pairs], self.frequencies, self.quarters + 1)


class _FixedSum(torch.autograd.Function):
    """The sum with fixed parameters: keeps its input alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, waves: _Waves) -> Tensor:
        return _cosines(x, waves.amplitudes, waves.frequencies, waves.quarters)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.waves = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return given[0] * _FixedSum.apply(x, ctx.waves.slope), None
