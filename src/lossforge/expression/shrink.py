"""Shorter forms of an expression, found from its values on a grid and by a few rules of algebra.

Bottom up, every part is replaced by the simplest of: the constant or line in ``y_true`` that it amounts to, a
multiple of something inside it plus a constant, a polynomial of ``y_pred``, its canonical form, or what a rule
makes of it. Then parts that make no difference where they stand are dropped. Every step is checked by value and
gradient (`View.same`), so a rule need not know where it holds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from lossforge.expression.algebra import rewritten
from lossforge.expression.canonical import canonical_form
from lossforge.expression.folding import depends_on
from lossforge.expression.meaning import View, scaled
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf

LARGEST = 120
"""Nodes above which a tree is not taken apart."""
_MOST_PARTS = 40
"""Parts of which a node may be found to be a multiple."""
_LARGEST_TRIED = 40
"""Nodes up to which it is tried without each of its parts: that costs their square."""

_CLAMPS = ("max", "min")


def shrunk(tree: Expression, view: View) -> Expression:
    """The simplest form found that is equal in value and gradient for the view's labels; the same every time."""
    if tree.size > LARGEST:
        return tree
    found = _shrunk_parts(tree, view)
    if not view.same(tree, found):
        found = tree
    return _without_idle_parts(tree, found, view) if found.size <= _LARGEST_TRIED else found


def _shrunk_parts(node: Expression, view: View) -> Expression:
    if not node.args:
        return node
    known = view.simplest.get(node)
    if known is None:
        args = tuple(_shrunk_parts(arg, view) for arg in node.args)
        if node.op == "log" and args[0].op == "y_pred" != node.args[0].op:
            # Only log(y_pred) as it is written is the exact log-softmax; this one is protected.
            args = (call("abs", *args),)
        known = view.simplest[node] = _simplest(Expression(node.op, args), view)
    return known


def _simplest(node: Expression, view: View) -> Expression:
    """Follow proposals for a node whose arguments are simple, while they make it simpler."""
    cost = view.cost(node)
    improved = True
    while improved:
        improved = False
        for proposal in _proposals(node, view):
            offered = view.cost(proposal)
            if offered < cost and view.same(node, proposal):
                node, cost, improved = proposal, offered, True
                break
    return node


def _proposals(node: Expression, view: View) -> Iterator[Expression]:
    if not node.args:
        return
    flat = view.flat(node)
    if flat is not None:
        yield flat
        return
    yield from _multiples(node, view)
    if node.op in _CLAMPS:
        yield from _clamps(node, view)
    yield from rewritten(node)
    yield canonical_form(node)
    if node.size > 6 and depends_on(node) != {"y_true"}:
        yield from _polynomials(node, view)


def _parts(node: Expression) -> list[Expression]:
    """Distinct parts below a node that ``y_pred`` moves, the smallest first, and no more than `_MOST_PARTS`."""
    inside = dict.fromkeys(part for arg in node.args for part in arg.walk() if "y_pred" in depends_on(part))
    return sorted(inside, key=lambda part: part.size)[:_MOST_PARTS]


def _multiples(node: Expression, view: View) -> Iterator[Expression]:
    for part in _parts(node):
        found = view.affine(node, part)
        if found is None:
            continue
        slope, offset = map(view.of_target, found)
        if slope is not None and offset is not None:
            yield scaled(slope, part, offset)


def _clamps(node: Expression, view: View) -> Iterator[Expression]:
    """``max`` of all arguments of nested ones, without those that another one covers; the same of ``min``."""
    flat: list[Expression] = []
    stack = [node]
    while stack:
        part = stack.pop()
        if part.op == node.op:
            stack.extend(reversed(part.args))
        elif part not in flat:
            flat.append(part)
    sign = 1 if node.op == "max" else -1
    kept = list(flat)
    for part in flat:
        others = [other for other in kept if other is not part]
        if others and (sign * view.values(part) <= sign * view.values(call_all(node.op, others, view))).all():
            kept = others
    if len(kept) < len(flat) or len(flat) > 2:
        yield call_all(node.op, kept, view)


def call_all(op: str, args: list[Expression], view: View) -> Expression:
    """A chain of one primitive; arguments that ``y_pred`` does not move become one, at the end."""
    still = [arg for arg in args if "y_pred" not in depends_on(arg)]
    moving = [arg for arg in args if arg not in still]
    if still:
        last = still[0]
        for arg in still[1:]:
            last = call(op, last, arg)
        moving.append(view.flat(last) or last)
    chain = moving[0]
    for arg in moving[1:]:
        chain = call(op, chain, arg)
    return chain


_DEGREE = 3
_FAR = 1e3
"""Distance from which a parabola's peak is no help to anyone."""


def _polynomials(node: Expression, view: View) -> Iterator[Expression]:
    """A polynomial of ``y_pred``, its coefficients lines in ``y_true``, as nested and as a shifted square."""
    y_pred = leaf("y_pred")
    p, values = view.values(y_pred), view.values(node)
    points = numpy.array([2, 17, 38, 57])
    system = numpy.vander(p[0, points], _DEGREE + 1, increasing=True)
    coefficients = numpy.linalg.solve(system, values[:, points].T).T
    size = numpy.abs(coefficients).max(axis=1, keepdims=True)
    coefficients = numpy.where(numpy.abs(coefficients) <= 1e-11 * size, 0.0, coefficients)
    found = sum(coefficients[:, power, None] * p**power for power in range(_DEGREE + 1))
    if not (numpy.abs(found - values) <= 1e-9 * size).all():
        return
    written = [view.of_target(row) for row in coefficients.T]
    parts = [part for part in written if part is not None]
    if len(parts) < len(written) or (parts[2] == parts[3] == constant(0)):
        return
    nested = parts[-1]
    for offset in reversed(parts[:-1]):
        nested = scaled(nested, y_pred, offset) if nested.op == CONSTANT else _nest(nested, y_pred, offset)
    yield nested
    if parts[3] == constant(0) and parts[2].op == CONSTANT and parts[1].op == CONSTANT:
        middle = -parts[1].value / (2 * parts[2].value)
        if abs(middle) > _FAR:
            return
        shifted = call("sub", y_pred, constant(middle)) if middle > 0 else call("add", y_pred, constant(-middle))
        rest = view.of_target(coefficients[:, 0] - parts[2].value * middle**2)
        if rest is not None:
            yield scaled(parts[2], call("square", shifted), rest)


def _nest(inner: Expression, y_pred: Expression, offset: Expression) -> Expression:
    if offset == constant(0):
        return call("mul", y_pred, inner)
    if offset.op == CONSTANT and offset.value < 0:
        return call("sub", call("mul", y_pred, inner), constant(-offset.value))
    return call("add", offset, call("mul", y_pred, inner))


def _without_idle_parts(tree: Expression, found: Expression, view: View) -> Expression:
    """Without parts that make no difference where they stand: ``y_true * tanh(y_true * y_pred)``."""
    cost = view.cost(found)
    improved = True
    while improved:
        improved = False
        for shorter in _with_one_part_less(found):
            if (
                numpy.abs(view.values(shorter) - view.values(found)) > 1e-6 * numpy.abs(view.values(found)) + 1e-9
            ).any():
                continue
            offered = view.cost(shorter)
            if offered < cost and view.same(tree, shorter):
                found, cost, improved = shorter, offered, True
                break
    return found


def _with_one_part_less(node: Expression) -> Iterator[Expression]:
    """Every tree in which one inner part is replaced by something inside it; large parts first."""
    for index, arg in enumerate(node.args):
        for inner in dict.fromkeys(part for part in arg.walk() if part is not arg):
            yield _with(node, index, inner)
        for changed in _with_one_part_less(arg):
            yield _with(node, index, changed)


def _with(node: Expression, index: int, arg: Expression) -> Expression:
    return Expression(node.op, (*node.args[:index], arg, *node.args[index + 1 :]))
