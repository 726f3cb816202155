"""Guards: their sizes, what an operation makes of intervals, and how it becomes instructions.

The bounds of the arguments are known when code is written, so a guard that can never act is not written at all:
``exp(-y_pred)`` is plain ``torch.exp``, ``exp(exp(y_pred * 20))`` has a clamp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Guards(NamedTuple):
    """Sizes of the guards.

    ``eps``: distance that a divisor, and the argument of log and sqrt, keeps from zero; ``bound``: largest magnitude
    of a value; ``exp_limit``: exp is flat above it.
    """

    eps: float
    bound: float
    exp_limit: float


GUARDS = Guards(eps=1e-6, bound=1e12, exp_limit=27.0)
"""The sizes that every loss has. Products of two values at the bound still fit in float32; exp(27) = 5.3e11."""
EPS, BOUND, EXP_LIMIT = GUARDS

Interval = tuple[float, float]
"""Lower and upper bound of a value, both finite."""

Operand = int | float
"""Of an instruction: a register by number (int), or a constant (float)."""

INPUTS = ("y_pred", "y_true", "log_y_pred")
"""The first registers, by name."""
Y_PRED, Y_TRUE, LOG_Y_PRED_REGISTER = range(len(INPUTS))


class Builder(Protocol):
    """What instructions are emitted to; see `lossforge.expression.program`. ``guarded``: a guard can act."""

    guarded: bool

    def is_sample(self, operand: Operand) -> bool:
        """Whether an operand is one number a sample: a constant, or a register that holds such."""

    def emit(self, op: str, a: Operand, b: Operand = 0.0, *, inner: bool = False) -> Operand:
        """Append ``op(a, b)`` and return its register; ``inner``: written inside the instruction that uses it."""

    def guard(self, op: str, a: Operand, size: float) -> Operand:
        """Append a guard of this size, written inside the instruction that uses it, and return its register."""


def clip(value: float, bound: float = BOUND) -> float:
    """Clamp to ±``bound``; not a number becomes 0."""
    return 0.0 if math.isnan(value) else min(max(value, -bound), bound)


def protect(value: float, eps: float = EPS) -> float:
    """A divisor kept ``eps`` away from zero, on its own side; zero counts as positive."""
    return min(value, -eps) if value < 0 else max(value, eps)


def corners(function: Callable[[float, float], float], a: Interval, b: Interval) -> Interval:
    """Bounds of a function that is monotone in each argument."""
    values = [function(x, y) for x in a for y in b]
    return min(values), max(values)


def divide_bounds(a: Interval, b: Interval, eps: float = EPS) -> Interval:
    """Bounds of a protected quotient."""
    ends = [protect(b[0], eps), protect(b[1], eps)]
    if b[0] < 0 <= b[1]:
        ends += [-eps, eps]
    values = [x / y for x in a for y in ends]
    return min(values), max(values)


def magnitude(a: Interval) -> Interval:
    """Bounds of the magnitude."""
    low, high = a
    if low >= 0:
        return low, high
    return (-high, -low) if high <= 0 else (0.0, max(-low, high))


def floor_bounds(function: Callable[[float], float], a: Interval, eps: float = EPS) -> Interval:
    """Bounds of a rising function of the magnitude held at ``eps`` or more."""
    low, high = magnitude(a)
    return function(max(low, eps)), function(max(high, eps))


def square_bounds(a: Interval) -> Interval:
    """Bounds of the square."""
    low, high = magnitude(a)
    return low * low, high * high


def _divisor(builder: Builder, y: Operand, interval: Interval, eps: float) -> Operand:
    """The divisor kept ``eps`` away from zero, on its own side of zero (zero counts as positive)."""
    low, high = interval
    if isinstance(y, float):
        builder.guarded |= abs(y) < eps
        return protect(y, eps)
    if low >= eps or high <= -eps:
        return y
    return builder.guard("clamp_min" if low >= 0 else "protect", y, eps)


def floored(op: str, eps: float = EPS) -> Callable[..., Operand]:
    """``op(max(|x|, eps))``, without the parts that the interval makes idle."""

    def lower(builder: Builder, x: Operand, a: Interval) -> Operand:
        low, high = a
        if low < eps:
            if low < 0:
                x = builder.emit("abs", x, inner=True)
            if low >= 0 or high > -eps:
                x = builder.guard("clamp_min", x, eps)
        return builder.emit(op, x)

    return lower


def extremum(clamp: str, op: str) -> Callable[..., Operand]:
    """``op`` of two operands, or ``clamp`` where one is a constant."""

    def lower(builder: Builder, x: Operand, y: Operand, a: Interval, b: Interval) -> Operand:
        if a[0] == a[1]:
            return builder.emit(clamp, y, a[0])
        if b[0] == b[1]:
            return builder.emit(clamp, x, b[0])
        return builder.emit(op, x, y)

    return lower


def unary(op: str) -> Callable[..., Operand]:
    """One instruction of one operand."""
    return lambda builder, x, a: builder.emit(op, x)


def binary(op: str) -> Callable[..., Operand]:
    """One instruction of two operands."""
    return lambda builder, x, y, a, b: builder.emit(op, x, y)


def lower_div(builder: Builder, x: Operand, y: Operand, a: Interval, b: Interval, eps: float = EPS) -> Operand:
    """The protected quotient."""
    return builder.emit("div", x, _divisor(builder, y, b, eps))


def lower_exp(builder: Builder, x: Operand, a: Interval, limit: float = EXP_LIMIT) -> Operand:
    """The exponential, with its argument held at ``limit`` or less."""
    return builder.emit("exp", x if a[1] <= limit else builder.guard("clamp_max", x, limit))


def lower_quotient(builder: Builder, x: Operand, y: Operand, a: Interval, b: Interval) -> Operand:
    """The analytic quotient."""
    if isinstance(y, float):
        return builder.emit("div", x, math.sqrt(1 + y * y))
    one_more = builder.emit("add", builder.emit("mul", y, y, inner=True), 1.0, inner=True)
    return builder.emit("div", x, builder.emit("sqrt", one_more, inner=True))


def sigmoid(x: float) -> float:
    """1 / (1 + e**-x), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def sign_of(x: float) -> float:
    """-1, 0 or 1."""
    return float((x > 0) - (x < 0))


def monotone(function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    """Bounds of a rising function."""
    return lambda a: (function(a[0]), function(a[1]))


def limited_exp(x: float, limit: float = EXP_LIMIT) -> float:
    """e**x with x held at ``limit`` or less."""
    return math.exp(min(x, limit))


def unit(a: Interval) -> Interval:
    """Bounds of sine and cosine."""
    return -1.0, 1.0


def bounded(np: Any, x: Any) -> Any:
    """An array held within ±``BOUND``."""
    return np.minimum(np.maximum(x, -BOUND), BOUND)


def protected(np: Any, x: Any) -> Any:
    """An array of divisors, as `protect` has one."""
    return np.where(x < 0, np.minimum(x, -EPS), np.maximum(x, EPS))


def floor(np: Any, x: Any) -> Any:
    """An array's magnitude, held at ``EPS`` or more."""
    return np.maximum(np.abs(x), EPS)


def sigmoid_array(np: Any, x: Any) -> Any:
    """The sigmoid of an array, without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def erf_array(np: Any, x: Any) -> Any:
    """The error function of an array."""
    from scipy.special import erf

    return erf(x)
