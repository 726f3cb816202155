from __future__ import annotations

import random

import pytest
from deap import gp
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.evolution.deap_trees import Individual, Vocabulary, draw_constant, round_constant
from lossforge.expression.formula import parse_formula
from lossforge.expression.primitives import BOUND, LEAVES, PRIMITIVES
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf

ATOMS = st.one_of(
    st.sampled_from([leaf(name) for name in LEAVES]),
    st.builds(constant, st.floats(-BOUND, BOUND)),
)
TREES = st.recursive(
    ATOMS,
    lambda inner: st.sampled_from(sorted(PRIMITIVES)).flatmap(
        lambda name: st.builds(lambda args: call(name, *args), st.tuples(*[inner] * PRIMITIVES[name].arity))
    ),
    max_leaves=12,
)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(list(PRIMITIVES), (-3.0, 3.0))


@pytest.fixture(autouse=True)
def _callers_state() -> None:
    random.seed(0)


SHARED = Vocabulary(list(PRIMITIVES), (-3.0, 3.0))


@settings(deadline=None, max_examples=150)
@given(expression=TREES)
def test_a_tree_comes_back_from_deap_as_it_was(expression: Expression) -> None:
    tree = SHARED.to_individual(expression)
    assert SHARED.to_expression(tree) == expression
    assert (len(tree), tree.height) == (expression.size, expression.height)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_a_tree_of_deap_comes_back_as_it_was(seed: int) -> None:
    random.seed(seed)
    tree = Individual(gp.genGrow(SHARED.pset, 1, 5))
    again = SHARED.to_individual(SHARED.to_expression(tree))
    assert [node.name if node.arity else node.value for node in again] == [
        node.name if node.arity else node.value for node in tree
    ]


def test_constants_become_ephemerals_with_their_value(vocabulary: Vocabulary) -> None:
    tree = vocabulary.to_individual(parse_formula("-1.25 * y_pred + 0.1"))
    constants = [node for node in tree if type(node) is vocabulary.ephemeral]
    assert [node.value for node in constants] == [-1.25, 0.1]
    assert not any(isinstance(node, vocabulary.ephemeral) for node in tree if node not in constants)


def test_an_individual_carries_key_and_no_fitness(vocabulary: Vocabulary) -> None:
    tree = vocabulary.to_individual(leaf("y_pred"), "the key")
    assert tree.key == "the key"
    assert not tree.fitness.valid


def test_fitness_is_maximised() -> None:
    better, worse = Individual([]), Individual([])
    better.fitness.values, worse.fitness.values = (0.2,), (0.1,)
    assert better.fitness > worse.fitness


def test_constants_are_drawn_from_the_range_to_three_digits(vocabulary: Vocabulary) -> None:
    values = [vocabulary.ephemeral().value for _ in range(500)]
    assert min(values) < -2
    assert max(values) > 2
    assert all(-3 <= value <= 3 and value == round_constant(value) for value in values)


def test_two_vocabularies_keep_their_own_range() -> None:
    narrow, wide = Vocabulary(["add"], (1.0, 2.0)), Vocabulary(["add"], (100.0, 200.0))
    assert all(1 <= narrow.ephemeral().value <= 2 for _ in range(50))
    assert all(100 <= wide.ephemeral().value <= 200 for _ in range(50))


@pytest.mark.parametrize(
    ("value", "rounded"), [(1.23456, 1.23), (-0.00098765, -0.000988), (1234.5, 1230.0), (0.0, 0.0), (2.0, 2.0)]
)
def test_constants_have_three_digits(value: float, rounded: float) -> None:
    assert round_constant(value) == rounded


def test_a_constant_of_a_point_range_is_that_point() -> None:
    assert draw_constant(1.5, 1.5) == 1.5


def test_the_order_in_which_primitives_are_listed_decides_nothing() -> None:
    names = sorted(PRIMITIVES)
    found = []
    for order in (names, names[::-1], [*names[3:], *names[:3], *names]):
        vocabulary = Vocabulary(order, (-1.0, 1.0))
        random.seed(7)
        found.append([vocabulary.to_expression(Individual(gp.genFull(vocabulary.pset, 2, 4))) for _ in range(20)])
    assert found[0] == found[1] == found[2]


def test_only_listed_primitives_are_drawn() -> None:
    vocabulary = Vocabulary(["mul", "log"], (-1.0, 1.0))
    seen = set()
    for _ in range(100):
        seen |= {node.op for node in vocabulary.to_expression(Individual(gp.genFull(vocabulary.pset, 1, 4))).walk()}
    assert seen == {"mul", "log", CONSTANT, *LEAVES}


def test_a_sign_repaired_tree_is_held_though_neg_is_not_listed() -> None:
    vocabulary = Vocabulary(["mul", "log"], (-1.0, 1.0))
    expression = parse_formula("-(y_true * log(y_pred))")
    for _ in range(2):
        assert vocabulary.to_expression(vocabulary.to_individual(expression)) == expression
    assert [primitive.name for primitive in vocabulary.pset.primitives[vocabulary.pset.ret]] == ["log", "mul"]


def test_a_tree_is_never_run_by_deap(vocabulary: Vocabulary) -> None:
    tree = vocabulary.to_individual(parse_formula("y_pred + 1"))
    with pytest.raises(TypeError, match="never executed"):
        gp.compile(tree, vocabulary.pset)
