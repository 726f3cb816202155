from __future__ import annotations

import pytest

from lossforge.errors import SpaceError
from lossforge.evolution.choice import make_strategy
from lossforge.evolution.pair_variation import PairVariation
from lossforge.evolution.random_state import RandomState
from lossforge.evolution.strategy import Told
from lossforge.expression.branches import in_p
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import ExpressionSection, SearchSpace, TaskSection

SPACE = SearchSpace(name="t", task=[TaskSection(data="digits")], expression=ExpressionSection(form="pair"))


def texts(variation: PairVariation, tree: object) -> list[str]:
    return [str(list(map(str, (node.name for node in side)))) for side in variation.vocabulary.branches(tree)]


@pytest.mark.parametrize("formula", ["-y_true * log(y_pred)", "abs(y_true - y_pred)", "sin(max(y_pred, 0.9 * y_true))"])
def test_a_formula_is_taken_apart_and_put_together_as_the_same_loss(formula: str) -> None:
    vocabulary = PairVariation(SPACE).vocabulary
    again = vocabulary.to_expression(vocabulary.to_individual(parse_formula(formula)))
    assert signature(again) == signature(parse_formula(formula))


def test_pairs_keep_the_limits_and_change_one_branch_at_a_time() -> None:
    variation = PairVariation(SPACE)
    with RandomState(3).active():
        for _ in range(100):
            first, second = variation.fresh()[0], variation.fresh()[0]
            for child, origin in (variation.crossover(first, second), variation.mutation(first)):
                formula = variation.vocabulary.to_expression(child)
                assert formula.size <= SPACE.expression.max_size
                assert formula.height <= SPACE.expression.max_height
                if origin != "random":
                    same = [
                        mine == yours
                        for mine, yours in zip(texts(variation, first), texts(variation, child), strict=True)
                    ]
                    assert any(same)
                for side in variation.vocabulary.branches(child):
                    assert "y_true" not in [node.value for node in side if node.arity == 0 and hasattr(node, "name")]


def test_a_search_goes_on_from_what_it_told_and_from_what_it_saved() -> None:
    strategy = make_strategy(SPACE)
    asked = [strategy.ask() for _ in range(40)]
    told = [Told(str(one.expression), one.expression, 0.001 * place) for place, one in enumerate(asked) if one]
    strategy.tell(told)
    again = make_strategy(SPACE)
    again.load(strategy.save())
    for _ in range(20):
        first, second = strategy.ask(), again.ask()
        assert first is not None
        assert second is not None
        assert str(first.expression) == str(second.expression)
        assert "y_true" in str(first.expression) or in_p(first.expression)


def test_a_pair_is_of_elementwise_functions() -> None:
    tables = {"name": "t", "task": {"data": "digits"}, "expression": {"form": "pair", "primitives": ["add", "sum_c"]}}
    with pytest.raises(SpaceError, match=r"expression.form: a pair is of functions of one probability"):
        validate_space(tables, "my.toml")
