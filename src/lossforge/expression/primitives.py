"""The one table of elementwise operations, and the leaves: everything that is known of each stands in its record.

Every primitive is total. Its value is clamped to ±``BOUND``, and where the plain operation has a pole it is protected
by ``EPS``; so value and gradient are finite for every finite input. Operations over the classes of a sample have the
same records, in `lossforge.expression.class_operations`; `lossforge.expression.vocabulary` looks both up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

from lossforge.expression.protection import (
    BOUND,
    EPS,
    EXP_LIMIT,
    GUARDS,
    Guards,
    Interval,
    Operand,
    binary,
    bounded,
    clip,
    corners,
    divide_bounds,
    erf_array,
    extremum,
    floor,
    floor_bounds,
    floored,
    limited_exp,
    lower_div,
    lower_exp,
    lower_quotient,
    magnitude,
    monotone,
    protect,
    protected,
    sigmoid,
    sigmoid_array,
    sign_of,
    square_bounds,
    unary,
    unit,
)

__all__ = ["BOUND", "EPS", "EXP_LIMIT", "GUARDS", "LEAVES", "PRIMITIVES", "Guards", "Primitive", "clip", "guarded_by"]


@dataclass(frozen=True, slots=True)
class Primitive:
    """One operation of the vocabulary.

    ``value`` computes it on Python floats and ``array`` on numpy arrays (given numpy; None where an element does not
    stand alone), both protected; ``bounds`` on
    intervals, before the clamp to ±BOUND. ``lower`` emits its instructions for the arguments' operands and intervals.
    ``slope`` writes its derivative (given `lossforge.expression.symbolic_derivative`, the node, and the arguments'
    derivatives); ``sympy`` its form there (given sympy), None where sympy's own would not be protected alike. ``latex``
    and ``words`` are templates. ``parity``: what a minus in the argument does. ``infix``: how it is written between
    two arguments. ``result``: "elementwise" (a number for each class), "sample" (one for all of them), or that of the
    ``argument``: elementwise where one of them is. ``folds``: of constants it is a constant.
    """

    name: str
    arity: int
    meaning: str
    value: Callable[..., float]
    array: Callable[..., Any] | None
    bounds: Callable[..., Interval]
    lower: Callable[..., Operand]
    slope: Callable[..., Any] | None
    latex: str
    words: str
    sympy: Callable[..., Any] | None = None
    parity: Literal["", "even", "odd"] = ""
    commutative: bool = False
    infix: str = ""
    result: Literal["elementwise", "sample", "argument"] = "argument"
    folds: bool = True


def _chain(outer: Callable[..., Any]) -> Callable[..., Any]:
    """Slope of an operation of one argument: ``outer(s, node, u)`` is its derivative on u."""
    return lambda s, node, du: s.times(outer(s, node, node.args[0]), du)


def _quotient_slope(s: Any, node: Any, du: Any, dv: Any) -> Any:
    u, v = node.args
    return s.minus(s.over(du, v), s.over(s.times(u, dv), s.call("square", v)))


def _analytic_quotient_slope(s: Any, node: Any, du: Any, dv: Any) -> Any:
    u, v = node.args
    first = s.ZERO if du == s.ZERO else s.call("aq", du, v)
    bend = s.times(s.times(u, v), dv)
    if bend == s.ZERO:
        return first
    return s.minus(first, s.call("aq", s.over(bend, s.call("add", s.ONE, s.call("square", v))), v))


_TABLE = (
    Primitive(
        "add",
        2,
        "x + y",
        value=lambda x, y: x + y,
        array=lambda np, x, y: bounded(np, x + y),
        bounds=lambda a, b: (a[0] + b[0], a[1] + b[1]),
        lower=binary("add"),
        slope=lambda s, node, du, dv: s.plus(du, dv),
        latex="{0} + {1}",
        words="{0} plus {1}",
        sympy=lambda sympy, x, y: x + y,
        commutative=True,
        infix="+",
    ),
    Primitive(
        "sub",
        2,
        "x - y",
        value=lambda x, y: x - y,
        array=lambda np, x, y: bounded(np, x - y),
        bounds=lambda a, b: (a[0] - b[1], a[1] - b[0]),
        lower=binary("sub"),
        slope=lambda s, node, du, dv: s.minus(du, dv),
        latex="{0} - {1}",
        words="{0} minus {1}",
        sympy=lambda sympy, x, y: x - y,
        infix="-",
    ),
    Primitive(
        "mul",
        2,
        "x * y",
        value=lambda x, y: x * y,
        array=lambda np, x, y: bounded(np, x * y),
        bounds=lambda a, b: corners(lambda x, y: x * y, a, b),
        lower=binary("mul"),
        slope=lambda s, node, du, dv: s.plus(s.times(du, node.args[1]), s.times(node.args[0], dv)),
        latex=r"{0} \cdot {1}",
        words="{0} times {1}",
        sympy=lambda sympy, x, y: x * y,
        commutative=True,
        infix="*",
    ),
    Primitive(
        "div",
        2,
        f"x / y, with |y| held at {EPS:g} or more",
        value=lambda x, y: x / protect(y),
        array=lambda np, x, y: bounded(np, x / protected(np, y)),
        bounds=divide_bounds,
        lower=lower_div,
        slope=_quotient_slope,
        latex=r"\frac{{{0}}}{{{1}}}",
        words="{0} divided by {1}",
        sympy=lambda sympy, x, y: x / y if y.is_number and abs(float(y)) >= EPS else None,
        infix="/",
    ),
    Primitive(
        "neg",
        1,
        "-x",
        value=lambda x: -x,
        array=lambda np, x: -x,
        bounds=lambda a: (-a[1], -a[0]),
        lower=unary("neg"),
        slope=lambda s, node, du: s.negated(du),
        latex="-{0}",
        words="minus {0}",
        sympy=lambda sympy, x: -x,
    ),
    Primitive(
        "square",
        1,
        "x**2",
        value=lambda x: x * x,
        array=lambda np, x: bounded(np, x * x),
        bounds=square_bounds,
        lower=lambda builder, x, a: builder.emit("mul", x, x),
        slope=_chain(lambda s, node, u: s.times(s.TWO, u)),
        latex="{0}^{{2}}",
        words="the square of {0}",
        sympy=lambda sympy, x: x**2,
        parity="even",
    ),
    Primitive(
        "sqrt",
        1,
        f"square root of |x|, with |x| held at {EPS:g} or more",
        value=lambda x: math.sqrt(max(abs(x), EPS)),
        array=lambda np, x: np.sqrt(floor(np, x)),
        bounds=lambda a: floor_bounds(math.sqrt, a),
        lower=floored("sqrt"),
        slope=lambda s, node, du: s.over(s.times(s.sign(node.args[0]), du), s.call("mul", s.TWO, node)),
        latex=r"\sqrt{{\left|{0}\right|}}",
        words="the square root of {0}",
        parity="even",
    ),
    Primitive(
        "log",
        1,
        f"natural logarithm of |x|, with |x| held at {EPS:g} or more; log(y_pred) is exact however small",
        value=lambda x: math.log(max(abs(x), EPS)),
        array=lambda np, x: np.log(floor(np, x)),
        bounds=lambda a: floor_bounds(math.log, a),
        lower=floored("log"),
        slope=lambda s, node, du: s.over(du, node.args[0]),
        latex=r"\log\left|{0}\right|",
        words="the logarithm of {0}",
        parity="even",
    ),
    Primitive(
        "exp",
        1,
        f"e**x, with x held at {EXP_LIMIT:g} or less",
        value=limited_exp,
        array=lambda np, x: np.exp(np.minimum(x, EXP_LIMIT)),
        bounds=monotone(limited_exp),
        lower=lower_exp,
        slope=_chain(lambda s, node, u: node),
        latex=r"e^{{{0}}}",
        words="e to the power of {0}",
        sympy=lambda sympy, x: sympy.exp(x),
    ),
    Primitive(
        "sin",
        1,
        "sine of x",
        value=math.sin,
        array=lambda np, x: np.sin(x),
        bounds=unit,
        lower=unary("sin"),
        slope=_chain(lambda s, node, u: s.call("cos", u)),
        latex=r"\sin\left({0}\right)",
        words="the sine of {0}",
        sympy=lambda sympy, x: sympy.sin(x),
        parity="odd",
    ),
    Primitive(
        "cos",
        1,
        "cosine of x",
        value=math.cos,
        array=lambda np, x: np.cos(x),
        bounds=unit,
        lower=unary("cos"),
        slope=_chain(lambda s, node, u: s.call("neg", s.call("sin", u))),
        latex=r"\cos\left({0}\right)",
        words="the cosine of {0}",
        sympy=lambda sympy, x: sympy.cos(x),
        parity="even",
    ),
    Primitive(
        "tanh",
        1,
        "hyperbolic tangent of x",
        value=math.tanh,
        array=lambda np, x: np.tanh(x),
        bounds=monotone(math.tanh),
        lower=unary("tanh"),
        slope=_chain(lambda s, node, u: s.call("sub", s.ONE, s.call("square", node))),
        latex=r"\tanh\left({0}\right)",
        words="the hyperbolic tangent of {0}",
        sympy=lambda sympy, x: sympy.tanh(x),
        parity="odd",
    ),
    Primitive(
        "abs",
        1,
        "|x|",
        value=abs,
        array=lambda np, x: np.abs(x),
        bounds=magnitude,
        lower=unary("abs"),
        slope=_chain(lambda s, node, u: s.sign(u)),
        latex=r"\left|{0}\right|",
        words="the absolute value of {0}",
        parity="even",
    ),
    Primitive(
        "sign",
        1,
        "-1, 0 or 1; its gradient is 0",
        value=sign_of,
        array=lambda np, x: np.sign(x),
        bounds=monotone(sign_of),
        lower=unary("sign"),
        slope=lambda s, node, du: s.ZERO,
        latex=r"\operatorname{{sign}}\left({0}\right)",
        words="the sign of {0}",
        parity="odd",
    ),
    Primitive(
        "max",
        2,
        "the larger",
        value=max,
        array=lambda np, x, y: np.maximum(x, y),
        bounds=lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
        lower=extremum("clamp_min", "maximum"),
        slope=lambda s, node, du, dv: s.halves(node, du, dv, larger=True),
        latex=r"\max\left({0}, {1}\right)",
        words="the larger of {0} and {1}",
        commutative=True,
    ),
    Primitive(
        "min",
        2,
        "the smaller",
        value=min,
        array=lambda np, x, y: np.minimum(x, y),
        bounds=lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
        lower=extremum("clamp_max", "minimum"),
        slope=lambda s, node, du, dv: s.halves(node, du, dv, larger=False),
        latex=r"\min\left({0}, {1}\right)",
        words="the smaller of {0} and {1}",
        commutative=True,
    ),
    Primitive(
        "sigmoid",
        1,
        "1 / (1 + e**-x)",
        value=sigmoid,
        array=sigmoid_array,
        bounds=monotone(sigmoid),
        lower=unary("sigmoid"),
        slope=_chain(lambda s, node, u: s.call("mul", node, s.call("sub", s.ONE, node))),
        latex=r"\sigma\left({0}\right)",
        words="the sigmoid of {0}",
    ),
    Primitive(
        "erf",
        1,
        "error function of x",
        value=math.erf,
        array=erf_array,
        bounds=monotone(math.erf),
        lower=unary("erf"),
        slope=_chain(
            lambda s, node, u: s.times(
                s.constant(2 / math.sqrt(math.pi)), s.call("exp", s.call("neg", s.call("square", u)))
            )
        ),
        latex=r"\operatorname{{erf}}\left({0}\right)",
        words="the error function of {0}",
        sympy=lambda sympy, x: sympy.erf(x),
        parity="odd",
    ),
    Primitive(
        "aq",
        2,
        "analytic quotient x / sqrt(1 + y**2)",
        value=lambda x, y: x / math.sqrt(1 + y * y),
        array=lambda np, x, y: x / np.sqrt(1 + y * y),
        bounds=lambda a, b: corners(lambda x, y: x / math.sqrt(1 + y * y), a, magnitude(b)),
        lower=lower_quotient,
        slope=_analytic_quotient_slope,
        latex=r"\frac{{{0}}}{{\sqrt{{1 + \left({1}\right)^{{2}}}}}}",
        words="the analytic quotient of {0} and {1}",
    ),
)


PRIMITIVES: dict[str, Primitive] = {primitive.name: primitive for primitive in _TABLE}
"""Every elementwise operation by name: what a space has unless it says otherwise."""


@lru_cache(maxsize=8)
def guarded_by(guards: Guards) -> dict[str, Primitive]:
    """The primitives as they would be with guards of other sizes; ``value`` keeps those of `GUARDS`."""
    if guards == GUARDS:
        return PRIMITIVES
    eps, _, limit = guards
    div, sqrt, log, exp = (PRIMITIVES[name] for name in ("div", "sqrt", "log", "exp"))
    others = (
        replace(div, bounds=partial(divide_bounds, eps=eps), lower=partial(lower_div, eps=eps)),
        replace(sqrt, bounds=lambda a: floor_bounds(math.sqrt, a, eps), lower=floored("sqrt", eps)),
        replace(log, bounds=lambda a: floor_bounds(math.log, a, eps), lower=floored("log", eps)),
        replace(exp, bounds=monotone(partial(limited_exp, limit=limit)), lower=partial(lower_exp, limit=limit)),
    )
    return PRIMITIVES | {other.name: other for other in others}


LEAVES: dict[str, tuple[str, Interval]] = {
    "y_pred": ("predicted probability of the class", (0.0, 1.0)),
    "y_true": ("target probability of the class: one-hot, smoothed or soft", (0.0, 1.0)),
}
"""Leaves that every space has, with meaning and interval."""

LOG_Y_PRED: Interval = (-1e5, 0.0)
"""Bounds of log(y_pred): logits up to ±5e4, near the largest float16, are inside."""
