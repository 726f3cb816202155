"""The emitter: its code computes what the table of primitives says, with only the guards that can act."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from tests.helpers.reference import (
    Point,
    columns,
    emitted,
    emitted_gradients,
    logits_and_targets,
    on_logits,
    points,
    reference,
)
from tests.helpers.trees import law, short_constants, trees

from lossforge.expression.codegen import compile_expression, compile_joint, emit, function_source
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, call, constant, leaf

GRID = points()


@given(trees(max_leaves=15))
@law(500)
def test_emitted_code_computes_what_the_primitives_say(tree: Expression) -> None:
    assert reference(tree, GRID).agrees(emitted(tree, GRID))


@given(trees(max_leaves=10, numbers=short_constants()))
@law(500)
def test_emitted_code_computes_what_the_primitives_say_of_trees_as_a_search_grows_them(tree: Expression) -> None:
    expected = reference(tree, GRID)
    assume(expected.settled)
    assert expected.agrees(emitted(tree, GRID))


@given(trees(max_leaves=15))
@law(500)
def test_every_tree_has_a_finite_value_in_float32(tree: Expression) -> None:
    assert emitted(tree, GRID, torch.float32).isfinite().all()


GUARDED = [
    "1 / y_pred",
    "1 / -y_pred",
    "1 / (y_pred - 1)",
    "1 / (y_pred - 0.5)",
    "1 / (y_pred - y_true)",
    "1 / (y_pred + 0.000001)",
    "1 / (y_pred + 0.0000009)",
    "1 / (-0.000001 - y_pred)",
    "1 / (-0.0000009 - y_pred)",
    "y_pred / (y_true * 0)",
    "1 / (1000000000000 * (y_pred - y_true))",
    "log(y_true)",
    "log(1 - y_pred)",
    "log(y_pred - 1)",
    "log(-1 - y_pred)",
    "log(y_pred - y_true)",
    "log(y_pred * 0.0000005)",
    "log(y_pred * y_pred)",
    "sqrt(y_true)",
    "sqrt(y_pred - y_true)",
    "sqrt(y_pred - 2)",
    "sqrt(y_pred + 1)",
    "exp(27 * y_pred)",
    "exp(27.000001 * y_pred)",
    "exp(-1000 * y_pred)",
    "exp(-100 * log(y_pred))",
    "exp(y_pred + 26.5)",
    "exp(20 * y_pred) * exp(20 * y_true)",
    "(1000000 * y_pred)**2",
    "(1000001 * y_pred)**2",
    "1000000000000 * y_pred + 1000000000000 * y_true",
    "-1000000000000 * y_pred - 1000000000000 * y_true",
    "-1000000000000 * y_pred * 1.5",
    "max(-1, y_pred)",
    "max(y_pred, 0)",
    "max(y_pred, 0.5)",
    "max(1, y_pred)",
    "min(-1, y_pred)",
    "min(y_pred, 1)",
    "min(0.5, y_true)",
    "min(y_pred, 0)",
    "sign(y_pred + 1)",
    "sign(exp(y_pred)) / sign(y_true)",
    "abs(y_pred - 2)",
    "aq(y_pred, y_true)",
    "aq(y_pred, 3)",
    "aq(2, -3 * y_true)",
    "aq(1, 1000000000000 * y_pred)",
    "sigmoid(1000 * y_pred - 500)",
    "tanh(1000 * (y_pred - y_true))",
    "y_true / sin(3 * y_pred)",
    "cos(y_pred) / erf(y_pred - y_true)",
    "log(log(y_pred))",
    "1 / log(y_pred)",
    "log(y_pred)**2 * log(y_pred)**2",
]


@pytest.mark.parametrize("formula", GUARDED)
def test_no_guard_is_missing_or_wrong_where_the_range_decides(formula: str) -> None:
    tree = parse_formula(formula)
    expected = reference(tree, GRID)
    assert expected.settled
    assert expected.agrees(emitted(tree, GRID))
    for dtype in (torch.float32, torch.float64):
        assert emitted(tree, GRID, dtype).isfinite().all()
        assert emitted_gradients(tree, GRID, dtype).isfinite().all()


@pytest.mark.parametrize("formula", ["1 / (100.000002 - 100 * y_pred)", "log(100.000002 - 100 * y_pred)"])
def test_a_guard_stays_where_float32_rounds_its_argument_to_zero(formula: str) -> None:
    # In float64 the argument is at least 2e-6; in float32 100.000002 is 100, and at y_pred = 1 it is 0.
    tree = parse_formula(formula)
    assert emitted(tree, GRID, torch.float32).isfinite().all()
    assert emitted_gradients(tree, GRID, torch.float32).isfinite().all()


@pytest.mark.parametrize(
    ("formula", "lines"),
    [
        ("-y_true * log(y_pred)", ["v1 = -y_true", "v2 = v1 * log_y_pred"]),
        ("exp(-y_pred)", ["v1 = -y_pred", "v2 = torch.exp(v1)"]),
        ("1 / (y_pred + 1)", ["v1 = y_pred + 1.0", "v2 = 1.0 / v1"]),
        ("log(y_pred - 2)", ["v1 = y_pred - 2.0", "v2 = torch.log(torch.abs(v1))"]),
        ("max(0.5, y_pred) * 2", ["v1 = torch.clamp(y_pred, min=0.5)", "v2 = v1 * 2.0"]),
        ("sin(1) * y_pred", [f"v1 = {math.sin(1)!r} * y_pred"]),
        ("y_pred * min(-1, y_true)", ["v1 = y_pred * (-1.0)"]),
    ],
)
def test_a_guard_that_cannot_act_is_not_written(formula: str, lines: list[str]) -> None:
    assert list(emit(parse_formula(formula)).lines) == lines


def test_a_guard_that_can_act_is_written() -> None:
    source = function_source(parse_formula("exp(exp(20 * y_pred)) * (1000001 * y_true)**2"), "f")
    assert "max=27.0" in source
    assert "min=-1000000000000.0, max=1000000000000.0" in source


def test_a_subtree_that_occurs_twice_is_computed_once() -> None:
    emission = emit(parse_formula("exp(y_pred) * y_true + sin(exp(y_pred) * y_true) / exp(y_pred)"))
    assert sum("torch.exp" in line for line in emission.lines) == 1
    assert len(emission.lines) == 5


def test_depth_does_not_matter() -> None:
    tree = leaf("y_pred")
    for _ in range(90):
        tree = call("sin", call("add", tree, constant(0.1)))
    assert tree.height == 180
    assert reference(tree, GRID).agrees(emitted(tree, GRID))


def test_the_logarithm_of_a_probability_is_the_log_softmax() -> None:
    tree = parse_formula("log(y_pred)")
    logits = torch.tensor([[1000.0, 0.0, -1000.0]], dtype=torch.float64)
    value, gradient = on_logits(tree, logits, torch.zeros_like(logits))
    assert value.tolist() == [[0.0, -1000.0, -2000.0]]
    assert gradient.tolist() == [[-2.0, 1.0, 1.0]]


def test_only_the_plain_probability_has_an_exact_logarithm() -> None:
    assert emit(parse_formula("y_true * log(y_pred)")).uses_log
    for formula in ("log(y_true)", "log(1 - y_pred)", "log(y_pred**2)", "y_pred"):
        assert not emit(parse_formula(formula)).uses_log, formula
    (value,) = emitted(parse_formula("log(1 * y_pred)"), [(0.0, 1.0, -2000.0)]).tolist()
    assert value == math.log(1e-6)


@pytest.mark.parametrize(("formula", "value"), [("2", 2.0), ("exp(1) - 1", math.e - 1), ("min(-1, y_pred)", -1.0)])
def test_a_constant_loss_has_the_shape_of_the_prediction(formula: str, value: float) -> None:
    tree = parse_formula(formula)
    assert emit(tree).is_constant
    y_pred = torch.rand(3, 4)
    assert torch.equal(compile_expression(tree)(y_pred, y_pred, y_pred), torch.full((3, 4), value))


@pytest.mark.parametrize("name", ["y_pred", "y_true"])
def test_a_leaf_alone_is_a_loss(name: str) -> None:
    inputs = {"y_pred": torch.rand(2, 3), "y_true": torch.rand(2, 3), "log_y_pred": torch.rand(2, 3)}
    assert not emit(leaf(name)).is_constant
    assert torch.equal(compile_expression(leaf(name))(*inputs.values()), inputs[name])


@given(trees(max_leaves=10))
@law(100)
def test_the_source_needs_torch_alone(tree: Expression) -> None:
    scope: dict[str, object] = {"torch": torch, "__builtins__": {}}
    exec(function_source(tree, "shipped"), scope)
    grid: list[Point] = GRID[::7]
    y_pred, y_true, log_y_pred = (torch.tensor(part, dtype=torch.float64) for part in zip(*grid, strict=True))
    shipped = scope["shipped"](y_pred, y_true, log_y_pred)  # type: ignore[operator]
    assert torch.equal(shipped, emitted(tree, grid))


@pytest.mark.parametrize("shape", [(), (7,), (4, 3), (2, 3, 4, 5)])
def test_the_code_takes_any_shape(shape: tuple[int, ...]) -> None:
    function = compile_expression(parse_formula("max(y_true, 0.5) / y_pred + log(y_pred)**2"))
    y_pred = torch.full(shape, 0.25)
    value = function(y_pred, torch.zeros(shape), y_pred.log())
    assert value.shape == shape
    assert torch.allclose(value, torch.tensor(2 + math.log(0.25) ** 2))


@given(trees(max_leaves=8, numbers=short_constants()))
@law(60)
def test_value_is_finite_on_logits_of_every_size(tree: Expression) -> None:
    logits, y_true = logits_and_targets()
    value, _ = on_logits(tree, torch.cat([logits, logits * 50]).float(), torch.cat([y_true, y_true]).float())
    assert value.isfinite().all()


TWICE = {
    "a guarded divisor": "(y_pred - 0.3) / (y_pred - 0.3) + y_true / (y_pred - 0.3)",
    "a guarded divisor and the bare value": "y_true / (y_pred - y_true) + sin(y_pred - y_true)",
    "an absolute value": "log(y_pred - 0.3) + sqrt(y_pred - 0.3) * abs(y_pred - 0.3)",
    "a clamp": "max(y_pred, 0.3) * sin(max(y_pred, 0.3)) + log(max(y_pred, 0.3))",
    "a limited exponent": "exp(40 * y_pred) + exp(40 * y_pred) * y_true",
    "a bounded value": "(1000001 * y_pred)**2 + sin((1000001 * y_pred)**2)",
    "an analytic quotient": "aq(y_true, y_pred) + sqrt(y_pred * y_pred + 1)",
    "both larger and smaller": "max(y_pred, y_true) * min(y_pred, y_true) - max(y_true, y_pred)",
    "a mask times a mask": "max(min(y_pred * y_true, 0.5), 0.2)",
    "a mask times a mask, negated": "max(min(-max(y_pred * y_true, 0.1), -0.2), -0.9)",
    "a mask alone": "max(y_pred, 0.3)",
    "a mask of the logarithm": "max(log(y_pred), -3) + min(log(y_pred), -1)",
    "three masks": "max(min(max(log(y_pred), -9), -1), -6) * y_true",
    "a mask minus a mask": "max(y_pred, 0.3) - min(y_pred, 0.3)",
    "a bound in a bound": "1000000 * (1000000 * (1000 * (y_pred - y_true)))",
}


@pytest.mark.parametrize("formula", TWICE.values(), ids=TWICE)
def test_guards_and_masks_may_be_used_twice_and_multiplied(formula: str) -> None:
    tree = parse_formula(formula)
    y_true = torch.tensor([0.0, 0.037, 0.53, 0.87, 1.0], dtype=torch.float64).repeat(7)
    y_pred = torch.tensor([0.0, 1e-9, 0.0411, 0.2713, 0.61, 0.93, 0.99], dtype=torch.float64).repeat_interleave(5)
    y_pred.requires_grad_()
    log_y_pred = y_pred.detach().log().clamp(min=-2000).requires_grad_()
    expected = compile_expression(tree)(y_pred, y_true, log_y_pred)
    on_p, on_log = torch.autograd.grad(expected.sum(), (y_pred, log_y_pred), materialize_grads=True)
    g = on_p * y_pred + on_log
    with torch.no_grad():
        joint = [compile_joint(tree).function(y_pred, y_true, log_y_pred)]
        for number in (0.0, 1.0):
            kept = y_true == number
            joint.append(compile_joint(tree, number).function(y_pred[kept], y_pred[kept], log_y_pred[kept]))
    for (value, slope), kept in zip(joint, (y_true >= 0, y_true == 0, y_true == 1), strict=True):
        assert value.dtype == slope.dtype == torch.float64
        torch.testing.assert_close(value, expected.detach()[kept], rtol=1e-13, atol=0)
        torch.testing.assert_close(slope, g[kept], rtol=1e-11, atol=1e-13)


@given(trees(max_leaves=12))
@law(300)
def test_code_of_value_and_gradient_makes_floating_point_tensors(tree: Expression) -> None:
    y_pred, y_true, log_y_pred = columns(GRID, torch.float32)
    for number in (None, 0.0, 1.0):
        for result in compile_joint(tree, number).function(y_pred, y_true, log_y_pred):
            assert (result.dtype, result.shape) == (torch.float32, y_pred.shape)
            assert result.isfinite().all()
