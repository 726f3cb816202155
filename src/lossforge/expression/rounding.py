"""Constants with as few significant digits as a test allows: three, four, or as many as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lossforge.expression.meaning import significant_digits
from lossforge.expression.tree import CONSTANT, Expression, constant

SHORT = 4
"""Digits up to which a constant is left as it is."""
_FEW = 12
"""Constants up to which each is tried with fewer digits than the others."""
_DIGITS = (3, 4, 5, 6, 7, 8, 10, 12)


def rounded_forms(tree: Expression, accepted: Callable[[Expression], bool]) -> Iterator[Expression]:
    """The tree with its long constants rounded, the shortest that is accepted first.

    First the fewest digits that all of them can do with, then fewer for each that can do with fewer still.
    """
    numbers = list(dict.fromkeys(node.value for node in tree.walk() if _is_long(node)))
    for digits in _DIGITS:
        shorter = {number: _rounded(number, digits) for number in numbers}
        if all(number == value for number, value in shorter.items()):
            return
        uniform = with_constants(tree, shorter)
        if not accepted(uniform):
            continue
        for number in numbers if len(numbers) <= _FEW else ():
            for fewer in _DIGITS[: _DIGITS.index(digits)]:
                single = {**shorter, number: _rounded(number, fewer)}
                if accepted(with_constants(tree, single)):
                    shorter = single
                    break
        mixed = with_constants(tree, shorter)
        yield mixed
        if mixed != uniform:
            yield uniform


def with_constants(tree: Expression, values: dict[float, float]) -> Expression:
    """The tree with other values in place of some constants."""
    if tree.op == CONSTANT:
        return constant(values.get(tree.value, tree.value))
    args = tuple(with_constants(arg, values) for arg in tree.args)
    return tree.with_args(args)


def _is_long(node: Expression) -> bool:
    return node.op == CONSTANT and significant_digits(node.value) > SHORT


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
