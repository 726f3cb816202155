"""Trees with operations over classes: to a place comes what it takes, and equal draws give equal trees."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from lossforge.evolution.deap_trees import Elementwise, Individual, Vocabulary
from lossforge.evolution.genetic import GeneticStrategy
from lossforge.evolution.random_state import RandomState
from lossforge.evolution.strategy import Told
from lossforge.evolution.typed_variation import places
from lossforge.evolution.variation import Variation
from lossforge.expression.canonical import canonical_key
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import PRIMITIVES
from lossforge.expression.signature import signature
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.spaces.schema import ExpressionSection, SearchSpace, TaskSection

ALL = ExpressionSection(
    primitives=list(OPERATIONS),
    leaves=list(EVERY_LEAF),
    define={"inv": "1 / x", "share": "x / sum_c(x)", "total": "sum_c(x * y)"},
)


def space(expression: ExpressionSection) -> SearchSpace:
    return SearchSpace(name="t", task=[TaskSection(data="digits")], expression=expression)


def well_typed(tree: Individual) -> bool:
    return all(issubclass(node.ret, place) for node, place in zip(tree, places(tree), strict=True))


def varied(seed: int, steps: int) -> tuple[list[str], Counter[str]]:
    """Texts of trees after so many variations, and how often each kind was drawn."""
    variation, kinds = Variation(space(ALL)), Counter[str]()
    with RandomState(seed).active():
        trees = [variation.fresh()[0] for _ in range(20)]
        for _ in range(steps):
            first, second = random.sample(trees, 2)
            tree, kind = variation.crossover(first, second) if random.random() < 0.5 else variation.mutation(first)
            assert well_typed(tree), variation.vocabulary.to_expression(tree)
            assert variation.fits(tree)
            kinds[kind] += 1
            trees[random.randrange(20)] = tree
        return [str(variation.vocabulary.to_expression(tree)) for tree in trees], kinds


def test_every_variation_keeps_the_types_and_the_limits() -> None:
    texts, kinds = varied(1, 1500)
    assert {"crossover", "subtree", "point", "insert", "shrink", "constant", "relate"} <= {*kinds}
    for text in texts:
        assert str(parse_formula(text)) == text


def test_the_same_draws_give_the_same_trees() -> None:
    assert varied(2, 200) == varied(2, 200)
    assert varied(2, 200) != varied(3, 200)


def test_a_reduction_never_takes_what_is_one_number_a_sample_alone() -> None:
    variation = Variation(space(ALL))
    with RandomState(4).active():
        trees = [variation.fresh()[0] for _ in range(300)]
    for tree in trees:
        for node, place in zip(tree, places(tree), strict=True):
            assert place is not Elementwise or node.ret is Elementwise


def test_all_operations_leaves_and_definitions_come() -> None:
    variation = Variation(space(ALL))
    seen: set[str] = set()
    with RandomState(5).active():
        for _ in range(600):
            seen |= {node.op for node in variation.vocabulary.to_expression(variation.fresh()[0]).walk()}
    assert seen == {*OPERATIONS, *EVERY_LEAF, *ALL.define, "constant"}


@pytest.mark.parametrize("formula", ["sum_c(2) * y_pred", "-share(y_true)", "max_c(sum_c(y_pred))", "n_classes"])
def test_trees_of_others_go_there_and_back(formula: str) -> None:
    expression = parse_formula(formula, ALL.definitions)
    vocabulary = Variation(space(ALL)).vocabulary
    assert vocabulary.to_expression(vocabulary.to_individual(expression)) == expression


def test_a_vocabulary_of_elementwise_operations_stays_untyped() -> None:
    plain = ExpressionSection()
    assert not Vocabulary(plain.primitives, plain.constant_range).typed
    assert not Vocabulary(
        plain.primitives, plain.constant_range, own=ExpressionSection(define={"f": "x"}).definitions
    ).typed
    assert Vocabulary([*PRIMITIVES, "stop"], plain.constant_range).typed
    assert Vocabulary(plain.primitives, plain.constant_range, ["y_pred", "y_true", "progress"]).typed
    assert Vocabulary(plain.primitives, plain.constant_range, own=ALL.definitions).typed


def test_the_state_is_saved_with_its_names() -> None:
    strategy = GeneticStrategy(space(ALL))
    asked = [strategy.ask() for _ in range(30)]
    strategy.tell([Told(canonical_key(one.expression), one.expression, float(k)) for k, one in enumerate(asked)])
    other = GeneticStrategy(space(ALL))
    other.load(strategy.save())
    assert [str(one.expression) for one in other.members()] == [str(one.expression) for one in strategy.members()]
    assert [str(strategy.ask().expression) for _ in range(20)] == [str(other.ask().expression) for _ in range(20)]


def test_normalised_cross_entropy_is_one_variation_from_cross_entropy() -> None:
    expression = ExpressionSection(primitives=["add", "sub", "mul", "div", "neg", "log", "sum_c", "stop"])
    variation = Variation(space(expression))
    parent = variation.vocabulary.to_individual(parse_formula("-y_true * log(y_pred)"))
    goal = signature(parse_formula("true_c(log(y_pred)) / sum_c(log(y_pred))"))
    with RandomState(1).active():
        children = {variation.vocabulary.to_expression(variation.mutation(parent)[0]) for _ in range(2000)}
    assert goal in {signature(child) for child in children}
