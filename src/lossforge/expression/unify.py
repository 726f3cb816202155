"""Two expressions of ``y_pred`` as one with ``y_true``: what differs becomes a line in the label."""

from __future__ import annotations

from collections.abc import Iterator

from lossforge.expression.folding import linear, times
from lossforge.expression.meaning import scaled
from lossforge.expression.primitives import PRIMITIVES
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf


def unified(at_zero: Expression, at_one: Expression) -> Expression | None:
    """One expression of ``y_pred`` and ``y_true`` that is the first at ``y_true`` = 0 and the second at 1.

    ``-min(y_pred, 0.5)`` and ``-min(y_pred, 0.7)`` become ``-min(y_pred, 0.5 + 0.2 * y_true)``. None where the two
    have nothing in common.
    """
    found = list(_unified(at_zero, at_one))
    return min(found, key=lambda form: form.size) if found else None


def _unified(at_zero: Expression, at_one: Expression) -> Iterator[Expression]:
    if at_zero == at_one:
        yield at_zero
        return
    if at_zero.op == at_one.op == CONSTANT:
        yield linear(at_zero.value, at_one.value)
        return
    (zero_factor, zero_rest), (one_factor, one_rest) = _factor(at_zero), _factor(at_one)
    if zero_rest == one_rest:
        yield scaled(linear(zero_factor, one_factor), zero_rest, constant(0))
    if at_zero.op == CONSTANT:
        yield scaled(leaf("y_true"), _less(at_one, at_zero.value), at_zero)
    if at_one.op == CONSTANT:
        yield scaled(call("sub", constant(1), leaf("y_true")), _less(at_zero, at_one.value), at_one)
    if at_zero.op == at_one.op and at_zero.args:
        yield from _unified_arguments(at_zero, at_one)
    elif (zero_factor, one_factor) != (1, 1) and zero_rest.op == one_rest.op:
        rest = unified(zero_rest, one_rest)
        if rest is not None:
            yield scaled(linear(zero_factor, one_factor), rest, constant(0))


def _unified_arguments(at_zero: Expression, at_one: Expression) -> Iterator[Expression]:
    orders = [at_one.args]
    if PRIMITIVES[at_one.op].commutative:
        orders.append(at_one.args[::-1])
    for order in orders:
        args = [unified(a, b) for a, b in zip(at_zero.args, order, strict=True)]
        complete = tuple(arg for arg in args if arg is not None)
        if len(complete) == len(args):
            yield Expression(at_zero.op, complete)


def _factor(node: Expression) -> tuple[float, Expression]:
    """A number and the rest of a product."""
    if node.op == "neg":
        factor, rest = _factor(node.args[0])
        return -factor, rest
    if node.op in ("mul", "div"):
        factor, rest = _factor(node.args[0])
        if rest == constant(1):
            return (factor, node.args[1]) if node.op == "mul" else (factor, call("div", constant(1), node.args[1]))
        return factor, call(node.op, rest, node.args[1])
    return (node.value, constant(1)) if node.op == CONSTANT else (1.0, node)


def _less(node: Expression, value: float) -> Expression:
    """node - value."""
    if value == 0:
        return node
    if node.op in ("add", "sub"):
        for index, arg in enumerate(node.args):
            if arg.op == CONSTANT and (index == 0 or node.op == "add") and arg.value == value:
                other = node.args[1 - index]
                return other if node.op == "add" else times(-1.0, other)
    return call("sub", node, constant(value)) if value > 0 else call("add", node, constant(-value))
