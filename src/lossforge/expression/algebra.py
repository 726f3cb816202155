"""Rules of algebra that may shorten an expression: proposals, which whoever asks has to check.

A rule need not know where it holds. ``exp(a) * exp(b)`` is ``exp(a + b)`` only where no limit of exp acts, and
``a / (1 / b)`` is ``a * b`` only where no divisor is held away from zero.
"""

from __future__ import annotations

from collections.abc import Iterator

from lossforge.expression.protection import protect
from lossforge.expression.tree import CONSTANT, Expression, call, constant

_SUMS = ("add", "sub")


def rewritten(node: Expression) -> Iterator[Expression]:
    """What a rule of algebra makes of a node, right or not."""
    args = node.args
    first, last = args[0], args[-1]
    if node.op == "neg":
        yield from _negated(first)
    elif node.op in _SUMS:
        yield from _summed(node.op, first, last)
    elif node.op == "mul":
        yield from _multiplied(first, last)
        yield from _multiplied(last, first)
    elif node.op == "div":
        yield from _divided(first, last)


def _negated(inner: Expression) -> Iterator[Expression]:
    if inner.op in (CONSTANT, "sub", "neg"):
        yield _opposite(inner)
    if inner.op == "add" and inner.args[0].op == CONSTANT:
        yield call("sub", _opposite(inner.args[0]), inner.args[1])
    if inner.op in ("mul", "div"):
        a, b = inner.args
        yield call(inner.op, _opposite(a), b)
        yield call(inner.op, a, _opposite(b))


def _summed(op: str, a: Expression, b: Expression) -> Iterator[Expression]:
    opposite = "sub" if op == "add" else "add"
    if b.op == "neg":
        yield call(opposite, a, b.args[0])
    if a.op == "neg" and op == "add":
        yield call("sub", b, a.args[0])
    if b.op == CONSTANT and b.value < 0:
        yield call(opposite, a, _opposite(b))
    if b.op == "mul":
        for minus, other in (b.args, reversed(b.args)):
            if minus.op == "neg" or (minus.op == CONSTANT and minus.value < 0):
                yield call(opposite, a, call("mul", _opposite(minus), other))
    if b.op in _SUMS:
        # x + (y - z) and x - (y - z), with the brackets away.
        inner = op if b.op == "add" else opposite
        yield call(inner, call(op, a, b.args[0]), b.args[1])
    yield from _common_factors(op, a, b)


def _common_factors(op: str, a: Expression, b: Expression) -> Iterator[Expression]:
    for common, x in _factors(a):
        for other, y in _factors(b):
            if common == other:
                yield call("mul", common, call(op, x, y))


def _factors(node: Expression) -> Iterator[tuple[Expression, Expression]]:
    """Each factor of a product, and the rest."""
    if node.op == "mul":
        a, b = node.args
        yield a, b
        yield b, a
        for inner, rest in ((a, b), (b, a)):
            for factor, more in _factors(inner):
                if more != constant(1):
                    yield factor, call("mul", rest, more)
    elif node.op == "neg":
        for factor, rest in _factors(node.args[0]):
            yield factor, constant(-rest.value) if rest.op == CONSTANT else call("neg", rest)
    else:
        yield node, constant(1)


def _multiplied(a: Expression, b: Expression) -> Iterator[Expression]:
    if a == b:
        yield call("square", a)
    if b.op == CONSTANT:
        yield call("mul", b, a)
    if a.op == "exp" and b.op == "exp":
        yield call("exp", call("add", *a.args, *b.args))
    if a.op == "neg":
        yield call("mul", a.args[0], _opposite(b))
    if b.op == "div":
        top, bottom = b.args
        yield call("div", a if top == constant(1) else call("mul", a, top), bottom)
    if a.op == "square" and b.op == "square":
        yield call("square", call("mul", *a.args, *b.args))


def _divided(a: Expression, b: Expression) -> Iterator[Expression]:
    if a.op == "div":
        yield call("div", a.args[0], call("mul", a.args[1], b))
    if b.op == "div":
        yield call("div", call("mul", a, b.args[1]), b.args[0])
        if b.args[0] == constant(1):
            yield call("mul", a, b.args[1])
    if b.op == "exp":
        yield from _divided_by_exp(a, b)
    if b.op == "neg":
        yield call("div", _opposite(a), *b.args)
    if b.op == CONSTANT:
        yield call("mul", constant(1 / protect(b.value)), a)


def _divided_by_exp(a: Expression, b: Expression) -> Iterator[Expression]:
    inverse = call("exp", call("neg", *b.args))
    yield call("mul", a, inverse)
    if a.op == "exp":
        yield call("exp", call("sub", *a.args, *b.args))
    if a.op == CONSTANT and abs(a.value) == 1:
        yield inverse if a.value > 0 else call("neg", inverse)


def _opposite(node: Expression) -> Expression:
    """The negation, in its shortest form."""
    if node.op == CONSTANT:
        return constant(-node.value)
    if node.op == "sub":
        return call("sub", node.args[1], node.args[0])
    return node.args[0] if node.op == "neg" else call("neg", node)
