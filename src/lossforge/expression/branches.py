"""A loss as two functions of one probability p: the true class's (``y_true`` = 1) and each wrong class's (0).

With hard labels every elementwise loss is these two, and the loss of a sample is the first of its true class's
probability plus the second of every other class's. They are expressions over ``y_pred``, which is written ``p``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lossforge.expression.canonical import fold_constants
from lossforge.expression.equivalence import classes_alike
from lossforge.expression.meaning import view
from lossforge.expression.plain import is_slope
from lossforge.expression.rounding import rounded_forms
from lossforge.expression.shrink import LARGEST, shrunk
from lossforge.expression.symbolic_derivative import derivatives
from lossforge.expression.tree import Expression, constant, format_formula

TOLERANCE = 1e-3
"""Relative difference of value and slope that rounded constants may make."""


@dataclass(frozen=True, slots=True)
class ClassFunctions:
    """The two functions, each an expression of ``y_pred`` alone."""

    true: Expression
    wrong: Expression

    def lines(self) -> list[str]:
        """A line of text for each."""
        return [
            f"True class (y_true = 1): {in_p(self.true)}",
            f"Each wrong class (y_true = 0): {in_p(self.wrong)}",
        ]


def class_functions(expression: Expression) -> ClassFunctions:
    """The two functions of a loss, in the shortest form found, with constants of three to four digits.

    ``-min(y_pred, 0.02565 + 0.721 * y_true)`` is ``-min(p, 0.747)`` for the true class and ``-min(p, 0.02565)`` for
    each wrong class. Nothing is dropped, no factor and no added constant. For hard labels only.
    """
    plain = expression.plain
    return ClassFunctions(*(_rounded(branch(plain, target), target) for target in (1.0, 0.0)))


def branch(expression: Expression, y_true: float) -> Expression:
    """The loss of one class as a function of ``y_pred`` alone, in the shortest form found; nothing is rounded."""
    return shrunk(fold_constants(_with_target(expression, constant(y_true), {})), view((y_true,)))


def slope(function: Expression) -> Expression | None:
    """df/dp of a function of ``y_pred`` alone, shortened and rounded as the function is. Guards are ignored.

    None where it would be too long to read, or no form of it is found that is the function's own slope as it reads.
    """
    return next((form for form in _slopes(function) if is_slope(form, function, (0.0,), guarded=True)), None)


def _slopes(function: Expression) -> Iterator[Expression]:
    for change in derivatives(function):
        if change.size <= LARGEST:
            short = shrunk(change, view((0.0,)))
            yield _rounded(short, 0.0)
            yield short
            yield change


def in_p(expression: Expression) -> str:
    """Text of an expression of ``y_pred`` alone, with ``p`` for it."""
    return format_formula(expression).replace("y_pred", "p")


def _rounded(function: Expression, y_true: float) -> Expression:
    forms = rounded_forms(function, lambda other: classes_alike(function, other, (y_true,), TOLERANCE))
    return shrunk(next(forms, function), view((y_true,)))


def _with_target(node: Expression, target: Expression, memo: dict[Expression, Expression]) -> Expression:
    known = memo.get(node)
    if known is None:
        args = tuple(_with_target(arg, target, memo) for arg in node.args)
        known = target if node.op == "y_true" else node if args == node.args else Expression(node.op, args)
        memo[node] = known
    return known
