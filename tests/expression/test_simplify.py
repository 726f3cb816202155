"""Simplification: shorter, never different, and never for ever."""

from __future__ import annotations

import time

import pebble
import pytest
import sympy
import torch
from hypothesis import assume, given, reject
from hypothesis import strategies as st
from tests.helpers.reference import emitted, logits_and_targets, on_logits, points, reaches_bound, reference
from tests.helpers.trees import law, short_constants, trees

from lossforge.errors import FormulaError
from lossforge.expression.formula import parse_formula
from lossforge.expression.simplify import from_sympy, simplified, sympy_simplify, to_sympy
from lossforge.expression.tree import Expression, constant
from lossforge.losses.library import CROSS_ENTROPY

GRID = points()
ENDLESS = "(" * 7 + "y_pred + y_true" + ")**2 + sin(y_pred)" * 7
"""sympy expands it: minutes at least, and far more memory than it is worth."""


def simple(*formulas: str, seconds: float = 20.0) -> list[str]:
    return [str(form) for form in simplified([parse_formula(formula) for formula in formulas], seconds)]


def same_on_logits(first: Expression, second: Expression, classes: int) -> bool:
    logits, y_true = logits_and_targets(classes)
    for a, b in zip(on_logits(first, logits, y_true), on_logits(second, logits, y_true), strict=True):
        if not torch.allclose(a, b, rtol=1e-6, atol=1e-6 + 1e-9 * float(a.abs().max())):
            return False
    return True


def test_what_can_be_shorter_becomes_shorter_and_keeps_its_place() -> None:
    formulas = (
        "y_pred * y_true + 2 * y_pred * y_true",
        "y_pred - y_pred + y_true",
        CROSS_ENTROPY,
        "exp(y_pred) * exp(y_true)",
        "y_pred + (y_true - y_pred) * 1",
        "-(-(y_true * 1))",
    )
    assert simple(*formulas) == [
        "3 * y_pred * y_true",
        "y_true",
        CROSS_ENTROPY,
        "exp(y_pred + y_true)",
        "y_true",
        "y_true",
    ]


def test_nothing_is_simplified_where_nothing_is_given() -> None:
    assert simplified([]) == []


TRAPS = {
    "exp of log": "exp(log(y_pred))",
    "exp of log of the target": "exp(log(y_true))",
    "log of exp": "log(exp(50 * y_pred))",
    "quotient of equals": "y_pred / y_pred",
    "quotient of equal targets": "y_true / y_true",
    "square of root": "sqrt(y_true)**2",
    "root of square": "sqrt(y_true**2)",
    "root of square of a difference": "sqrt((y_pred - y_true)**2)",
    "reciprocal of reciprocal": "1 / (1 / y_true)",
    "product and quotient": "y_pred * y_true / y_true",
    "exp past its limit": "exp(20 * y_pred) * exp(20 * y_true)",
    "inverse exp past its limit": "exp(30 * y_pred) * exp(-30 * y_pred)",
    "log of a product": "log(y_pred * y_true)",
    "log of a power": "log(y_true**2)",
    "square past the bound": "(10000000 * y_pred)**2 * 0.00000000000001",
}


def test_no_rule_that_changes_a_domain_is_applied() -> None:
    trees_ = [parse_formula(formula) for formula in TRAPS.values()]
    results = simplified(trees_, 20.0)
    wrong = {}
    for name, tree, result in zip(TRAPS, trees_, results, strict=True):
        if not (reference(tree, GRID).agrees(emitted(result, GRID)) and same_on_logits(tree, result, 10)):
            wrong[name] = f"{tree} became {result}"
    assert wrong == {}


@pytest.mark.parametrize(
    "formula", ["exp(log(y_true))", "log(exp(y_pred))", "y_true / y_true", "sqrt(y_true)**2", "sqrt(y_true**2)"]
)
def test_sympy_is_not_told_what_a_protected_primitive_is(formula: str) -> None:
    # Automatic evaluation alone would make these y_true, y_pred and 1, before anyone could compare.
    tree = parse_formula(formula)
    assert from_sympy(to_sympy(tree)) == tree
    assert sympy_simplify(formula) == formula


@given(st.floats(-1e12, 1e12))
@law(300)
def test_a_constant_comes_back_from_sympy_as_the_same_float(value: float) -> None:
    assert from_sympy(to_sympy(constant(value))) == constant(value)


@pytest.mark.parametrize("value", [0.1 + 0.2, 1 / 3, 2.4092, 1e-7, 123456.789e-9, 2**0.5, 1.0, -3.0])
def test_a_constant_survives_simplification_to_the_last_bit(value: float) -> None:
    text = sympy_simplify(f"{value!r} * sin(y_pred)")
    assert text is not None
    assert reference(parse_formula(text), GRID).agrees(emitted(parse_formula(f"{value!r} * sin(y_pred)"), GRID))
    assert repr(abs(value)).removesuffix(".0") in text or value == 1


def test_whole_numbers_are_whole_for_sympy() -> None:
    assert to_sympy(constant(1)) == sympy.Integer(1)
    assert to_sympy(parse_formula("y_pred * 1")) == sympy.Symbol("y_pred", real=True)


@given(trees(max_leaves=6, numbers=short_constants()))
@law(200)
def test_the_way_through_sympy_keeps_the_value(tree: Expression) -> None:
    assume(not reaches_bound(tree, GRID))
    expected = reference(tree, GRID)
    assume(expected.settled)
    try:
        back = from_sympy(to_sympy(tree))
    except (KeyError, ValueError):
        reject()  # outside our vocabulary: the raw form stays
    assert expected.agrees(emitted(back, GRID))


@given(st.lists(trees(max_leaves=7, numbers=short_constants()), min_size=12, max_size=12, unique=True))
@law(2)
def test_simplification_changes_no_value_and_makes_nothing_longer(drawn: list[Expression]) -> None:
    results = simplified(drawn, 5.0)
    for tree, result in zip(drawn, results, strict=True):
        assert result.size <= tree.size
        for classes in (2, 3, 10):
            assert same_on_logits(tree, result, classes), f"{tree} became {result}"


def test_what_sympy_cannot_finish_is_killed_at_its_limit_and_stays_as_it_is() -> None:
    tree = parse_formula(ENDLESS)
    easy = parse_formula("y_pred * y_true + 2 * y_pred * y_true")
    began = time.perf_counter()
    results = simplified([easy, tree, easy], 4.0)
    took = time.perf_counter() - began
    assert results[1] == tree
    # One that hangs costs its own time, not its neighbours' answers.
    assert [str(results[0]), str(results[2])] == ["3 * y_pred * y_true"] * 2
    assert took >= 4.0


def test_a_hang_costs_its_limit_once_and_the_budget_ends_the_rest() -> None:
    easy = parse_formula("y_pred * y_true + 2 * y_pred * y_true")
    # Shorter by sympy alone: the canonical form keeps both exponentials.
    powers = parse_formula("exp(y_pred) * exp(y_true)")
    began = time.perf_counter()
    limit = 60.0
    results = simplified([easy, powers, parse_formula(ENDLESS), powers, easy], limit, budget=4.0)
    took = time.perf_counter() - began
    assert str(results[0]) == str(results[4]) == "3 * y_pred * y_true"
    assert results[2] == parse_formula(ENDLESS)
    assert str(results[1]) == str(results[3]) == "exp(y_pred + y_true)"
    assert took < limit, "the hang had its whole limit, and not what was left of the budget"


def test_without_a_budget_left_the_canonical_form_is_shown() -> None:
    formulas = ["y_pred - y_pred + y_true", "exp(y_pred) * exp(y_true)"]
    results = simplified([parse_formula(ENDLESS), *map(parse_formula, formulas)], 30.0, budget=0.5)
    assert [str(form) for form in results[1:]] == ["y_true", formulas[1]]


@pytest.mark.parametrize(
    "formula", ["y_pred", CROSS_ENTROPY, "(y_true - y_pred)**2", "-(-(y_true * 1))", "exp(-y_pred)"]
)
def test_no_process_is_started_where_nothing_can_gain(formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **named: object) -> None:
        raise AssertionError("a pool was made")

    monkeypatch.setattr(pebble, "ProcessPool", fail)
    assert len(simple(formula)) == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        TypeError("x"),
        ZeroDivisionError("x"),
        RecursionError("x"),
        AttributeError("x"),
        NotImplementedError("x"),
        sympy.PolynomialError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_inside_sympy_leaves_the_raw_form(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(sympy, "simplify", fail)
    assert sympy_simplify("y_pred + y_true") is None


@pytest.mark.parametrize(
    "outside",
    [
        sympy.Symbol("z"),
        sympy.log(sympy.Symbol("y_pred", real=True)),
        sympy.Abs(sympy.Symbol("y_pred", real=True)),
        sympy.sqrt(sympy.Symbol("y_pred", real=True)),
        sympy.tan(sympy.Symbol("y_pred", real=True)),
        sympy.Symbol("y_pred", real=True) ** sympy.Symbol("y_true", real=True),
        sympy.Symbol("y_pred", real=True) ** 9,
        sympy.zoo,
        sympy.nan,
        sympy.oo,
        sympy.I,
        sympy.Integer(10) ** 13,
    ],
    ids=str,
)
def test_what_is_outside_the_vocabulary_does_not_come_back(outside: sympy.Expr) -> None:
    with pytest.raises((KeyError, ValueError, TypeError, AttributeError, FormulaError)):
        from_sympy(outside)


@pytest.mark.parametrize(
    ("node", "formula"),
    [
        (sympy.pi, "3.141592653589793"),
        (sympy.Rational(1, 4), "0.25"),
        (sympy.Symbol("y_pred", real=True) ** 2, "y_pred**2"),
        (sympy.Symbol("y_pred", real=True) ** 3, "y_pred * y_pred * y_pred"),
        (sympy.Symbol("y_pred", real=True) ** -1, "1 / y_pred"),
        (sympy.exp(sympy.Symbol("y_true", real=True)), "exp(y_true)"),
        (sympy.E, "2.718281828459045"),
    ],
    ids=str,
)
def test_what_sympy_writes_is_read_into_our_vocabulary(node: sympy.Expr, formula: str) -> None:
    assert str(from_sympy(node)) == formula
