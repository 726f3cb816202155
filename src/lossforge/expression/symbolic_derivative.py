"""Symbolic differentiation of a loss on ``y_pred``: total, deterministic, and in microseconds. For people to read."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from lossforge.expression.canonical import canonical_form
from lossforge.expression.primitives import LEAVES
from lossforge.expression.tree import CONSTANT, Expression, call, constant
from lossforge.expression.vocabulary import OPERATIONS

_TIDY_SIZE = 1_000
_TIDY_HEIGHT = 100
"""Nodes and levels above which a derivative is left as the rules write it; nobody reads it anyway."""

ZERO, ONE, TWO = constant(0), constant(1), constant(2)


def derivative(expression: Expression) -> Expression:
    """df/dp of an elementwise loss f(y_pred, y_true), where p is ``y_pred`` and ``y_true`` is held.

    ``log(y_pred)`` counts as the function of ``y_pred`` that it is. Guards are ignored: clamps to ±1e12, the
    distance that divisors, log and sqrt keep from zero, and the limit of exp. Kinks (abs, max, min) are written
    with sign, which is 0 on the kink itself.
    """
    return next(derivatives(expression))


def derivatives(expression: Expression) -> Iterator[Expression]:
    """The `derivative`, and then, where that is another one, as the rules write it: nothing in it is folded."""
    raw = _derive(expression.plain, {})
    tidy = _tidy(raw)
    yield tidy
    if tidy != raw:
        yield raw


def _tidy(raw: Expression) -> Expression:
    if raw.size > _TIDY_SIZE or raw.height > _TIDY_HEIGHT:
        return raw
    return _sign_inward(min(canonical_form(raw), raw, key=lambda form: form.size))


def _sign_inward(form: Expression) -> Expression:
    """-(2 * (a - b)) as 2 * (b - a), and -(a / b) as -a / b."""
    if form.op != "neg" or form.args[0].op not in ("mul", "div"):
        return form
    a, b = form.args[0].args
    if b.op == "sub" and form.args[0].op == "mul":
        return call("mul", a, call("sub", *reversed(b.args)))
    return call("div", negated(a), b) if form.args[0].op == "div" else form


def _derive(node: Expression, memo: dict[Expression, Expression]) -> Expression:
    known = memo.get(node)
    if known is None:
        if node.op == "y_pred":
            known = ONE
        else:
            inner = [_derive(arg, memo) for arg in node.args]
            known = _of_operation(node, inner) if any(change != ZERO for change in inner) else ZERO
        memo[node] = known
    return known


def _of_operation(node: Expression, inner: list[Expression]) -> Expression:
    slope = OPERATIONS[node.op].slope
    assert slope is not None, f"an element of {node.op} does not stand alone"
    found: Expression = slope(sys.modules[__name__], node, *inner)
    return found


def plus(a: Expression, b: Expression) -> Expression:
    """The sum."""
    if b.op == "neg":
        return minus(a, b.args[0])
    return b if a == ZERO else a if b == ZERO else call("add", a, b)


def minus(a: Expression, b: Expression) -> Expression:
    """The difference."""
    if b.op == "neg":
        return plus(a, b.args[0])
    return negated(b) if a == ZERO else a if b == ZERO else call("sub", a, b)


def negated(a: Expression) -> Expression:
    """The negation."""
    if a.op == CONSTANT:
        return constant(-a.value)
    return a.args[0] if a.op == "neg" else call("neg", a)


def times(a: Expression, b: Expression) -> Expression:
    """The product, with signs and divisors moved outward: ``y * (1 / p)`` is ``y / p``."""
    if ZERO in (a, b):
        return ZERO
    if a == ONE:
        return b
    if b == ONE:
        return a
    if a.op == "neg":
        return negated(times(a.args[0], b))
    if b.op == "neg":
        return negated(times(a, b.args[0]))
    if a.op == "div":
        return over(times(a.args[0], b), a.args[1])
    if b.op == "div":
        return over(times(a, b.args[0]), b.args[1])
    return call("mul", a, b)


def over(a: Expression, b: Expression) -> Expression:
    """The quotient, with signs moved outward and numbers inward, where they meet other numbers."""
    if a == ZERO or b == ONE:
        return a
    if a.op == "neg":
        return negated(over(a.args[0], b))
    if a.op == "div" and b.op == CONSTANT:
        return call("div", over(a.args[0], b), a.args[1])
    return call("div", a, b)


def sign(a: Expression) -> Expression:
    """sign(a); probabilities are positive."""
    return ONE if a.op in LEAVES else call("sign", a)


def halves(node: Expression, du: Expression, dv: Expression, larger: bool) -> Expression:
    """(du + dv ± sign(u - v) (du - dv)) / 2: of the larger or of the smaller argument."""
    sign = call("sign", call("sub", *node.args))
    lean = times(sign, minus(du, dv))
    return over(plus(plus(du, dv), lean if larger else negated(lean)), TWO)
