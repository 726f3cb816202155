"""The form that is shown, validated and exported: short, and the loss that was searched."""

from __future__ import annotations

import re

import numpy
import pytest
import torch
from hypothesis import given
from tests.helpers.trees import constants, law, short_constants, trees

from lossforge.expression.equivalence import probe_grid, trains_alike, value_and_gradient
from lossforge.expression.final_form import final_form
from lossforge.expression.folding import fold_targets
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import CONSTANT, Expression
from lossforge.losses.library import LIBRARY

FORMULAS = [entry.spec().formula for entry in LIBRARY.values() if not entry.spec().is_term]


def final(formula: str, soft_targets: bool = False) -> str:
    return str(final_form(parse_formula(formula), soft_targets=soft_targets))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (
            "-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true / -1.39) / -1.52))",
            "-min(y_pred, 0.02565 + 0.721 * y_true)",
        ),
        ("--y_true * y_pred", "y_true * y_pred"),
        ("1 * sin(y_pred)", "sin(y_pred)"),
        ("min(y_true, y_true) + y_pred * 2", "y_true + 2 * y_pred"),
        ("max(y_pred, max(0.5, max(0.2, 0.5 * y_true)))", "max(y_pred, 0.5)"),
        ("0 + y_pred + y_true * 0", "y_pred"),
        ("abs(-abs(y_pred))", "y_pred"),
        ("-(-(y_pred * -1))", "-y_pred"),
        ("y_pred * sqrt(sqrt(7.3))", "1.644 * y_pred"),
        ("0.33333333333333331 * sin(y_pred)", "0.3333 * sin(y_pred)"),
        ("2.71828182845904523 * sin(y_pred)", "2.72 * sin(y_pred)"),
        ("y_true * tanh(y_true * y_pred)", "tanh(y_true * y_pred)"),
        ("exp(y_pred) * exp(-y_true)", "exp(y_pred - y_true)"),
        ("y_pred / y_true", "y_pred / (1e-06 + y_true)"),
        ("-((y_true - y_pred) / sin(y_true))", "(y_pred - y_true) / (1e-06 + 0.841 * y_true)"),
        ("log(y_true) * y_pred", "13.82 * (y_true - 1) * y_pred"),
        ("y_pred * (1 - 0.6 * y_true - 0.4 * y_true**2) / (1 - y_true + sqrt(y_true - y_true))", None),
        ("sin(max(y_pred, y_true))", "sin(max(y_pred, y_true))"),
        ("exp(log(y_pred))", "y_pred"),
        ("log(abs(y_pred))", "log(abs(y_pred))"),
        ("1 * log(-y_pred) + 0 * y_true", "log(-y_pred)"),
        ("y_pred / y_pred", "y_pred / y_pred"),
        ("-(log(y_pred) - y_true / y_pred)", "y_true / y_pred - log(y_pred)"),
        ("-y_true * log(y_pred)", "-y_true * log(y_pred)"),
        ("sign(exp(y_pred)) + y_true - y_true", "1"),
        ("(y_pred + 0.3) * (y_pred - 0.7) * 2", "2 * (y_pred - 0.2)**2 - 0.5"),
    ],
)
def test_the_final_form_of_a_formula(formula: str, expected: str | None) -> None:
    if expected is not None:
        assert final(formula) == expected
    assert final(final(formula)) == final(formula)


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("y_pred / y_true", "y_pred / y_true"),
        ("sqrt(y_true) * y_pred", "sqrt(y_true) * y_pred"),
        ("y_true**2 * y_pred", "y_true**2 * y_pred"),
        ("min(y_true, y_true) * abs(y_pred) * 1", "y_true * y_pred"),
        ("y_true * sqrt(sqrt(7.3)) + y_pred", "1.644 * y_true + y_pred"),
    ],
)
def test_for_soft_labels_nothing_is_folded(formula: str, expected: str) -> None:
    assert final(formula, soft_targets=True) == expected


def test_a_rounded_constant_does_not_lose_a_class() -> None:
    # The true class's part is a millionth of the wrong classes': too little to be seen in a norm, and kept.
    found = final_form(parse_formula("y_pred / y_true * log(-0.874)"), soft_targets=False)
    one = torch.ones(1, dtype=torch.float64)
    logits = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    for expression in (found, parse_formula("y_pred / y_true * log(-0.874)")):
        value, _ = value_and_gradient(expression, logits, torch.eye(2, dtype=torch.float64)[:1])
        assert float(value[0, 0] / logits.softmax(1)[0, 0] * one) == pytest.approx(-0.13467, rel=1e-3)


def test_constants_keep_the_digits_that_they_need() -> None:
    # Near p = 1 the classes' gradients all but cancel, and a constant of three digits would turn what is left.
    kept = final("exp(y_pred) * (1 - 0.63212055882855767 * y_true)")
    assert re.fullmatch(r"exp\(y_pred\) \* \(1 - 0\.6321\d{1,5} \* y_true\)", kept)
    assert re.fullmatch(r"sin\(0\.8142\d+ / y_pred\)", final("sin(0.81422807123456789 / y_pred)"))


def long_constants(expression: Expression) -> list[float]:
    return [node.value for node in expression.walk() if node.op == CONSTANT and len(repr(node.value)) > 16]


def check_law(tree: Expression, soft_targets: bool) -> None:
    found = final_form(tree, soft_targets=soft_targets)
    assert final_form(found, soft_targets=soft_targets) == found
    assert parse_formula(str(found)) == found
    folds = not soft_targets and not tree.crosses_classes
    assert found.size <= (max(tree.size, fold_targets(tree).size) if folds else tree.size)
    assert trains_alike(tree, found, soft_targets)


@given(trees(max_leaves=9, numbers=short_constants()))
@law(120)
def test_it_is_short_and_trains_alike_and_is_its_own_final_form(tree: Expression) -> None:
    check_law(tree, soft_targets=False)


@given(trees(max_leaves=9, numbers=short_constants()))
@law(80)
def test_so_it_is_for_soft_labels(tree: Expression) -> None:
    check_law(tree, soft_targets=True)


@given(trees(max_leaves=7, numbers=constants()))
@law(80)
def test_so_it_is_with_extreme_constants(tree: Expression) -> None:
    check_law(tree, soft_targets=False)


def test_the_gradient_keeps_its_direction_at_the_extremes_too() -> None:
    logits, y_true = probe_grid()
    y_true = torch.eye(10, dtype=torch.float64)[y_true.argmax(1)]
    for formula in [*FORMULAS, "y_pred / y_true", "-min(y_pred, sqrt(sqrt(y_true / -1.39) / -1.52))"]:
        tree = parse_formula(formula)
        (value, a), (_, b) = (
            value_and_gradient(expression, logits, y_true)
            for expression in (tree, final_form(tree, soft_targets=False))
        )
        rounding = 1e-11 * (1 + value.abs().amax(1))
        assert ((a - b).norm(dim=1) <= 1e-3 * a.norm(dim=1) + rounding).all(), formula


@given(trees(max_leaves=9, numbers=short_constants()))
@law(80)
def test_its_gradient_points_where_torchs_does(tree: Expression) -> None:
    found = final_form(tree, soft_targets=False)
    generator = numpy.random.Generator(numpy.random.PCG64(3))
    for classes in (2, 5):
        logits = torch.from_numpy(generator.normal(size=(30, classes)) * 2)
        y_true = torch.eye(classes, dtype=torch.float64)[torch.from_numpy(generator.integers(classes, size=30))]
        (value, a), (_, b) = (value_and_gradient(expression, logits, y_true) for expression in (tree, found))
        size = a.norm(dim=1)
        # Softmax sums to one: of a multiple of y_pred only rounding is left.
        rounding = 1e-12 * (1 + value.abs().max()) + 1e-9 * size.max()
        # A kink may lie on either side of one of these samples.
        alike = (a - b).norm(dim=1) <= 2e-3 * size + rounding
        assert alike.double().mean() >= 0.95


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("soft_targets", [False, True])
def test_known_losses_have_a_final_form(formula: str, soft_targets: bool) -> None:
    check_law(parse_formula(formula), soft_targets)
    assert not long_constants(final_form(parse_formula(formula), soft_targets=soft_targets))


def test_a_huge_tree_is_left_in_order() -> None:
    tree = parse_formula(" + ".join(f"sin({index / 7!r} * y_pred * sqrt(y_true))" for index in range(40)))
    found = final_form(tree, soft_targets=False)
    assert not found.uses("sqrt")
    assert trains_alike(tree, found, soft_targets=False)
