"""Canonical form by hash-consing: one text for trees that are the same up to exact rewrites.

Constants are folded, subtraction becomes addition of a negation, signs move out of products, sums and
products are flattened with their arguments in a fixed order, and neutral elements go. It takes
microseconds, and its text is the same in every process. Algebra beyond that is the signature's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import reduce
from operator import is_

from lossforge.expression.protection import BOUND, EPS, clip
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

Form = tuple[str, tuple["Form", ...], float]
"""``(op, args, value)``: a canonical node. ``add`` and ``mul`` take any number of arguments."""

_LOG_SOFTMAX = "log_softmax"
"""log(y_pred) as it is written; log of anything else that equals y_pred is the protected logarithm."""


def _text(form: Form) -> str:
    op, args, value = form
    if op == CONSTANT:
        return repr(value)
    return f"{op}({' '.join(_text(arg) for arg in args)})" if args else op


def _number(value: float) -> Form:
    return CONSTANT, (), clip(value) + 0.0


def _negate(form: Form) -> Form:
    op, args, value = form
    if op == CONSTANT:
        return _number(-value)
    if op == "neg":
        return args[0]
    if op == "add":
        return _sum([_negate(arg) for arg in args])
    return "neg", (form,), 0.0


def _signed(form: Form) -> tuple[bool, Form]:
    """Split off a leading minus: whether there was one, and the rest."""
    op, args, value = form
    if op == "neg":
        return True, args[0]
    if op == CONSTANT and value < 0:
        return True, _number(-value)
    if op == "add":
        minus = _negate(form)
        if _text(minus) < _text(form):
            return True, minus
    return False, form


def _sum(args: list[Form]) -> Form:
    total = 0.0
    counts: dict[Form, int] = {}
    for arg in args:
        for term in arg[1] if arg[0] == "add" else (arg,):
            if term[0] == CONSTANT:
                total += term[2]
                continue
            minus, rest = (True, term[1][0]) if term[0] == "neg" else (False, term)
            counts[rest] = counts.get(rest, 0) + (-1 if minus else 1)
    terms: list[Form] = []
    for rest, count in counts.items():
        if count:
            term = rest if abs(count) == 1 else _product([_number(float(abs(count))), rest])
            terms.append(("neg", (term,), 0.0) if count < 0 else term)
    if total or not terms:
        terms.append(_number(total))
    return terms[0] if len(terms) == 1 else ("add", tuple(sorted(terms, key=_text)), 0.0)


def _product(args: list[Form]) -> Form:
    negative = False
    numbers: list[float] = []
    rest: list[Form] = []
    for arg in args:
        minus, body = _signed(arg)
        negative ^= minus
        for part in body[1] if body[0] == "mul" else (body,):
            if part[0] == CONSTANT:
                numbers.append(part[2])
            else:
                rest.append(part)
    rest = _paired(rest)
    factor, beyond = _factor(numbers, bool(rest))
    if factor == 0 or not rest:
        return _number(-factor if negative else factor)
    rest += [_number(number) for number in ([] if factor == 1 else [factor]) + beyond]
    product = rest[0] if len(rest) == 1 else ("mul", tuple(sorted(rest, key=_text)), 0.0)
    return _negate(product) if negative else product


def _factor(numbers: list[float], more: bool) -> tuple[float, list[float]]:
    """The numbers' product, and those that would carry it beyond ±BOUND while there is ``more`` to multiply."""
    factor, beyond = 1.0, []
    for number in sorted(numbers):
        if more and abs(factor * number) > BOUND:
            beyond.append(number)
        else:
            factor *= number
    return (0.0, []) if 0.0 in numbers else (factor, beyond)


def _build(op: str, args: list[Form]) -> Form:
    rule = _RULES.get(op)
    if rule is not None:
        return rule(*args)
    operation = OPERATIONS[op]
    if operation.folds and all(arg[0] == CONSTANT for arg in args):
        return _number(operation.value(*(arg[2] for arg in args)))
    if operation.parity == "even":
        body = _signed(args[0])[1]
        return op, (body[1][0] if body[0] == "abs" else body,), 0.0
    if operation.parity == "odd":
        if op == "stop" and args[0][0] in _STANDING:
            return args[0]
        minus, body = _signed(args[0])
        return _negate((op, (body,), 0.0)) if minus else (op, (body,), 0.0)
    if op in ("div", "aq"):
        return _quotient(op, args[0], args[1])
    if operation.commutative:
        return args[0] if args[0] == args[1] else (op, tuple(sorted(args, key=_text)), 0.0)
    return op, tuple(args), 0.0


_STANDING = frozenset({"stop", *EVERY_LEAF}) - {"y_pred", "logit"}
"""What no gradient goes through anyway."""


def _square(arg: Form) -> Form:
    body = _signed(arg)[1]
    if body[0] == CONSTANT:
        return _number(body[2] * body[2])
    return "square", (body,), 0.0


def _paired(factors: list[Form]) -> list[Form]:
    """Equal factors as squares: powers stay logarithmic in size, and ``x * x`` is ``square(x)``."""
    counts: dict[Form, int] = {}
    for factor in factors:
        counts[factor] = counts.get(factor, 0) + 1
    if all(count == 1 for count in counts.values()):
        return factors
    paired: list[Form] = []
    for factor, count in counts.items():
        paired += [factor] * (count % 2) + [_square(factor)] * (count // 2)
    return _paired(paired)


def _quotient(op: str, top: Form, bottom: Form) -> Form:
    if op == "div" and bottom[0] == CONSTANT and abs(bottom[2]) >= EPS:
        return _product([top, _number(1 / bottom[2])])
    minus, top = _signed(top)
    quotient: Form = (op, (top, bottom), 0.0)
    return _negate(quotient) if minus else quotient


_RULES: dict[str, Callable[..., Form]] = {
    "add": lambda a, b: _sum([a, b]),
    "sub": lambda a, b: _sum([a, _negate(b)]),
    "mul": lambda a, b: _product([a, b]),
    "neg": _negate,
    "square": _square,
}
"""Primitives that become sums, products and signs; max and min of equal arguments are that argument."""


def _canonical(node: Expression, memo: dict[Expression, Form]) -> Form:
    node = node.plain
    form = memo.get(node)
    if form is None:
        if node.op == CONSTANT:
            form = _number(node.value)
        elif node.op in EVERY_LEAF:
            form = (node.op, (), 0.0)
        elif node.op == "log" and node.args[0].op == "y_pred":
            form = (_LOG_SOFTMAX, (), 0.0)
        else:
            form = _build(node.op, [_canonical(arg, memo) for arg in node.args])
        memo[node] = form
    return form


def _tree(form: Form) -> Expression:
    op, args, value = form
    if op == CONSTANT:
        return constant(value)
    if op in EVERY_LEAF:
        return leaf(op)
    if op == _LOG_SOFTMAX:
        return call("log", leaf("y_pred"))
    if op == "log" and args[0][0] == "y_pred":
        # Such as log(-y_pred): protected, and not the exact log-softmax that log(y_pred) is.
        return call("log", call("abs", leaf("y_pred")))
    if op == "add":
        return _sum_tree(args)
    if op == "mul":
        # A number reads best in front; a second one, which it could not be multiplied with, at the end.
        numbers = [arg for arg in args if arg[0] == CONSTANT]
        ordered = [*numbers[:1], *(arg for arg in args if arg[0] != CONSTANT), *numbers[1:]]
        return reduce(lambda left, right: call("mul", left, right), map(_tree, ordered))
    return call(op, *map(_tree, args))


def _sum_tree(args: tuple[Form, ...]) -> Expression:
    """Positive terms first, so that ``x - y`` is written and not ``-y + x``."""

    def minus(arg: Form) -> bool:
        return arg[0] == "neg" or (arg[0] == CONSTANT and arg[2] < 0)

    positive = [arg for arg in args if not minus(arg)]
    tree: Expression | None = None
    for arg in positive:
        tree = _tree(arg) if tree is None else call("add", tree, _tree(arg))
    for arg in args:
        if minus(arg):
            tree = _tree(arg) if tree is None else call("sub", tree, _tree(_negate(arg)))
    assert tree is not None, "a sum has at least two terms"
    return tree


def fold_constants(expression: Expression) -> Expression:
    """The same tree with every subtree that has no leaf replaced by its value; exactly what codegen computes."""
    args = tuple(fold_constants(arg) for arg in expression.args)
    if expression.definition is not None:
        named = expression.with_args(args)
        folded = fold_constants(named.plain) if all(arg.op == CONSTANT for arg in args) else named
        return folded if folded.op == CONSTANT else named
    if args and OPERATIONS[expression.op].folds and all(arg.op == CONSTANT for arg in args):
        return constant(clip(OPERATIONS[expression.op].value(*(arg.value for arg in args))))
    if all(map(is_, args, expression.args)):
        return expression
    return Expression(expression.op, args, expression.value)


def canonical_form_and_text(expression: Expression) -> tuple[Expression, str]:
    """`canonical_form` and `canonical_text` together, for the price of one."""
    form = _canonical(expression, {})
    return _tree(form), _text(form)


def canonical_form(expression: Expression) -> Expression:
    """The canonical form as a tree. Its value is the expression's, up to rounding and reassociation."""
    return _tree(_canonical(expression, {}))


def canonical_text(expression: Expression) -> str:
    """The canonical form as prefix text, the same in every process."""
    return _text(_canonical(expression, {}))


def canonical_key(expression: Expression) -> str:
    """sha256 (hexadecimal) of the canonical text."""
    return hashlib.sha256(canonical_text(expression).encode()).hexdigest()
