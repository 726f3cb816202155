"""Simplification by sympy, for people: in a process that can be killed, and only where it changes nothing.

sympy knows the primitives that are plain functions; the protected ones (log, sqrt, div, aq ...) are opaque to
it, because its rules for them change domains (exp(log x) to x, x/x to 1). Even so a result is used only
where value and gradient equal the raw tree's on the probe grid.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import reduce
from typing import Any

from lossforge.errors import FormulaError
from lossforge.expression.canonical import canonical_form
from lossforge.expression.equivalence import same_value_and_gradient
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import CONSTANT, Expression, call, constant, format_formula, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

TIME_LIMIT = 10.0
"""Seconds that sympy may spend on one expression."""

_LOAD_LIMIT = 60.0
"""Seconds that sympy may take to be imported."""


def simplified(
    expressions: Sequence[Expression], time_limit: float = TIME_LIMIT, budget: float | None = None
) -> list[Expression]:
    """The shortest equivalent form known of each: sympy's, the canonical one, or the expression itself.

    An expression that sympy cannot do within ``time_limit`` seconds costs that time once; ``budget`` limits the
    seconds that sympy spends on all of them, in the order given. No process is started where none can gain.
    """
    known = {
        expression: _shortest(expression, [canonical_form(expression)]) for expression in dict.fromkeys(expressions)
    }
    asked = [expression for expression, form in known.items() if _may_gain(form)]
    answers = _ask_sympy([format_formula(expression) for expression in asked], time_limit, budget)
    for expression, answer in zip(asked, answers, strict=True):
        if answer is not None:
            with suppress(FormulaError):
                known[expression] = _shortest(expression, [known[expression], parse_formula(answer)])
    return [known[expression] for expression in expressions]


def _shortest(expression: Expression, forms: list[Expression]) -> Expression:
    """The shortest of the forms that equal the expression, if shorter than it; the first of equals."""
    shorter = sorted((form for form in forms if form.size < expression.size), key=lambda form: form.size)
    return next((form for form in shorter if same_value_and_gradient(expression, form)), expression)


def _may_gain(form: Expression) -> bool:
    """Whether sympy may shorten a canonical form: something must occur twice for its rules to act on."""
    if form.size <= 3:
        return False
    counts = Counter(node.op for node in form.walk() if not node.args or node.op == "exp")
    return max(counts.values()) > 1


def _ask_sympy(formulas: list[str], time_limit: float, budget: float | None) -> list[str | None]:
    """sympy's answers; None where it failed, was killed, or had no time left."""
    from pebble import ProcessPool

    if not formulas:
        return []
    context = multiprocessing.get_context("spawn")
    # A worker that replaces a killed one loads sympy before its next task's time begins.
    pool = ProcessPool(max_workers=1, initializer=_load_sympy, context=context)
    try:
        try:
            pool.schedule(_load_sympy).result(timeout=_LOAD_LIMIT)
        except Exception:
            # No sympy, one that hangs, or no process to be had: the forms that we have must do.
            return [None] * len(formulas)
        tasks = [pool.schedule(sympy_simplify, args=(formula,), timeout=time_limit) for formula in formulas]
        wait(tasks, timeout=budget)
        return [_answer(task) for task in tasks]
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _answer(task: Future[str | None]) -> str | None:
    return task.result() if task.done() and task.exception() is None else None


def _load_sympy() -> None:
    import sympy  # noqa: F401  # the time limit is for the work, not for the import


def sympy_simplify(formula: str) -> str | None:
    """Simplify in this process, without a limit. None where the result is outside our vocabulary."""
    import sympy

    try:
        result = from_sympy(sympy.simplify(to_sympy(parse_formula(formula))))
    except Exception:
        # sympy raises all kinds of errors from inside simplify; the raw form stays.
        return None
    return format_formula(result)


def to_sympy(expression: Expression) -> Any:
    """The expression as sympy's; built node by node, nothing is parsed by sympy."""
    import sympy

    expression = expression.plain

    args = [to_sympy(arg) for arg in expression.args]
    op = expression.op
    if op == CONSTANT:
        value = expression.value
        return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value, 17)
    if op in EVERY_LEAF:
        return sympy.Symbol(op, real=True)
    made = OPERATIONS[op].sympy
    found = None if made is None else made(sympy, *args)
    return sympy.Function(f"lossforge_{op}", real=True)(*args) if found is None else found


def from_sympy(node: Any) -> Expression:
    """Back to our own tree. Raises KeyError or ValueError for what is not in the vocabulary."""
    if node.is_Number:
        return constant(float(node))
    if node.is_NumberSymbol:
        return constant(float(node.evalf(17)))
    if node.is_Symbol:
        return leaf({name: name for name in EVERY_LEAF}[node.name])
    if node.is_Add or node.is_Mul:
        name = "add" if node.is_Add else "mul"
        return reduce(lambda left, right: call(name, left, right), map(from_sympy, node.args))
    if node.is_Pow:
        return _power(from_sympy(node.base), node.exp)
    name = node.func.__name__.removeprefix("lossforge_")
    if name not in OPERATIONS or node.func.__name__ in ("log", "sqrt", "Abs"):
        raise KeyError(name)
    return call(name, *map(from_sympy, node.args))


def _power(base: Expression, exponent: Any) -> Expression:
    if not exponent.is_Integer:
        raise ValueError(f"the exponent {exponent} is not an integer")
    power = abs(int(exponent))
    if power > 8:
        raise ValueError("the exponent is large: the raw form is shorter")
    result = reduce(lambda left, right: call("mul", left, right), [base] * power)
    if power == 2:
        result = call("square", base)
    return call("div", constant(1), result) if exponent < 0 else result
