"""The tree: what it counts, what it refuses, and that it never changes."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import pytest
from hypothesis import given
from tests.helpers.trees import law, trees

from lossforge.errors import FormulaError
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf


def test_size_counts_nodes_and_height_counts_edges() -> None:
    tree = parse_formula("-y_true * log(y_pred + 1)")
    assert (tree.size, tree.height) == (7, 3)
    assert (leaf("y_pred").size, leaf("y_pred").height) == (1, 0)


@given(trees(max_leaves=20))
@law(200)
def test_size_and_height_are_those_of_the_nodes(tree: Expression) -> None:
    def height(node: Expression) -> int:
        return max((1 + height(arg) for arg in node.args), default=0)

    assert tree.size == len(list(tree.walk()))
    assert tree.height == height(tree)


def test_a_walk_goes_depth_first_and_left_to_right() -> None:
    tree = parse_formula("max(y_pred * 2, sin(y_true))")
    assert [node.op for node in tree.walk()] == ["max", "mul", "y_pred", CONSTANT, "sin", "y_true"]


@given(trees(max_leaves=20))
@law(100)
def test_a_tree_is_rebuilt_from_its_walk(tree: Expression) -> None:
    stack: list[Expression] = []
    for node in reversed(list(tree.walk())):
        args = tuple(stack.pop() for _ in node.args)
        stack.append(Expression(node.op, args, node.value))
    assert stack == [tree]


def test_uses_looks_for_leaves_and_primitives() -> None:
    tree = parse_formula("-log(y_pred)")
    assert [tree.uses(name) for name in ("y_pred", "log", "neg", "y_true", "exp")] == [True, True, True, False, False]


@given(trees(max_leaves=10))
@law(100)
def test_equal_trees_have_equal_hashes(tree: Expression) -> None:
    again = parse_formula(str(tree))
    assert again is not tree
    assert again == tree
    assert hash(again) == hash(tree)


def test_trees_differ_by_operator_argument_order_and_constant() -> None:
    formulas = ("y_pred - y_true", "y_true - y_pred", "y_pred + y_true", "y_pred - 1", "y_pred - 2", "2", "-(2)", "-2")
    assert len({parse_formula(formula) for formula in formulas}) == len(formulas)


def test_a_tree_cannot_be_changed() -> None:
    tree = parse_formula("y_pred + 1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        tree.op = "sub"  # type: ignore[misc]
    assert str(tree) == "y_pred + 1"


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda tree: pickle.loads(pickle.dumps(tree))])
def test_a_copy_is_the_same_tree(clone: object) -> None:
    tree = parse_formula("-y_true * log(y_pred) + 0.1")
    again = clone(tree)  # type: ignore[operator]
    assert again == tree
    assert (again.size, again.height, hash(again)) == (tree.size, tree.height, hash(tree))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.1e12, -1e13])
def test_a_constant_beyond_the_bound_is_refused(value: float) -> None:
    with pytest.raises(FormulaError, match=r"is outside ±1e\+12"):
        constant(value)


def test_there_is_one_zero() -> None:
    assert math.copysign(1, constant(-0.0).value) == 1
    assert str(constant(-0.0)) == "0"


@pytest.mark.parametrize("op", ["power", "", "__class__", "y", "LOG"])
def test_an_unknown_operator_is_refused(op: str) -> None:
    with pytest.raises(FormulaError, match=f"'{op}' is neither a primitive, a leaf nor a constant"):
        Expression(op)


@pytest.mark.parametrize(
    ("op", "count", "arity"), [("add", 1, 2), ("log", 2, 1), ("max", 3, 2), ("y_pred", 1, 0), (CONSTANT, 1, 0)]
)
def test_a_wrong_number_of_arguments_is_refused(op: str, count: int, arity: int) -> None:
    with pytest.raises(FormulaError, match=f"'{op}' takes {arity} arguments, not {count}"):
        Expression(op, (leaf("y_pred"),) * count)


def test_a_tree_prints_as_its_formula() -> None:
    assert str(call("mul", call("neg", leaf("y_true")), call("log", leaf("y_pred")))) == "-y_true * log(y_pred)"
