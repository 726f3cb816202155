"""Folding: what depends on the label alone becomes a + b * y_true, and nothing else changes."""

from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.trees import constants, law, short_constants, trees

from lossforge.expression.equivalence import value_and_gradient
from lossforge.expression.folding import at_target, depends_on, fold_targets, linear
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import CONSTANT, Expression
from lossforge.losses.library import LIBRARY


def folded(formula: str) -> str:
    return str(fold_targets(parse_formula(formula)))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("sqrt(y_true) * y_pred", "y_pred * (0.001 + 0.999 * y_true)"),
        ("y_pred / y_true", "y_pred * (1000000 - 999999 * y_true)"),
        ("-(y_pred / y_true)", "y_pred * (999999 * y_true - 1000000)"),
        ("y_true * sqrt(y_true) * 3 * log(y_pred)", "3 * y_true * log(y_pred)"),
        ("-y_pred * y_true**2", "-y_true * y_pred"),
        ("max(y_pred, y_true * 2 - 1 + y_true**2)", "max(y_pred, 3 * y_true - 1)"),
        ("y_pred * (y_true + 1) / (1 + y_true)", "y_pred"),
        ("y_pred - (0.5 - y_true) / (0.5 - y_true)", "y_pred - 1"),
        ("y_pred * (y_true - y_true)", "0"),
        ("y_true**2 - y_true + 0.5", "0.5"),
        ("min(y_pred, -y_true - 0.5)", "min(y_pred, -0.5 - y_true)"),
        ("y_true / y_pred", "y_true / y_pred"),
        ("y_pred / (y_pred * y_true)", "y_pred / (y_true * y_pred)"),
        ("sin(max(y_pred, y_true))", "sin(max(y_pred, y_true))"),
        ("-y_true * log(y_pred)", "-y_true * log(y_pred)"),
        ("(y_true - y_pred)**2", "(y_true - y_pred)**2"),
    ],
)
def test_parts_of_the_label_alone_are_folded(formula: str, expected: str) -> None:
    assert folded(formula) == expected


def test_a_guards_value_becomes_visible() -> None:
    # sqrt(sqrt(0 / -1.39) / -1.52): two square roots, each held at 1e-6.
    found = fold_targets(parse_formula("-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true / -1.39) / -1.52))"))
    assert str(found).startswith("-min(max(abs(y_pred), -1.63), 0.025649")
    assert not found.uses("sqrt")


def wholly_of_targets(expression: Expression) -> list[Expression]:
    """The largest subtrees that depend on the label alone."""
    if "y_pred" not in depends_on(expression):
        return [expression]
    return [part for arg in expression.args for part in wholly_of_targets(arg)]


@given(trees(max_leaves=8, numbers=short_constants()))
@law(300)
def test_what_is_left_of_the_label_is_linear_and_trains_alike(tree: Expression) -> None:
    found = fold_targets(tree)
    generator = numpy.random.Generator(numpy.random.PCG64(5))
    for classes in (2, 3, 10):
        logits = torch.from_numpy(generator.normal(size=(20, classes)) * 3)
        logits[0] = torch.linspace(-50, 50, classes)
        y_true = torch.eye(classes, dtype=torch.float64)[torch.from_numpy(generator.integers(classes, size=20))]
        pairs = zip(value_and_gradient(tree, logits, y_true), value_and_gradient(found, logits, y_true), strict=True)
        for a, b in pairs:
            assert torch.allclose(a, b, rtol=1e-6, atol=1e-6 * min(1.0, float(a.abs().max()) + 1e-9)), str(found)
    if found == tree:
        return
    for part in wholly_of_targets(found):
        assert {node.op for node in part.walk()} <= {CONSTANT, "y_true", "add", "sub", "mul", "neg"}


@given(trees(max_leaves=10, numbers=constants()))
@law(200)
def test_folding_twice_is_folding_once(tree: Expression) -> None:
    once = fold_targets(tree)
    assert fold_targets(once) == once


@given(constants(4e11), constants(4e11))
@law(300)
def test_a_linear_form_has_the_two_values_in_float32_too(at_zero: float, at_one: float) -> None:
    form = linear(at_zero, at_one)
    for y_true, expected in ((0.0, at_zero), (1.0, at_one)):
        assert at_target(form, y_true) == pytest.approx(expected, rel=1e-9, abs=1e-9 * (abs(at_zero) <= 1))
    single = torch.tensor([0.0, 1.0])
    scope = {"y_true": single}
    found = eval(str(form), scope) if form.op != CONSTANT else torch.full((2,), form.value)  # our own text
    assert found.tolist() == pytest.approx([at_zero, at_one], rel=1e-4, abs=1e-30)


KNOWN = [parse_formula(entry.spec().formula) for entry in LIBRARY.values() if not entry.spec().is_term]


@pytest.mark.parametrize("tree", [tree for tree in KNOWN if not tree.crosses_classes], ids=str)
def test_known_losses_keep_their_meaning(tree: Expression) -> None:
    found = fold_targets(tree)
    logits = torch.randn(30, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 4
    y_true = torch.eye(7, dtype=torch.float64)[torch.arange(30) % 7]
    for a, b in zip(value_and_gradient(tree, logits, y_true), value_and_gradient(found, logits, y_true), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@given(st.floats(-3, 3), st.floats(-3, 3))
@law(50)
def test_a_linear_part_is_left_as_it_is(a: float, b: float) -> None:
    once = fold_targets(parse_formula(f"y_pred * ({a!r} + {b!r} * y_true)"))
    assert fold_targets(once) == once
