"""The Weierstrass elliptic function ℘ of a rectangular lattice, on the real line between its poles."""

from __future__ import annotations

from torch import Tensor

from lossforge.models.activations.base import Parameter, SpecialFunction, cast
from lossforge.models.activations.jacobi import LARGEST, M, elliptic, landen_moduli, quarter_period

_NEAREST = 0.4
"""How near to the pole at 0 inputs come, as a share of the half-period."""


class WeierstrassP(SpecialFunction):
    """℘(z) = 1 / sn²(z | m) - (1 + m) / 3, with e1 - e3 = 1 (DLMF 23.6.21); not the fractal `Weierstrass`.

    The lattice has the real half-period ω1 = K(m) and the roots e1 = (2 - m)/3, e2 = (2m - 1)/3, e3 = -(1 + m)/3, so
    that g2 = 2(e1² + e2² + e3²), g3 = 4 e1 e2 e3. Every lattice with three real roots is one of these but for scale:
    ℘(λz)·λ². Poles of order two at 0, ±2K, ±4K ...; between 0 and 2K it is positive above e1, symmetric about K.

    Domain: 0 < z < 2K. Near a pole value and slope grow as 1/z² and 2/z³, and relative errors stay a few roundings.
    The map ``z = K (0.4 + 0.6 sigmoid(x))`` comes no nearer to a pole than 0.4 K, and stops at the minimum: behind it
    the activation falls from at most 2.6 (m = 0.5: 1.85) to e1, with slopes of at most 0.54; both shrink as m nears 1.
    """

    NAME = "weierstrass_p"
    PARAMETERS = (Parameter("m", M.default, 0.0, LARGEST, "m = (e2 - e3) / (e1 - e3), which fixes the lattice"),)
    DOMAIN = "0 < z < 2K(m), between two poles; 0 ≤ m ≤ 0.9999"
    MAP = "z = K(m) (0.4 + 0.6 sigmoid(x))"

    def into_domain(self, x: Tensor) -> Tensor:
        """From 0.4 K to K."""
        half_period = cast(quarter_period(landen_moduli(self.number("m"), x.dtype)), x)
        return half_period * (_NEAREST + (1 - _NEAREST) * x.sigmoid())

    def function(self, z: Tensor) -> Tensor:
        """℘ at ``z`` that is no pole."""
        m = self.number("m")
        sn = elliptic(z, m)[0]
        return 1 / (sn * sn) - cast((1 + m) / 3, z)
