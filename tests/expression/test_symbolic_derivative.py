"""The symbolic derivative is the slope of the value, and a person can read it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from tests.helpers.reference import Point, emitted_gradients, is_log_of_y_pred, value_at
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import PRIMITIVES
from lossforge.expression.symbolic_derivative import derivative
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.library import CROSS_ENTROPY

READ = {
    CROSS_ENTROPY: "-y_true / y_pred",
    "(y_true - y_pred)**2": "2 * (y_pred - y_true)",
    "abs(y_true - y_pred)": "-sign(y_true - y_pred)",
    "exp(y_true - y_pred)": "-exp(y_true - y_pred)",
    "y_pred * y_pred": "2 * y_pred",
    "log(y_true)": "0",
    "sign(y_pred)": "0",
    "3 * y_pred + 1": "3",
    "y_true / y_pred": "-y_true / y_pred**2",
    "sqrt(y_pred)": "1 / (2 * sqrt(y_pred))",
    "abs(y_pred)": "1",
    "max(y_pred, 0.5)": "(1 + sign(y_pred - 0.5)) / 2",
    "tanh(y_pred)": "1 - tanh(y_pred)**2",
    "sigmoid(y_pred)": "sigmoid(y_pred) * (1 - sigmoid(y_pred))",
    "log(1 - y_pred)": "-1 / (1 - y_pred)",
}


@pytest.mark.parametrize("formula", READ)
def test_a_derivative_reads_as_people_write_it(formula: str) -> None:
    assert format_formula(derivative(parse_formula(formula))) == READ[formula]


def points() -> list[Point]:
    return [(p, y, math.log(p)) for p in (0.07, 0.31, 0.52, 0.93) for y in (0.0, 0.3, 1.0)]


def is_smooth_at(tree: Expression, point: Point) -> bool:
    """Whether no guard acts, and no kink lies, near the point."""

    def far(value: float) -> bool:
        return abs(value) > 1e-2

    for node in tree.walk():
        args = [value_at(arg, point) for arg in node.args]
        if abs(value_at(node, point)) > 1e6:
            return False
        kink = args[0] - args[1] if node.op in ("max", "min") else args[0] if args else 1.0
        if node.op in ("max", "min", "abs", "sign", "sqrt") and not far(kink):
            return False
        if node.op == "log" and not is_log_of_y_pred(node) and not far(args[0]):
            return False
        if (node.op == "div" and not far(args[1])) or (node.op == "exp" and args[0] > 20):
            return False
    return True


def slope(tree: Expression, point: Point, step: float) -> float:
    p, y_true, _ = point
    ends = [value_at(tree, (p + side, y_true, math.log(p + side))) for side in (step, -step)]
    return (ends[0] - ends[1]) / (2 * step)


@given(trees(max_leaves=8, numbers=short_constants()))
@law(400)
def test_a_derivative_is_the_slope_of_the_value(tree: Expression) -> None:
    checked = False
    found = derivative(tree)
    for point in points():
        coarse, fine = slope(tree, point, 2e-5), slope(tree, point, 1e-5)
        # Where the two slopes differ the value turns too fast for a difference to tell.
        if is_smooth_at(tree, point) and abs(coarse - fine) <= 1e-6 * (1 + abs(fine)):
            checked = True
            assert value_at(found, point) == pytest.approx(fine, rel=1e-4, abs=1e-4), f"{tree} -> {found} at {point}"
    assume(checked)


@given(trees(max_leaves=8, numbers=short_constants()))
@law(300)
def test_a_derivative_is_what_autograd_finds(tree: Expression) -> None:
    grid = [point for point in points() if is_smooth_at(tree, point)]
    assume(grid)
    on_p, _, on_log = emitted_gradients(tree, grid)
    expected = on_p + on_log / torch.tensor([point[0] for point in grid], dtype=torch.float64)
    found = derivative(tree)
    values = torch.tensor([value_at(found, point) for point in grid], dtype=torch.float64)
    scale = float(expected.abs().max()) + 1
    assert torch.allclose(values, expected, rtol=1e-7, atol=1e-9 * scale), f"{tree} -> {found}"


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_has_a_rule(name: str) -> None:
    args = ", ".join(["0.3 + y_pred", "1.7 * y_pred"][: PRIMITIVES[name].arity])
    tree = parse_formula(f"{name}({args})")
    for point in points():
        assert value_at(derivative(tree), point) == pytest.approx(slope(tree, point, 1e-5), rel=1e-5, abs=1e-6)


def test_the_derivative_of_a_deep_tree_is_found() -> None:
    found = derivative(parse_formula("sin(" * 99 + "y_pred" + ")" * 99))
    assert value_at(found, (0.5, 1.0, math.log(0.5))) == pytest.approx(
        math.prod(math.cos(value) for value in iterated_sines(0.5, 99))
    )
    derivative(parse_formula(" + ".join(["y_pred * y_true"] * 90)))


def iterated_sines(value: float, count: int) -> list[float]:
    found = [value]
    for _ in range(count - 1):
        found.append(math.sin(found[-1]))
    return found
