"""Constants lose the digits that do not matter."""

from __future__ import annotations

import pytest

from lossforge.expression.formula import parse_formula
from lossforge.expression.meaning import significant_digits
from lossforge.expression.rounding import rounded_forms
from lossforge.expression.tree import CONSTANT, Expression


def constants_of(tree: Expression) -> list[float]:
    return [node.value for node in tree.walk() if node.op == CONSTANT]


@pytest.mark.parametrize(
    ("value", "digits"), [(0.0256, 3), (1e6, 1), (1e-6, 1), (-2.5, 2), (0.1 + 0.2, 17), (120.0, 2), (0.0, 1), (1e12, 1)]
)
def test_significant_digits_are_counted(value: float, digits: int) -> None:
    assert significant_digits(value) == digits


def test_each_constant_has_as_few_digits_as_it_can_do_with() -> None:
    tree = parse_formula("sin(1.23456789 * y_pred) + 7.654321 * y_true")

    def accepted(form: Expression) -> bool:
        first, second = constants_of(form)
        return abs(first - 1.23456789) < 1e-5 and abs(second - 7.654321) < 0.01

    assert constants_of(next(rounded_forms(tree, accepted))) == [1.23457, 7.65]


def test_short_constants_and_those_that_nothing_may_change_stay() -> None:
    assert list(rounded_forms(parse_formula("1.234 * y_pred + 0.5"), lambda form: True)) == []
    assert list(rounded_forms(parse_formula("1.23456789012345 * y_pred"), lambda form: False)) == []
