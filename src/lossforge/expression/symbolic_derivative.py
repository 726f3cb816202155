"""Symbolic differentiation of a loss on ``y_pred``: total, deterministic, and in microseconds. For people to read."""

from __future__ import annotations

import math
from collections.abc import Callable

from lossforge.expression.canonical import canonical_form
from lossforge.expression.primitives import LEAVES
from lossforge.expression.tree import CONSTANT, Expression, call, constant

_TIDY_SIZE = 1_000
_TIDY_HEIGHT = 100
"""Nodes and levels above which a derivative is left as the rules write it; nobody reads it anyway."""

_ZERO, _ONE, _TWO = constant(0), constant(1), constant(2)


def derivative(expression: Expression) -> Expression:
    """df/dp of an elementwise loss f(y_pred, y_true), where p is ``y_pred`` and ``y_true`` is held.

    ``log(y_pred)`` counts as the function of ``y_pred`` that it is. Guards are ignored: clamps to ±1e12, the
    distance that divisors, log and sqrt keep from zero, and the limit of exp. Kinks (abs, max, min) are written
    with sign, which is 0 on the kink itself.
    """
    raw = _derive(expression, {})
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
    return call("div", _negated(a), b) if form.args[0].op == "div" else form


def _derive(node: Expression, memo: dict[Expression, Expression]) -> Expression:
    known = memo.get(node)
    if known is None:
        if node.op == "y_pred":
            known = _ONE
        else:
            inner = [_derive(arg, memo) for arg in node.args]
            known = _RULES[node.op](node, *inner) if any(change != _ZERO for change in inner) else _ZERO
        memo[node] = known
    return known


def _plus(a: Expression, b: Expression) -> Expression:
    if b.op == "neg":
        return _minus(a, b.args[0])
    return b if a == _ZERO else a if b == _ZERO else call("add", a, b)


def _minus(a: Expression, b: Expression) -> Expression:
    if b.op == "neg":
        return _plus(a, b.args[0])
    return _negated(b) if a == _ZERO else a if b == _ZERO else call("sub", a, b)


def _negated(a: Expression) -> Expression:
    if a.op == CONSTANT:
        return constant(-a.value)
    return a.args[0] if a.op == "neg" else call("neg", a)


def _times(a: Expression, b: Expression) -> Expression:
    """The product, with signs and divisors moved outward: ``y * (1 / p)`` is ``y / p``."""
    if _ZERO in (a, b):
        return _ZERO
    if a == _ONE:
        return b
    if b == _ONE:
        return a
    if a.op == "neg":
        return _negated(_times(a.args[0], b))
    if b.op == "neg":
        return _negated(_times(a, b.args[0]))
    if a.op == "div":
        return _over(_times(a.args[0], b), a.args[1])
    if b.op == "div":
        return _over(_times(a, b.args[0]), b.args[1])
    return call("mul", a, b)


def _over(a: Expression, b: Expression) -> Expression:
    """The quotient, with signs moved outward and numbers inward, where they meet other numbers."""
    if a == _ZERO or b == _ONE:
        return a
    if a.op == "neg":
        return _negated(_over(a.args[0], b))
    if a.op == "div" and b.op == CONSTANT:
        return call("div", _over(a.args[0], b), a.args[1])
    return call("div", a, b)


def _sign(a: Expression) -> Expression:
    """sign(a); probabilities are positive."""
    return _ONE if a.op in LEAVES else call("sign", a)


def _halves(node: Expression, du: Expression, dv: Expression, larger: bool) -> Expression:
    """(du + dv ± sign(u - v) (du - dv)) / 2: of the larger or of the smaller argument."""
    sign = call("sign", call("sub", *node.args))
    lean = _times(sign, _minus(du, dv))
    return _over(_plus(_plus(du, dv), lean if larger else _negated(lean)), _TWO)


def _quotient(node: Expression, du: Expression, dv: Expression) -> Expression:
    u, v = node.args
    return _minus(_over(du, v), _over(_times(u, dv), call("square", v)))


def _analytic_quotient(node: Expression, du: Expression, dv: Expression) -> Expression:
    u, v = node.args
    first = _ZERO if du == _ZERO else call("aq", du, v)
    bend = _times(_times(u, v), dv)
    if bend == _ZERO:
        return first
    return _minus(first, call("aq", _over(bend, call("add", _ONE, call("square", v))), v))


def _chain(outer: Callable[[Expression, Expression], Expression]) -> Callable[[Expression, Expression], Expression]:
    """Rule of a primitive of one argument: ``outer(node, u)`` is its derivative on u."""
    return lambda node, du: _times(outer(node, node.args[0]), du)


_RULES: dict[str, Callable[..., Expression]] = {
    "add": lambda node, du, dv: _plus(du, dv),
    "sub": lambda node, du, dv: _minus(du, dv),
    "mul": lambda node, du, dv: _plus(_times(du, node.args[1]), _times(node.args[0], dv)),
    "div": _quotient,
    "aq": _analytic_quotient,
    "neg": lambda node, du: _negated(du),
    "square": _chain(lambda node, u: _times(_TWO, u)),
    "sqrt": lambda node, du: _over(_times(_sign(node.args[0]), du), call("mul", _TWO, node)),
    "log": lambda node, du: _over(du, node.args[0]),
    "exp": _chain(lambda node, u: node),
    "sin": _chain(lambda node, u: call("cos", u)),
    "cos": _chain(lambda node, u: call("neg", call("sin", u))),
    "tanh": _chain(lambda node, u: call("sub", _ONE, call("square", node))),
    "sigmoid": _chain(lambda node, u: call("mul", node, call("sub", _ONE, node))),
    "erf": _chain(
        lambda node, u: _times(constant(2 / math.sqrt(math.pi)), call("exp", call("neg", call("square", u))))
    ),
    "abs": _chain(lambda node, u: _sign(u)),
    "sign": lambda node, du: _ZERO,
    "max": lambda node, du, dv: _halves(node, du, dv, larger=True),
    "min": lambda node, du, dv: _halves(node, du, dv, larger=False),
}
"""Rules for a node whose arguments' derivatives are not all zero, given the node and these."""
