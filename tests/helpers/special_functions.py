"""Oracles in mpmath for the activations, each by another formula than the module's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import mpmath

Oracle = Callable[[float], mpmath.mpf]
"""The function at one point of its domain."""


def jacobi(kind: str, m: float) -> Oracle:
    """mpmath has it by theta functions."""
    return lambda u: mpmath.ellipfun(kind, u=mpmath.mpf(u), m=mpmath.mpf(m))


def lerch(s: float, a: float) -> Oracle:
    """The defining series, as far as its terms are above 1e-20."""
    made: list[mpmath.mpf] = []

    def at(z: float) -> mpmath.mpf:
        count = 2 + int(46 / -math.log(max(abs(z), 1e-9)))
        while len(made) < count:
            made.append((len(made) + mpmath.mpf(a)) ** -mpmath.mpf(s))
        return mpmath.polyval(made[count - 1 :: -1], mpmath.mpf(z))

    return at


def mittag_leffler(alpha: float, beta: float) -> Oracle:
    """The defining series; it cancels by exp(4^(1 / alpha)), which the working precision must hold."""
    count = 160 if alpha > 0.4 else 3500
    made = [mpmath.rgamma(mpmath.mpf(alpha) * k + mpmath.mpf(beta)) for k in range(count)][::-1]
    return lambda z: mpmath.polyval(made, mpmath.mpf(z))


def weierstrass(a: float, b: float, terms: int) -> Oracle:
    """The partial sum."""
    powers = [(mpmath.mpf(a) ** n, mpmath.pi * mpmath.mpf(b) ** n) for n in range(terms)]
    return lambda x: mpmath.fsum(amplitude * mpmath.cos(frequency * mpmath.mpf(x)) for amplitude, frequency in powers)


def weierstrass_p(m: float) -> Oracle:
    """By Fourier's series around the pole (DLMF 23.8.1), with half-periods K(m) and iK(1 - m)."""
    half, beside = mpmath.ellipk(m), mpmath.ellipk(1 - mpmath.mpf(m))
    nome = mpmath.exp(-mpmath.pi * beside / half)
    powers = [(n, n * nome ** (2 * n) / (1 - nome ** (2 * n))) for n in range(1, 60)]
    scale = (mpmath.pi / (2 * half)) ** 2
    eta = mpmath.fsum(weight for _, weight in powers)

    def at(z: float) -> mpmath.mpf:
        angle = mpmath.pi * mpmath.mpf(z) / half
        waves = mpmath.fsum(weight * mpmath.cos(n * angle) for n, weight in powers)
        return scale * (mpmath.csc(angle / 2) ** 2 - mpmath.mpf(1) / 3 + 8 * eta - 8 * waves)

    return at


def values(oracle: Oracle, points: Sequence[float]) -> list[float]:
    """The oracle at many points, as floats."""
    return [float(oracle(point)) for point in points]
