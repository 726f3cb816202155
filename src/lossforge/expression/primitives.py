"""The one table of primitives: name, arity, meaning, value, bounds, and how each becomes instructions.

Every primitive is total. Its value is clamped to ±``BOUND``, and where the plain operation has a
pole it is protected by ``EPS``; so value and gradient are finite for every finite input. The bounds
of the arguments are known when code is written, so a guard that can never act is not written at all:
``exp(-y_pred)`` is plain ``torch.exp``, ``exp(exp(y_pred * 20))`` has a clamp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple, Protocol


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


class Builder(Protocol):
    """What instructions are emitted to; see `lossforge.expression.program`. ``guarded``: a guard can act."""

    guarded: bool

    def emit(self, op: str, a: Operand, b: Operand = 0.0, *, inner: bool = False) -> Operand:
        """Append ``op(a, b)`` and return its register; ``inner``: written inside the instruction that uses it."""

    def guard(self, op: str, a: Operand, size: float) -> Operand:
        """Append a guard of this size, written inside the instruction that uses it, and return its register."""


def clip(value: float, bound: float = BOUND) -> float:
    """Clamp to ±``bound``; not a number becomes 0."""
    return 0.0 if math.isnan(value) else min(max(value, -bound), bound)


@dataclass(frozen=True, slots=True)
class Primitive:
    """One operator of the vocabulary.

    ``value`` computes it on Python floats, ``bounds`` on intervals (before the clamp to ±BOUND), and
    ``lower`` emits the instructions for the arguments' operands and intervals.
    """

    name: str
    arity: int
    meaning: str
    value: Callable[..., float]
    bounds: Callable[..., Interval]
    lower: Callable[..., Operand]
    commutative: bool = False


def protect(value: float, eps: float = EPS) -> float:
    """A divisor kept ``eps`` away from zero, on its own side; zero counts as positive."""
    return min(value, -eps) if value < 0 else max(value, eps)


def _corners(function: Callable[[float, float], float], a: Interval, b: Interval) -> Interval:
    values = [function(x, y) for x in a for y in b]
    return min(values), max(values)


def _divide_bounds(a: Interval, b: Interval, eps: float = EPS) -> Interval:
    ends = [protect(b[0], eps), protect(b[1], eps)]
    if b[0] < 0 <= b[1]:
        ends += [-eps, eps]
    values = [x / y for x in a for y in ends]
    return min(values), max(values)


def _magnitude(a: Interval) -> Interval:
    low, high = a
    if low >= 0:
        return low, high
    return (-high, -low) if high <= 0 else (0.0, max(-low, high))


def _floor_bounds(function: Callable[[float], float], a: Interval, eps: float = EPS) -> Interval:
    low, high = _magnitude(a)
    return function(max(low, eps)), function(max(high, eps))


def _square_bounds(a: Interval) -> Interval:
    low, high = _magnitude(a)
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


def _floored(op: str, eps: float = EPS) -> Callable[..., Operand]:
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


def _extremum(clamp: str, op: str) -> Callable[..., Operand]:
    def lower(builder: Builder, x: Operand, y: Operand, a: Interval, b: Interval) -> Operand:
        if a[0] == a[1]:
            return builder.emit(clamp, y, a[0])
        if b[0] == b[1]:
            return builder.emit(clamp, x, b[0])
        return builder.emit(op, x, y)

    return lower


def _unary(op: str) -> Callable[..., Operand]:
    return lambda builder, x, a: builder.emit(op, x)


def _binary(op: str) -> Callable[..., Operand]:
    return lambda builder, x, y, a, b: builder.emit(op, x, y)


def _lower_div(builder: Builder, x: Operand, y: Operand, a: Interval, b: Interval, eps: float = EPS) -> Operand:
    return builder.emit("div", x, _divisor(builder, y, b, eps))


def _lower_exp(builder: Builder, x: Operand, a: Interval, limit: float = EXP_LIMIT) -> Operand:
    return builder.emit("exp", x if a[1] <= limit else builder.guard("clamp_max", x, limit))


def _lower_quotient(builder: Builder, x: Operand, y: Operand, a: Interval, b: Interval) -> Operand:
    if isinstance(y, float):
        return builder.emit("div", x, math.sqrt(1 + y * y))
    one_more = builder.emit("add", builder.emit("mul", y, y, inner=True), 1.0, inner=True)
    return builder.emit("div", x, builder.emit("sqrt", one_more, inner=True))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _sign(x: float) -> float:
    return float((x > 0) - (x < 0))


def _monotone(function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    return lambda a: (function(a[0]), function(a[1]))


def _limited_exp(x: float, limit: float = EXP_LIMIT) -> float:
    return math.exp(min(x, limit))


def _unit(a: Interval) -> Interval:
    return -1.0, 1.0


_TABLE = (
    Primitive("add", 2, "x + y", lambda x, y: x + y, lambda a, b: (a[0] + b[0], a[1] + b[1]), _binary("add"), True),
    Primitive("sub", 2, "x - y", lambda x, y: x - y, lambda a, b: (a[0] - b[1], a[1] - b[0]), _binary("sub")),
    Primitive(
        "mul", 2, "x * y", lambda x, y: x * y, lambda a, b: _corners(lambda x, y: x * y, a, b), _binary("mul"), True
    ),
    Primitive(
        "div",
        2,
        f"x / y, with |y| held at {EPS:g} or more",
        lambda x, y: x / protect(y),
        _divide_bounds,
        _lower_div,
    ),
    Primitive("neg", 1, "-x", lambda x: -x, lambda a: (-a[1], -a[0]), _unary("neg")),
    Primitive("square", 1, "x**2", lambda x: x * x, _square_bounds, lambda builder, x, a: builder.emit("mul", x, x)),
    Primitive(
        "sqrt",
        1,
        f"square root of |x|, with |x| held at {EPS:g} or more",
        lambda x: math.sqrt(max(abs(x), EPS)),
        lambda a: _floor_bounds(math.sqrt, a),
        _floored("sqrt"),
    ),
    Primitive(
        "log",
        1,
        f"natural logarithm of |x|, with |x| held at {EPS:g} or more; log(y_pred) is an exact log-softmax",
        lambda x: math.log(max(abs(x), EPS)),
        lambda a: _floor_bounds(math.log, a),
        _floored("log"),
    ),
    Primitive(
        "exp", 1, f"e**x, with x held at {EXP_LIMIT:g} or less", _limited_exp, _monotone(_limited_exp), _lower_exp
    ),
    Primitive("sin", 1, "sine of x", math.sin, _unit, _unary("sin")),
    Primitive("cos", 1, "cosine of x", math.cos, _unit, _unary("cos")),
    Primitive("tanh", 1, "hyperbolic tangent of x", math.tanh, _monotone(math.tanh), _unary("tanh")),
    Primitive("abs", 1, "|x|", abs, _magnitude, _unary("abs")),
    Primitive("sign", 1, "-1, 0 or 1; its gradient is 0", _sign, _monotone(_sign), _unary("sign")),
    Primitive(
        "max",
        2,
        "the larger",
        max,
        lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
        _extremum("clamp_min", "maximum"),
        True,
    ),
    Primitive(
        "min",
        2,
        "the smaller",
        min,
        lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
        _extremum("clamp_max", "minimum"),
        True,
    ),
    Primitive("sigmoid", 1, "1 / (1 + e**-x)", _sigmoid, _monotone(_sigmoid), _unary("sigmoid")),
    Primitive("erf", 1, "error function of x", math.erf, _monotone(math.erf), _unary("erf")),
    Primitive(
        "aq",
        2,
        "analytic quotient x / sqrt(1 + y**2)",
        lambda x, y: x / math.sqrt(1 + y * y),
        lambda a, b: _corners(lambda x, y: x / math.sqrt(1 + y * y), a, _magnitude(b)),
        _lower_quotient,
    ),
)


PRIMITIVES: dict[str, Primitive] = {primitive.name: primitive for primitive in _TABLE}
"""Every primitive by name."""


@lru_cache(maxsize=8)
def guarded_by(guards: Guards) -> dict[str, Primitive]:
    """The primitives as they would be with guards of other sizes; ``value`` keeps those of `GUARDS`."""
    if guards == GUARDS:
        return PRIMITIVES
    eps, _, limit = guards
    div, sqrt, log, exp = (PRIMITIVES[name] for name in ("div", "sqrt", "log", "exp"))
    others = (
        replace(div, bounds=partial(_divide_bounds, eps=eps), lower=partial(_lower_div, eps=eps)),
        replace(sqrt, bounds=lambda a: _floor_bounds(math.sqrt, a, eps), lower=_floored("sqrt", eps)),
        replace(log, bounds=lambda a: _floor_bounds(math.log, a, eps), lower=_floored("log", eps)),
        replace(exp, bounds=_monotone(partial(_limited_exp, limit=limit)), lower=partial(_lower_exp, limit=limit)),
    )
    return PRIMITIVES | {other.name: other for other in others}


LEAVES: dict[str, tuple[str, Interval]] = {
    "y_pred": ("predicted probability of the class: softmax of the logits", (0.0, 1.0)),
    "y_true": ("target probability of the class: one-hot, smoothed or soft", (0.0, 1.0)),
}
"""Leaves by name, with meaning and interval."""

LOG_Y_PRED: Interval = (-1e5, 0.0)
"""Bounds of log(y_pred): logits up to ±5e4, near the largest float16, are inside."""
