"""The Jacobi elliptic functions sn, cn and dn, by descending Landen steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lossforge.models.activations.base import Number, Parameter, SpecialFunction, cast, softly_bounded

_STEPS = {torch.float32: 5, torch.float64: 6}
"""Steps after which the next modulus is below the rounding, for every parameter m up to `LARGEST`."""
LARGEST = 0.9999
"""Largest parameter m: at 1 the functions are hyperbolic, and their period is infinite."""
M = Parameter("m", 0.5, 0.0, LARGEST, "parameter m = k², the squared modulus")

_BOUND = 8.0


def landen_moduli(m: Number, dtype: torch.dtype) -> list[Number]:
    """Moduli k1, k2 ... of the descending steps from parameter m: ``(1 - k') / (1 + k')`` of the one before."""
    beside: Number = (1 - m) ** 0.5
    found: list[Number] = []
    while len(found) < _STEPS[dtype]:
        found.append((1 - beside) / (1 + beside))
        beside = 2 * beside**0.5 / (1 + beside)
    if not isinstance(m, Tensor):
        while found and float(found[-1]) < torch.finfo(dtype).eps / 8:
            found.pop()
    return found


def quarter_period(moduli: Sequence[Number]) -> Number:
    """K(m), the complete elliptic integral of the first kind: π/2 times all ``1 + k`` (DLMF 19.8.13)."""
    product: Number = math.pi / 2
    for k in moduli:
        product = product * (1 + k)
    return product


def elliptic(u: Tensor, m: Number) -> tuple[Tensor, Tensor, Tensor]:
    """sn, cn and dn of real ``u`` (float32 or float64) with parameter m, a float or a float64 tensor without axes.

    Differentiable as often as one likes: with a fixed m by the functions' own derivatives, cn·dn, -sn·dn and -m·sn·cn;
    with a learned one through the steps.
    """
    moduli = landen_moduli(m, u.dtype)
    if isinstance(m, Tensor):
        return _steps(u, moduli)
    sn, cn, dn = _Fixed.apply(u, m, _Moduli(moduli))
    return sn, cn, dn


def _steps(u: Tensor, moduli: Sequence[Number]) -> tuple[Tensor, Tensor, Tensor]:
    """Landen's transformation (DLMF 22.7.2 to 22.7.4), from the smallest modulus, where sn is the sine, upward."""
    scaled = u / cast(quarter_period(moduli) / (math.pi / 2), u)
    sn, cn = scaled.sin(), scaled.cos()
    dn: Tensor | float = 1.0
    for k64 in reversed(moduli):
        k, rest = cast(k64, u), cast(1 - k64, u)
        below = 1 + k * sn * sn
        # 1 - k·sn² is written so that nothing cancels where k is near 1.
        sn, cn, dn = (1 + k) * sn / below, cn * dn / below, (rest + k * cn * cn) / below
    return sn, cn, dn if isinstance(dn, Tensor) else torch.ones_like(u)


class _Moduli:
    """One object, so that what looks through arguments for tensors need not look at each modulus."""

    def __init__(self, moduli: Sequence[Number]) -> None:
        self.numbers = moduli


class _Fixed(torch.autograd.Function):
    """sn, cn, dn with a fixed parameter: keeps no step but the outcome."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, m: float, moduli: _Moduli) -> tuple[Tensor, Tensor, Tensor]:
        return _steps(u, moduli.numbers)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.m = inputs[1]
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, None]:
        sn, cn, dn = ctx.saved_tensors
        of_sn, of_cn, of_dn = given
        return of_sn * cn * dn - of_cn * sn * dn - of_dn * (ctx.m * sn * cn), None, None


class _Jacobi(SpecialFunction):
    PARAMETERS = (M,)
    DOMAIN = "all real u; 0 ≤ m ≤ 0.9999"
    MAP = "u = 8 tanh(x / 8)"
    _WHICH: int

    def into_domain(self, x: Tensor) -> Tensor:
        """Within ±8, a period or more in each direction for m up to 0.6; see the class."""
        return softly_bounded(x, -_BOUND, _BOUND)

    def function(self, z: Tensor) -> Tensor:
        """The function at real ``z``."""
        return elliptic(z, self.number("m"))[self._WHICH]


class JacobiSN(_Jacobi):
    """sn(u | m): odd, periodic with 4K(m), within ±1; sine at m = 0, near tanh for m near 1 (DLMF chapter 22).

    Defined for all real u, and bounded with its derivative there: errors are a few roundings of ``u``, so that a large
    one has lost its phase. ``u = 8 tanh(x / 8)`` keeps it small; the gradient fades for inputs beyond ±20.
    """

    NAME = "jacobi_sn"
    _WHICH = 0


class JacobiCN(_Jacobi):
    """cn(u | m): even, periodic with 4K(m), within ±1; cosine at m = 0, near 1/cosh for m near 1 (DLMF chapter 22).

    Domain, stability and map as `JacobiSN`. At zero its slope is zero.
    """

    NAME = "jacobi_cn"
    _WHICH = 1


class JacobiDN(_Jacobi):
    """dn(u | m): even, periodic with 2K(m), from √(1 - m) to 1; 1 at m = 0, which is refused (DLMF chapter 22).

    Domain, stability and map as `JacobiSN`. At zero its slope is zero; all slopes shrink with m.
    """

    NAME = "jacobi_dn"
    PARAMETERS = (Parameter("m", 0.5, 0.01, LARGEST, M.meaning),)
    DOMAIN = "all real u; 0.01 ≤ m ≤ 0.9999"
    _WHICH = 2
