"""The Mittag-Leffler function of two parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from lossforge.models.activations.base import Parameter, constant, float64, softly_bounded
from lossforge.models.activations.chebyshev import nodes
from lossforge.models.activations.interpolated import Interpolated

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW, _HIGH = -4.0, 1.0
_MIDDLE, _HALF = (_HIGH + _LOW) / 2, (_HIGH - _LOW) / 2

_CROSSING = 5.0
"""Where the parabola crosses the real axis: right of all poles, which lie within |s| ≤ 4."""
_STEP, _POINTS = 0.08, 44


class MittagLeffler(Interpolated):
    """E_{α,β}(z) = Σ zᵏ / Γ(αk + β), k from 0 (DLMF 10.46.3): exp for α = β = 1, cos √-z for α = 2, erfc's for α = 1/2.

    Entire, so that there is no singularity; but for positive z it grows as exp(z^(1/α)), and for negative z its series
    cancels as badly. The domain is therefore -4 ≤ z ≤ 1, with 0.25 ≤ α ≤ 2 and 0.25 ≤ β ≤ 4: values are from -2 to 12.
    For α ≤ 1 and β ≥ α it is positive and rises with z, with a tail as slow as 1/|z| on the left; for α > 1 it
    oscillates.

    Values are those of a Chebyshev series through exact ones, which come of the Hankel integral of
    e^s s^(α-β) / (s^α - z) along the parabola s = 5 (1 + iu)² (Garrappa, SIAM J. Numer. Anal. 53, 2015), where all
    poles for the domain lie inside: one rule for all α. ``z = tanh(x)`` for x > 0 and ``4 tanh(x / 4)`` for x < 0 takes
    every input into the domain; near 0 it is x itself, twice continuously differentiable. At x = 0 the activation is
    1/Γ(β), not 0.
    """

    NAME = "mittag_leffler"
    PARAMETERS = (
        Parameter("alpha", 0.5, 0.25, 2.0, "order: 1 is exp, smaller has a longer memory"),
        Parameter("beta", 1.0, 0.25, 4.0, "second parameter"),
    )
    DOMAIN = "-4 ≤ z ≤ 1; 0.25 ≤ alpha ≤ 2, 0.25 ≤ beta ≤ 4"
    MAP = "z = tanh(x) for x > 0, 4 tanh(x / 4) for x < 0"
    TERMS = {torch.float32: 36, torch.float64: 64}  # noqa: RUF012

    def into_domain(self, x: Tensor) -> Tensor:
        """From -4 to 1."""
        return softly_bounded(x, _LOW, _HIGH)

    def in_series(self, z: Tensor) -> Tensor:
        """The domain taken to [-1, 1]."""
        return (z - _MIDDLE) / _HALF

    def at_nodes(self, count: int, device: torch.device) -> Tensor:
        """E at the nodes, by the integral; in real numbers, which every kind of differentiation knows."""
        alpha, beta = float64(self.number("alpha")), float64(self.number("beta"))
        size, angle, weight, turn = constant(_parabola, device).unbind(0)
        z = constant(_arguments, device, count)[:, None]
        # s^(α-β) times the rule's weight, and s^α - z, each as real and imaginary part.
        power = weight * ((alpha - beta) * size).exp()
        phase = (alpha - beta) * angle + turn
        above, beside = power * phase.cos(), power * phase.sin()
        radius = (alpha * size).exp()
        real, imaginary = radius * (alpha * angle).cos() - z, radius * (alpha * angle).sin()
        return ((above * real + beside * imaginary) / (real * real + imaginary * imaginary)).sum(1)


def _arguments(count: int) -> NDArray[numpy.float64]:
    return _MIDDLE + _HALF * nodes(count)


def _parabola() -> NDArray[numpy.float64]:
    """Of each point of the rule's upper half ``(4, points)``: log |s|, arg s, size and phase of e^s ds."""
    u = (numpy.arange(_POINTS) + 0.5) * _STEP
    s = _CROSSING * (1 + 1j * u) ** 2
    step = 2 * _STEP * _CROSSING / numpy.pi * (1 + 1j * u)
    return numpy.stack([numpy.log(abs(s)), numpy.angle(s), abs(step) * numpy.exp(s.real), numpy.angle(step) + s.imag])
