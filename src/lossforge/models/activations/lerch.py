"""The Lerch transcendent, by a series that a transformation makes converge fast up to near its singularity."""

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

_LARGEST = 0.95
_STEP = 5 / 32
"""Of the trapezoidal rule in log t, steps `_FIRST` to `_LAST`: its error, and what is left out, are below 1e-14."""
_FIRST, _LAST = -512, 39


def _transformed(z: float) -> float:
    return float(z / (1 + (1 - z) ** 0.5) ** 2)


_LOW, _HIGH = _transformed(-_LARGEST), _transformed(_LARGEST)
_MIDDLE, _HALF = (_HIGH + _LOW) / 2, (_HIGH - _LOW) / 2


class Lerch(Interpolated):
    """Φ(z, s, a) = Σ zⁿ / (n + a)ˢ, n from 0 (DLMF 25.14.1): -log(1 - z)/z for s = a = 1, 1/(1 - z) in the limit s = 0.

    Singular at z = 1, a branch point. The series converges as zⁿ: 300 terms for single precision at z = 0.95. Behind
    ``w = z / (1 + √(1 - z))²``, which takes the plane without [1, ∞) to the unit disc, the function is analytic in the
    disc, and a Chebyshev series in w needs 18 terms (float64: 32). It goes through exact values,
    ∫ t^(s-1) e^(-at) / (1 - z e^(-t)) dt / Γ(s) over t > 0 (DLMF 25.14.5), by the trapezoidal rule in log t: the
    transformation is used everywhere, since it is the shorter one near 0 too.

    Domain: -0.95 ≤ z ≤ 0.95, 0.5 ≤ s ≤ 4, 0.25 ≤ a ≤ 4. There it is positive, rises with z, and is below 260 (s = 4,
    a = 0.25; with the defaults 3.2). ``z = 0.95 tanh(x / 0.95)`` keeps every input away from the singularity. At x = 0
    it is a⁻ˢ, not 0.
    """

    NAME = "lerch"
    PARAMETERS = (
        Parameter("s", 1.0, 0.5, 4.0, "exponent"),
        Parameter("a", 1.0, 0.25, 4.0, "shift"),
    )
    DOMAIN = "-0.95 ≤ z ≤ 0.95, away from the branch point at 1; 0.5 ≤ s ≤ 4, 0.25 ≤ a ≤ 4"
    MAP = "z = 0.95 tanh(x / 0.95)"
    TERMS = {torch.float32: 18, torch.float64: 32}  # noqa: RUF012

    def into_domain(self, x: Tensor) -> Tensor:
        """Within ±0.95."""
        return softly_bounded(x, -_LARGEST, _LARGEST)

    def in_series(self, z: Tensor) -> Tensor:
        """The transformed variable w, its range taken to [-1, 1]."""
        root = 1 + (1 - z).sqrt()
        return (z / (root * root) - _MIDDLE) / _HALF

    def at_nodes(self, count: int, device: torch.device) -> Tensor:
        """Φ at the nodes, by the integral."""
        s, a = float64(self.number("s")), float64(self.number("a"))
        logs = constant(_logarithms, device)
        weights = (s * logs - a * logs.exp() - torch.lgamma(s)).exp() * _STEP
        return constant(_kernel, device, count) @ weights


def _logarithms() -> NDArray[numpy.float64]:
    # The step is a sum of powers of two: the points are exact, and evenly spaced to the last digit.
    return numpy.linspace(_FIRST * _STEP, _LAST * _STEP, _LAST - _FIRST, endpoint=False)


def _kernel(count: int) -> NDArray[numpy.float64]:
    """``1 / (1 - z e^(-t))`` at the nodes and the rule's points, ``(count, points)``."""
    w = _MIDDLE + _HALF * nodes(count)
    z = 4 * w / (1 + w) ** 2
    return 1 / (1 - numpy.outer(z, numpy.exp(-numpy.exp(_logarithms()))))
