from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.evolution.deap_trees import Individual
from lossforge.evolution.variation import Variation
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import BOUND, LEAVES, PRIMITIVES
from lossforge.expression.tree import CONSTANT, Expression
from lossforge.spaces.schema import EvolutionSection, ExpressionSection, SearchSpace, TaskSection

KINDS = ("subtree", "point", "insert", "shrink", "constant")
FORMULAS = (
    "y_pred",
    "2.5",
    "-y_pred",
    "exp(y_pred)",
    "exp(exp(exp(1.5)))",
    "-y_true * log(y_pred)",
    "y_true / (y_pred + 0.1) - sin(2 * y_true)",
    "max(y_pred, y_true) * min(0.3, y_pred) + aq(y_true, -1.25)",
)


def space(expression: ExpressionSection | None = None, /, **weights: float) -> SearchSpace:
    evolution = {f"{kind}_mutation": weights.get(kind, 0.0) for kind in KINDS} if weights else {}
    return SearchSpace(
        name="t",
        task=[TaskSection(data="digits")],
        expression=expression or ExpressionSection(),
        evolution=EvolutionSection.model_validate(evolution),
    )


@st.composite
def limits(draw: st.DrawFn) -> ExpressionSection:
    max_height = draw(st.integers(1, 8))
    low = draw(st.integers(1, max_height))
    return ExpressionSection(
        primitives=draw(st.lists(st.sampled_from(sorted(PRIMITIVES)), min_size=1, max_size=6, unique=True)),
        seeds=[],
        max_height=max_height,
        max_size=draw(st.integers(3, 30)),
        initial_height=(low, draw(st.integers(low, max_height))),
    )


@pytest.fixture(autouse=True)
def _callers_state() -> None:
    random.seed(0)


def text(tree: Individual) -> list[object]:
    return [node.name if node.arity else node.value for node in tree]


def expression_of(variation: Variation, tree: Individual) -> Expression:
    return variation.vocabulary.to_expression(tree)


@settings(deadline=None, max_examples=40)
@given(section=limits(), seed=st.integers(0, 2**32))
def test_limits_hold_for_every_tree_of_every_space(section: ExpressionSection, seed: int) -> None:
    variation = Variation(space(section))
    random.seed(seed)
    trees = [variation.fresh()[0] for _ in range(10)]
    for _ in range(60):
        first, second = random.choices(trees, k=2)
        made = [variation.crossover(first, second)[0], variation.mutation(first)[0]]
        for tree in made:
            expression = expression_of(variation, tree)
            assert expression.size <= section.max_size
            assert expression.height <= section.max_height
            assert {node.op for node in expression.walk()} <= {*section.primitives, *LEAVES, CONSTANT}
        trees += made
    for tree in trees:
        expression = expression_of(variation, tree)
        assert expression.size <= section.max_size
        assert expression.height <= section.max_height


def test_limits_hold_for_thousands_of_offspring() -> None:
    section = ExpressionSection(max_height=5, max_size=15, initial_height=(2, 5))
    variation = Variation(space(section))
    trees = [variation.fresh()[0] for _ in range(50)]
    largest = tallest = 0
    for turn in range(4_000):
        first, second = random.choices(trees, k=2)
        tree, _ = variation.crossover(first, second) if turn % 2 else variation.mutation(first)
        expression = expression_of(variation, tree)
        largest, tallest = max(largest, expression.size), max(tallest, expression.height)
        trees[turn % 50] = tree
    # Reached, and never passed: the limits were put to the test.
    assert (largest, tallest) == (15, 5)


def test_initial_trees_keep_to_the_initial_heights() -> None:
    section = ExpressionSection(initial_height=(2, 3), max_height=8, max_size=200)
    variation = Variation(space(section))
    heights = {expression_of(variation, variation.fresh()[0]).height for _ in range(300)}
    assert heights == {2, 3}


def test_initial_trees_fit_where_no_tree_of_that_height_does() -> None:
    section = ExpressionSection(primitives=["add"], seeds=[], initial_height=(8, 8), max_height=8, max_size=5)
    variation = Variation(space(section))
    sizes = {len(variation.fresh()[0]) for _ in range(100)}
    assert sizes == {3}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_every_mutation_takes_every_tree_and_leaves_the_parent(kind: str, formula: str) -> None:
    variation = Variation(space(**{kind: 1.0}))
    parent = variation.vocabulary.to_individual(parse_formula(formula), "key")
    parent.fitness.values = (0.5,)
    before = text(parent)
    made = [variation.mutation(parent) for _ in range(60)]
    assert text(parent) == before
    assert parent.key == "key"
    assert parent.fitness.values == (0.5,)
    assert {origin for _, origin in made} <= {kind, "random"}
    for tree, _ in made:
        assert tree is not parent
        assert expression_of(variation, tree).size == len(tree)
        assert not tree.fitness.valid
        assert tree.key == ""


def test_crossover_leaves_both_parents() -> None:
    variation = Variation(space())
    parents = [variation.vocabulary.to_individual(parse_formula(formula), formula) for formula in FORMULAS]
    before = [text(parent) for parent in parents]
    children = [variation.crossover(*random.choices(parents, k=2))[0] for _ in range(400)]
    assert [text(parent) for parent in parents] == before
    assert all(child is not parent for child in children for parent in parents)
    assert any(text(child) not in before for child in children)


def test_a_child_has_the_first_parents_root_and_nothing_of_its_own() -> None:
    variation = Variation(space())
    first = variation.vocabulary.to_individual(parse_formula("max(exp(y_pred), 1.25)"))
    second = variation.vocabulary.to_individual(parse_formula("min(sin(y_true), 2.5)"))
    nodes = {*text(first), *text(second)}
    for _ in range(200):
        child, origin = variation.crossover(first, second)
        assert origin == "crossover"
        assert child[0].name == "max"
        assert set(text(child)) <= nodes


def test_kinds_of_mutation_are_drawn_by_weight() -> None:
    variation = Variation(space(subtree=1.0, shrink=3.0))
    parent = variation.vocabulary.to_individual(parse_formula(FORMULAS[-1]))
    origins = [variation.mutation(parent)[1] for _ in range(1_000)]
    assert set(origins) == {"subtree", "shrink"}
    assert 650 < origins.count("shrink") < 850


def test_shrinking_makes_smaller_and_inserting_larger() -> None:
    parent = parse_formula("y_true / (y_pred + 0.1) - sin(2 * y_true)")
    for kind, sign in (("shrink", -1), ("insert", 1)):
        variation = Variation(space(**{kind: 1.0}))
        tree = variation.vocabulary.to_individual(parent)
        assert all(sign * (len(variation.mutation(tree)[0]) - len(tree)) > 0 for _ in range(100))


def test_point_mutation_changes_one_node_and_no_shape() -> None:
    variation = Variation(space(point=1.0))
    parent = variation.vocabulary.to_individual(parse_formula("y_true / (y_pred + 0.1) - sin(2 * y_true)"))
    for _ in range(200):
        child = variation.mutation(parent)[0]
        assert [node.arity for node in child] == [node.arity for node in parent]
        assert sum(a != b for a, b in zip(text(child), text(parent), strict=True)) <= 1


def test_point_mutation_takes_a_sign_repaired_tree_whose_neg_has_no_equal() -> None:
    variation = Variation(space(ExpressionSection(primitives=["mul"], seeds=[]), point=1.0))
    parent = variation.vocabulary.to_individual(parse_formula("y_true * -(y_pred * y_true)"))
    for _ in range(200):
        assert expression_of(variation, variation.mutation(parent)[0]).size >= 1


def test_constant_mutation_moves_one_constant_a_little() -> None:
    variation = Variation(space(constant=1.0))
    parent = variation.vocabulary.to_individual(parse_formula("2 * y_pred + 0.5"))
    moved = [variation.mutation(parent)[0] for _ in range(300)]
    pairs = [[node.value for node in tree if type(node) is variation.vocabulary.ephemeral] for tree in moved]
    assert all((a == 2) + (b == 0.5) >= 1 for a, b in pairs)
    assert len({a for a, _ in pairs}) > 50
    assert len({b for _, b in pairs}) > 50
    assert all(abs(a - 2) < 2.5 and abs(b - 0.5) < 1 for a, b in pairs)


def test_a_moved_constant_is_moved_again() -> None:
    variation = Variation(space(constant=1.0))
    tree = variation.vocabulary.to_individual(parse_formula("2 * y_pred"))
    seen = set()
    for _ in range(50):
        tree, origin = variation.mutation(tree)
        assert origin == "constant"
        seen.add(str(expression_of(variation, tree)))
    assert len(seen) > 40


def test_a_tree_without_constant_is_given_a_node() -> None:
    variation = Variation(space(constant=1.0))
    parent = variation.vocabulary.to_individual(parse_formula("exp(y_pred)"))
    assert all(len(variation.mutation(parent)[0]) > 2 for _ in range(50))


@pytest.mark.parametrize("value", [BOUND, -BOUND, 0.999 * BOUND])
def test_a_constant_never_moves_out_of_what_a_formula_can_hold(value: float) -> None:
    variation = Variation(space(constant=1.0))
    parent = variation.vocabulary.to_individual(parse_formula(f"y_pred * {value!r}"))
    for _ in range(100):
        tree = variation.mutation(parent)[0]
        assert all(abs(node.value) <= BOUND for node in expression_of(variation, tree).walk())
