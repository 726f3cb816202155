from __future__ import annotations

from collections.abc import Sequence

import numpy

from lossforge.evolution.constants import constants_of, tuned, with_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression

FORMULA = parse_formula("1.5 * y_true - exp(-0.7 * y_pred) + 2 * y_pred")


def towards(*goal: float) -> object:
    def worth(losses: Sequence[Expression]) -> numpy.ndarray:
        return numpy.array(
            [-sum((x - y) ** 2 for x, y in zip(constants_of(loss), goal, strict=True)) for loss in losses]
        )

    return worth


def never(one: Expression, other: Expression) -> bool:
    return False


def test_constants_are_put_back_in_their_places() -> None:
    values = constants_of(FORMULA)
    assert len(values) == 3
    assert with_constants(FORMULA, values) == FORMULA
    assert constants_of(with_constants(FORMULA, [1, 2, 3])) == [1, 2, 3]


def test_the_constants_come_near_to_what_is_worth_most() -> None:
    goal = [x + 0.4 for x in constants_of(FORMULA)]
    found = tuned(FORMULA, towards(*goal), never, seed=1)  # type: ignore[arg-type]
    assert found is not None
    assert numpy.abs(numpy.array(constants_of(found)) - goal).max() < 0.2
    assert found == tuned(FORMULA, towards(*goal), never, seed=1)  # type: ignore[arg-type]
    assert all(x == float(f"{x:.3g}") for x in constants_of(found))


def test_one_constant_is_tuned_too_and_what_is_best_or_has_none_is_left() -> None:
    one = parse_formula("y_pred * y_true * 0.5")
    found = tuned(one, towards(0.9), never, seed=1)  # type: ignore[arg-type]
    assert found is not None
    assert abs(constants_of(found)[0] - 0.9) < 0.1
    assert tuned(one, towards(0.5), never, seed=1) is None  # type: ignore[arg-type]
    assert tuned(parse_formula("y_pred * y_true"), towards(), never, seed=1) is None  # type: ignore[arg-type]


def test_digits_that_change_nothing_are_left_out() -> None:
    one = parse_formula("y_pred * y_true * 0.5")
    found = tuned(one, towards(0.777), lambda some, other: True, seed=1)  # type: ignore[arg-type]
    assert found is not None
    assert constants_of(found) == [0.8]
