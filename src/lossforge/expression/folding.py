"""With hard labels a part of a loss that depends on ``y_true`` alone has two values: it is ``a + b * y_true``.

`fold_targets(expression) -> Expression` writes every such part so. No protection hides in what is folded: the
value that a guard gave, such as sqrt(y_true) at 0, stands there as a constant. Not for soft labels.
"""

from __future__ import annotations

from functools import lru_cache

from numpy import float32

from lossforge.expression.equivalence import HARD, same_elements
from lossforge.expression.primitives import LEAVES, PRIMITIVES
from lossforge.expression.protection import clip, protect
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf

_ACCURATE = 1e-5
"""Relative error that ``a + b * y_true`` may have at 1 in float32."""

_ROUNDING = 1e-15
"""Relative difference of two values that is none."""


def fold_targets(expression: Expression) -> Expression:
    """The loss with every part of ``y_true`` alone as ``a + b * y_true``, a = g(0), b = g(1) - g(0).

    Of a product or quotient all factors of ``y_true`` alone are one part, at its end; so is a divisor's reciprocal:
    ``f / y_true`` is ``f * (1000000 - 999999 * y_true)``. Equal in value and gradient on the logits for labels of
    exactly 0 and 1; where that does not hold up on a grid (a product beyond ±1e12), factors stay where they are, or
    the expression as it is.
    """
    for grouped in (True, False):
        folded = _fold(expression, grouped)
        if folded == expression or same_elements(expression, folded, HARD):
            return folded
    return expression


@lru_cache(maxsize=4096)
def depends_on(expression: Expression) -> frozenset[str]:
    """Names of the leaves that occur."""
    return frozenset(node.op for node in expression.walk() if node.op in LEAVES)


def at_target(expression: Expression, y_true: float) -> float:
    """Value of an expression of ``y_true`` alone, by the protected operations in float64."""
    if expression.op == CONSTANT:
        return expression.value
    if expression.op == "y_true":
        return y_true
    return clip(PRIMITIVES[expression.op].value(*(at_target(arg, y_true) for arg in expression.args)))


def linear(at_zero: float, at_one: float) -> Expression:
    """The shortest expression of ``y_true`` with these values at 0 and 1, accurate in float32; both within ±5e11."""
    y_true = leaf("y_true")
    slope = clip(at_one - at_zero)
    if abs(slope) <= _ROUNDING * abs(at_zero):
        return constant(at_zero)
    if at_zero == 0:
        return times(slope, y_true)
    if at_one != 0 and abs(float(float32(at_zero) + float32(slope)) - at_one) > _ACCURATE * abs(at_one):
        # Such as 1e12 at 0 and 1 at 1, where 1e12 - 999999999999 * y_true would be rounded to anything.
        return plus(constant(at_one), clip(at_zero - at_one), call("sub", constant(1), y_true))
    if slope > 0 > at_zero:
        return call("sub", times(slope, y_true), constant(-at_zero))
    return plus(constant(at_zero), slope, y_true)


def times(factor: float, node: Expression) -> Expression:
    """``factor * node``, without a factor of one."""
    if abs(factor) == 1:
        return node if factor > 0 else call("neg", node)
    return call("mul", constant(factor), node)


def plus(first: Expression, factor: float, node: Expression) -> Expression:
    """``first + factor * node``, as a difference where the factor is negative."""
    return call("add" if factor > 0 else "sub", first, times(abs(factor), node))


def _fold(node: Expression, grouped: bool) -> Expression:
    if "y_pred" not in depends_on(node):
        return linear(at_target(node, 0.0), at_target(node, 1.0))
    # A divisor of y_true alone is a factor, or its protection would stay.
    if (grouped and node.op in ("mul", "neg")) or node.op == "div":
        rest, at_zero, at_one = _split(node, grouped)
        return _scaled(rest, at_zero, at_one)
    args = tuple(_fold(arg, grouped) for arg in node.args)
    return node if args == node.args else Expression(node.op, args)


def _split(node: Expression, grouped: bool) -> tuple[Expression | None, float, float]:
    """What is left of a product without its factors of ``y_true`` alone, and their product's values at 0 and 1."""
    if "y_pred" not in depends_on(node):
        return None, at_target(node, 0.0), at_target(node, 1.0)
    if node.op == "div":
        return _split_quotient(node, grouped)
    if not grouped or node.op not in ("mul", "neg"):
        return _fold(node, grouped), 1.0, 1.0
    if node.op == "neg":
        rest, at_zero, at_one = _split(node.args[0], grouped)
        return rest, -at_zero, -at_one
    (first, *values), (second, *more) = (_split(arg, grouped) for arg in node.args)
    rest = call("mul", first, second) if first and second else first or second
    return rest, values[0] * more[0], values[1] * more[1]


def _split_quotient(node: Expression, grouped: bool) -> tuple[Expression | None, float, float]:
    top, bottom = node.args
    if "y_pred" not in depends_on(top):
        return call("div", _fold(top, grouped), _fold(bottom, grouped)), 1.0, 1.0
    rest, at_zero, at_one = _split(top, grouped) if grouped else (_fold(top, grouped), 1.0, 1.0)
    if "y_pred" not in depends_on(bottom):
        return rest, at_zero / protect(at_target(bottom, 0.0)), at_one / protect(at_target(bottom, 1.0))
    assert rest is not None, "the divided depends on y_pred"
    return call("div", rest, _fold(bottom, grouped)), at_zero, at_one


def _scaled(rest: Expression | None, at_zero: float, at_one: float) -> Expression:
    factor = linear(clip(at_zero), clip(at_one))
    if rest is None or factor == constant(0):
        return factor
    if factor == constant(1):
        return rest
    if factor == constant(-1):
        return rest.args[0] if rest.op == "neg" else call("neg", rest)
    return call("mul", factor, rest) if factor.size <= 3 else call("mul", rest, factor)
