"""With hard labels a loss is two functions of one probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from hypothesis import example, given
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.branches import branch, class_functions, in_p, slope
from lossforge.expression.codegen import compile_expression
from lossforge.expression.equivalence import HARD, same_elements
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, constant
from lossforge.expression.unify import unified

Law = Callable[[Expression], None]


def with_examples(formulas: list[str]) -> Callable[[Law], Law]:
    """Hypothesis tries these trees first."""

    def decorate(function: Law) -> Law:
        for formula in formulas:
            function = example(parse_formula(formula))(function)
        return function

    return decorate


P = torch.linspace(0.0031, 0.9973, 37, dtype=torch.float64)


@pytest.mark.parametrize(
    ("formula", "true", "wrong"),
    [
        (
            "-min(max(abs(y_pred), -1.63), sqrt(sqrt(y_true / -1.39) / -1.52))",
            "-min(p, 0.747)",
            "-min(p, 0.02565)",
        ),
        ("-y_true * log(y_pred)", "-log(p)", "0"),
        ("(y_true - y_pred)**2", "(1 - p)**2", "p**2"),
        ("abs(y_true - y_pred)", "1 - p", "p"),
        ("sin(max(y_pred, y_true))", "0.841", "sin(p)"),
        ("y_pred / y_true", "p", "1000000 * p"),
        ("aq(y_pred, sin(y_pred)) / (cos(y_pred) * y_true)", "aq(p, sin(p)) / cos(p)", "1000000 * aq(p, sin(p))"),
        ("log(y_pred * y_true)", "log(abs(p))", "-13.82"),
        ("max(min(y_pred, 2), -y_true) + 0 * y_true", "p", "p"),
        ("3 * (y_pred - y_true) + 2 * y_pred - 1", "5 * p - 4", "5 * p - 1"),
    ],
)
def test_the_two_functions_of_a_loss(formula: str, true: str, wrong: str) -> None:
    functions = class_functions(parse_formula(formula))
    assert (in_p(functions.true), in_p(functions.wrong)) == (true, wrong)
    assert functions.lines() == [f"True class (y_true = 1): {true}", f"Each wrong class (y_true = 0): {wrong}"]


@given(trees(max_leaves=9, numbers=short_constants()))
@law(150)
def test_they_are_the_loss_of_a_hard_label(tree: Expression) -> None:
    functions = class_functions(tree)
    for y_true, function in ((1.0, functions.true), (0.0, functions.wrong)):
        assert not function.uses("y_true")
        ours = compile_expression(function)(P, P, P.log())
        theirs = compile_expression(tree)(P, torch.full_like(P, y_true), P.log())
        # Where a value crosses zero, rounded constants count by the mean size.
        assert torch.allclose(ours, theirs, rtol=2e-3, atol=2e-3 * float(theirs.abs().mean()) + 1e-9)


@pytest.mark.parametrize(
    ("function", "expected"),
    [("-log(y_pred)", "-1 / p"), ("(1 - y_pred)**2", "2 * p - 2"), ("exp(-y_pred)", "-exp(-p)"), ("3", "0")],
)
def test_the_slope_is_df_dp(function: str, expected: str) -> None:
    found = slope(parse_formula(function))
    assert found is not None
    assert in_p(found) == expected


def as_read(text: str) -> numpy.ndarray[Any, Any]:
    """A function of p by ordinary mathematics, at `P`."""
    p = P.numpy()
    names = {name: getattr(numpy, name) for name in ("exp", "sin", "cos", "tanh", "abs", "sign")}
    names |= {
        "p": p,
        "log": lambda x: numpy.log(numpy.abs(x)),
        "sqrt": lambda x: numpy.sqrt(numpy.abs(x)),
        "max": numpy.maximum,
        "min": numpy.minimum,
        "sigmoid": lambda x: 1 / (1 + numpy.exp(-x)),
        "erf": lambda x: torch.erf(torch.as_tensor(x, dtype=torch.float64)).numpy(),
        "aq": lambda x, y: x / numpy.sqrt(1 + y**2),
    }
    with numpy.errstate(all="ignore"):
        return numpy.broadcast_to(numpy.asarray(eval(text, {}, names), dtype=float), p.shape)


BEYOND_THE_BOUND = [
    "div(max(y_true, tanh(2.0)), div(sub(add(abs(y_pred), erf(1.0)), sub(div((-2.964), y_pred), sub(y_true, y_true))), "
    "aq(mul(sigmoid(y_pred), neg(0.0)), sub(square(1.0), sin(y_pred)))))",
    "div(div(sqrt(y_true), neg(y_true)), square(div(y_pred, y_true)))",
    "1 / (1 + 3000000 * y_pred)",
    "log(y_pred + 2000000)",
    "aq(y_pred, 5000000 * y_pred)",
    "y_true / sqrt(y_pred * 1000000000000)",
]


@given(trees(max_leaves=9, numbers=short_constants()) | trees(max_leaves=5))
@law(300)
@with_examples(BEYOND_THE_BOUND)
def test_a_slope_that_is_shown_is_the_losss_own(tree: Expression) -> None:
    for y_true in (1.0, 0.0):
        function = class_functions(tree).true if y_true else class_functions(tree).wrong
        shown = slope(function)
        p = P.clone().requires_grad_()
        value = compile_expression(function)(p, p.detach(), p.log())
        if shown is None or not value.requires_grad:
            continue
        (own,) = torch.autograd.grad(value.sum(), p)
        allowed = 2e-3 * numpy.maximum(own.abs().numpy(), float(own.abs().mean())) + 1e-12
        assert (numpy.abs(as_read(in_p(shown)) - own.numpy()) <= allowed).all(), f"{in_p(function)}: {in_p(shown)}"


def test_a_divisor_beyond_the_bound_is_not_lost() -> None:
    function = class_functions(parse_formula(BEYOND_THE_BOUND[0])).true
    found = slope(function)
    assert found is not None
    assert in_p(found) == "1000000 * (2.964 / p**2 - 1) / (1000000 * (-0.843 - 2.964 / p - p))**2"


def test_a_slope_that_would_read_wrong_is_not_written() -> None:
    # exp is flat above 27, which no reader of 40 * exp(40 * p) knows.
    assert slope(parse_formula("exp(40 * y_pred)")) is None


def test_a_slope_that_nobody_reads_is_not_written() -> None:
    assert slope(parse_formula("max(" * 30 + "y_pred" + ", sin(y_pred))" * 30)) is None


@pytest.mark.parametrize(
    ("at_zero", "at_one", "expected"),
    [
        ("-min(y_pred, 0.5)", "-min(y_pred, 0.75)", "-min(y_pred, 0.5 + 0.25 * y_true)"),
        ("2 * sin(y_pred)", "sin(y_pred)", "(2 - y_true) * sin(y_pred)"),
        ("y_pred", "-y_pred", "y_pred * (1 - 2 * y_true)"),
        ("0", "-log(y_pred)", "y_true * -log(y_pred)"),
        ("sin(y_pred)", "0", "(1 - y_true) * sin(y_pred)"),
        ("1", "1 + y_pred", "y_true * y_pred + 1"),
        ("max(y_pred, 0.5)", "max(0.25, y_pred)", "max(y_pred, 0.5 - 0.25 * y_true)"),
    ],
)
def test_two_functions_become_one_expression(at_zero: str, at_one: str, expected: str) -> None:
    first, second = parse_formula(at_zero), parse_formula(at_one)
    found = unified(first, second)
    assert found is not None
    assert same_elements(found, parse_formula(expected), HARD)
    assert found.size <= parse_formula(expected).size
    for function, target in ((first, 0.0), (second, 1.0)):
        assert same_elements(branch(found, target), function, (target,))


def test_what_has_nothing_in_common_stays_two() -> None:
    assert unified(parse_formula("sin(y_pred)"), parse_formula("exp(y_pred)")) is None
    assert unified(parse_formula("0.25"), parse_formula("0.25")) == constant(0.25)
