"""The closed-form gradient is autograd's, for soft targets and for targets 0 and 1 folded in."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from tests.helpers.conditioning import Tally, Truth, truth_at
from tests.helpers.trees import law, short_constants, trees
from torch import Tensor

from lossforge.expression.adjoint import joint_program
from lossforge.expression.codegen import compile_expression, compile_joint
from lossforge.expression.formula import parse_formula
from lossforge.expression.program import INPUTS
from lossforge.expression.tree import Expression

POINTS = torch.tensor([0.0, 3.7e-44, 2e-22, 9e-7, 1e-6, 0.04, 0.2, 0.25, 0.3, 0.5, 0.75, 0.9999999, 1.0]).double()
TARGETS = torch.tensor([0.0, 0.04, 0.25, 0.5, 1.0]).double()


def leaves(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """``y_pred``, ``y_true`` and ``log_y_pred``, one class a sample: 0, 1, what trees have as constants."""
    y_pred, y_true = (part.reshape(-1, 1).to(dtype) for part in torch.meshgrid(POINTS, TARGETS, indexing="ij"))
    return y_pred, y_true, y_pred.log().clamp(min=-2000.0)


def by_autograd(tree: Expression, y_pred: Tensor, y_true: Tensor, log_y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Value, and g of the emitted value."""
    p, log_p = y_pred.clone().requires_grad_(), log_y_pred.clone().requires_grad_()
    value = compile_expression(tree)(p, y_true, log_p)
    if not value.requires_grad:
        return value, torch.zeros_like(y_pred)
    on_p, on_log = torch.autograd.grad(value.sum(), (p, log_p), allow_unused=True, materialize_grads=True)
    return value.detach(), on_p * y_pred + on_log


def joint(tree: Expression, y_true: float | None, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    return compile_joint(tree, y_true).function(*inputs)


def differ(expected: Truth, g: Tensor, other: Tensor) -> Tensor:
    """Where, at settled points, two g are apart."""
    return dataclasses.replace(expected, gradient=other.double()).wrong(expected.value, g)


@pytest.mark.parametrize("searched", [False, True], ids=["any constants", "as a search draws them"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_gradient_is_autograds(searched: bool, dtype: torch.dtype) -> None:
    tally = Tally()
    inputs = leaves(dtype)
    exact = [leaf.double() for leaf in inputs]

    @given(trees(max_leaves=10, numbers=short_constants() if searched else None))
    @law(400)
    def check(tree: Expression) -> None:
        value, g = joint(tree, None, *inputs)
        expected_value, expected_g = by_autograd(tree, *inputs)
        assert torch.equal(value, expected_value)
        assert g.isfinite().all()
        assert expected_g.isfinite().all()
        expected = truth_at(tree, exact[0], exact[1], exact[2], dtype)
        tally.add(expected.settled)
        assert not differ(expected, g, expected_g).any()

    check()
    assert tally.share > 0.8


@given(trees(max_leaves=10))
@law(300)
def test_a_target_folded_in_changes_nothing(tree: Expression) -> None:
    y_pred, _, log_y_pred = leaves()
    for number in (0.0, 1.0):
        y_true = torch.full_like(y_pred, number)
        value, g = joint(tree, number, y_pred, torch.full_like(y_pred, torch.nan), log_y_pred)
        dense_value, dense_g = joint(tree, None, y_pred, y_true, log_y_pred)
        expected = truth_at(tree, y_pred, y_true, log_y_pred, torch.float64)
        wrong = dataclasses.replace(expected, value=dense_value, gradient=dense_g).wrong(value, g)
        assert not wrong.any()


KINKS = {
    "max(y_pred, y_true)": 0.5,
    "min(y_pred, y_true)": 0.5,
    "max(y_pred * 2, y_pred * 2)": 2.0,
    "max(y_pred, -(-y_pred))": 1.0,
    "min(3 * y_pred, y_pred + 0.5)": 2.0,
    "abs(y_pred - 0.25)": 0.0,
    "abs(y_pred - y_true)": 0.0,
    "sign(y_pred - 0.25)": 0.0,
    "sqrt(y_pred - 0.25)": 0.0,
    "log(y_pred - 0.25)": 0.0,
    "max(min(-max(y_pred, 0.1), -0.2), -0.9)": -1.0,
    "max(min(y_pred, 0.9), 0.2)": 1.0,
}
"""Derivatives at y_pred = y_true = 0.25; all but the last two are on a kink."""

THRESHOLDS = {
    "max(y_pred, 0.25)": 1.0,
    "max(0.25, y_pred)": 1.0,
    "min(y_pred, 0.25)": 1.0,
    "exp(108 * y_pred)": 108 * math.exp(27),
    "1000000000000 * (4 * y_pred)": 4e12,
    "-1000000000000 * (4 * y_pred)": -4e12,
}
"""The same where a clamp's argument equals its limit: torch gave 1 there up to 2.14 and gives 0 since 2.15."""


@pytest.mark.parametrize("formula", KINKS)
def test_the_derivative_on_a_kink_is_torchs(formula: str) -> None:
    tree = parse_formula(formula)
    quarter = torch.tensor([[0.25]], dtype=torch.float64)
    _, g = joint(tree, None, quarter, quarter, quarter.log())
    assert g.item() == pytest.approx(KINKS[formula] * 0.25, rel=1e-12)
    assert by_autograd(tree, quarter, quarter, quarter.log())[1].item() == pytest.approx(g.item(), rel=1e-12)


@pytest.mark.parametrize("formula", THRESHOLDS)
def test_at_the_limit_of_a_clamp_the_derivative_is_that_from_inside(formula: str) -> None:
    quarter = torch.tensor([[0.25]], dtype=torch.float64)
    _, g = joint(parse_formula(formula), None, quarter, quarter, quarter.log())
    assert g.item() == pytest.approx(THRESHOLDS[formula] * 0.25, rel=1e-12)


@pytest.mark.parametrize(
    ("formula", "outputs"),
    [
        ("log(y_pred)", (2, 1.0)),
        ("y_pred", (0, 0)),
        ("y_true", (1, 0.0)),
        ("2", (2.0, 0.0)),
        ("sign(y_pred - 0.3)", (4, 0.0)),
        ("log(y_pred) - log(y_pred)", (3, 0.0)),
    ],
)
def test_what_needs_no_step_is_none(formula: str, outputs: tuple[float, float]) -> None:
    program = joint_program(parse_formula(formula))
    assert program.outputs == outputs
    assert [isinstance(end, int) for end in program.outputs] == [isinstance(end, int) for end in outputs]


def test_value_and_gradient_share_their_steps() -> None:
    program = joint_program(parse_formula("exp(y_pred * y_true) / sqrt(y_pred + 1)"))
    assert [step.op for step in program.code].count("exp") == 1
    assert [step.op for step in program.code].count("sqrt") == 1
    assert len(INPUTS) + len(program.code) < 20


def test_no_tree_is_too_deep() -> None:
    tree = parse_formula("y_pred * y_true")
    for _ in range(300):
        tree = Expression("sin", (tree,))
    inputs = leaves()
    assert torch.allclose(joint(tree, None, *inputs)[1], by_autograd(tree, *inputs)[1], rtol=1e-9, atol=1e-300)
