"""Chebyshev series with exact derivatives, for functions that are slow to compute and analytic on an interval.

The function's values at Chebyshev's nodes (few, in float64, differentiable in the parameters) give the coefficients;
its values anywhere are a sum of a dozen terms in the working precision, with errors of its rounding (Trefethen,
"Approximation theory and approximation practice", 2013, theorem 8.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor

from lossforge.models.activations.base import constant

if TYPE_CHECKING:
    from numpy.typing import NDArray


def nodes(count: int) -> NDArray[numpy.float64]:
    """Zeros ``(count,)`` of the Chebyshev polynomial T_count, from near 1 to near -1."""
    angles = (numpy.arange(count) + 0.5) * numpy.pi / count
    found: NDArray[numpy.float64] = numpy.cos(angles)
    return found


def _from_values(count: int) -> NDArray[numpy.float64]:
    """Matrix ``(count, count)`` that makes coefficients of values at the nodes."""
    angles = (numpy.arange(count) + 0.5) * numpy.pi / count
    matrix: NDArray[numpy.float64] = numpy.cos(numpy.outer(numpy.arange(count), angles)) * (2 / count)
    matrix[0] /= 2
    return matrix


def _slopes(count: int) -> NDArray[numpy.float64]:
    """Matrix ``(count, count)`` that makes coefficients of the derivative of coefficients."""
    matrix = numpy.zeros((count, count))
    for k in range(count):
        for j in range(k + 1, count, 2):
            matrix[k, j] = 2 * j if k else j
    return matrix


def coefficients(values: Tensor) -> Tensor:
    """Coefficients ``(N,)`` of the series through ``values (N,)`` at the nodes, both float64."""
    return constant(_from_values, values.device, len(values)) @ values


def shortest(full: Sequence[float], dtype: torch.dtype) -> tuple[float, ...]:
    """The coefficients without the last ones, which do not reach the rounding of ``dtype``."""
    least = torch.finfo(dtype).eps / 8 * max(map(abs, full))
    left = 0.0
    for end in range(len(full), 0, -1):
        left += abs(full[end - 1])
        if left > least:
            return tuple(full[:end])
    return (0.0,)


def chebyshev_sum(t: Tensor, series: tuple[float, ...] | Tensor) -> Tensor:
    """The sum of ``series[k] * T_k(t)``, element by element of ``t`` in [-1, 1]; the type is that of ``t``.

    Differentiable in ``t``, and in ``series (N,)`` where it is a tensor, as often as one likes. Neither direction keeps
    more than ``t``.
    """
    if isinstance(series, Tensor):
        found: Tensor = _LearnedSum.apply(t, series)
    else:
        found = _FixedSum.apply(t, _Series(series))
    return found


class _Series:
    """Fixed coefficients; one object, so that what looks through arguments for tensors need not look at each."""

    def __init__(self, numbers: tuple[float, ...]) -> None:
        self.numbers = numbers
        self._slope: _Series | None = None

    @property
    def slope(self) -> _Series:
        """Coefficients of the derivative."""
        if self._slope is None:
            count = len(self.numbers)
            slopes = (_slopes(count) @ numpy.array(self.numbers))[: max(1, count - 1)]
            self._slope = _Series(tuple(slopes.tolist()))
        return self._slope


class _FixedSum(torch.autograd.Function):
    """Clenshaw's recurrence with fixed coefficients."""

    generate_vmap_rule = True

    @staticmethod
    def forward(t: Tensor, series: _Series) -> Tensor:
        first, *others = series.numbers
        twice, later, last = 2 * t, torch.zeros_like(t), torch.zeros_like(t)
        for number in reversed(others):
            later, last = (twice * later).sub_(last).add_(number), later
        return (t * later).sub_(last).add_(first)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        t, ctx.series = inputs
        ctx.save_for_backward(t)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None]:
        (t,) = ctx.saved_tensors
        return given[0] * _FixedSum.apply(t, ctx.series.slope), None


class _LearnedSum(torch.autograd.Function):
    """The same with coefficients that have a gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(t: Tensor, series: Tensor) -> Tensor:
        first, *others = series.to(t.dtype).unbind(0)
        twice, later, last = 2 * t, torch.zeros_like(t), torch.zeros_like(t)
        for number in reversed(others):
            later, last = twice * later - last + number, later
        return t * later - last + first

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, Tensor]:
        t, series = ctx.saved_tensors
        slope = _LearnedSum.apply(t, constant(_slopes, series.device, len(series)) @ series)
        parts, before, polynomial = [], t, torch.ones_like(t)
        for _ in range(len(series)):
            parts.append((given[0] * polynomial).sum())
            # T_{-1} = T_1: the recurrence begins with t and 1.
            before, polynomial = polynomial, 2 * t * polynomial - before
        return given[0] * slope, torch.stack(parts).to(series.dtype)
