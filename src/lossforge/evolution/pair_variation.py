"""Losses as two trees over the probability p: of the true class, and of each wrong one.

With hard labels an elementwise loss is two functions of p, so a pair of trees over ``y_pred`` says all that one tree
over ``y_pred`` and ``y_true`` can, without its redundancy: ``y_true * F(p) + (1 - y_true) * G(p)``. What is varied
stays within its branch. The formula is one like any other wherever it goes; on its way back it is taken apart again.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

from deap import gp

from lossforge.evolution.deap_trees import Individual, Vocabulary
from lossforge.evolution.variation import Variation
from lossforge.expression.branches import branch
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf
from lossforge.losses.candidates import Candidate
from lossforge.spaces.schema import SearchSpace

_PAIR = "pair"
_TRUE, _WRONG = leaf("y_true"), call("sub", constant(1), leaf("y_true"))


class PairVocabulary(Vocabulary):
    """The vocabulary of a branch, and pairs: a node of two branches at the root and nowhere else."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pair = gp.Primitive(_PAIR, [gp.__type__] * 2, gp.__type__)

    def branches(self, tree: gp.PrimitiveTree) -> tuple[Individual, Individual]:
        """The trees of the true class and of a wrong one; of a tree that is no pair both are it."""
        if tree[0].name != _PAIR:
            return Individual(tree), Individual(tree)
        middle = tree.searchSubtree(1).stop
        return Individual(tree[1:middle]), Individual(tree[middle:])

    def joined(self, true: gp.PrimitiveTree, wrong: gp.PrimitiveTree) -> Individual:
        """The pair of two branches."""
        return Individual([self.pair, *true, *wrong])

    def to_expression(self, tree: gp.PrimitiveTree) -> Expression:
        """The formula of a pair; a function that is 0 has no part in it."""
        parts = []
        for side, of in zip((_TRUE, _WRONG), self.branches(tree), strict=True):
            function = super().to_expression(of)
            if not (function.op == CONSTANT and function.value == 0):
                parts.append(call("mul", side, function))
        if not parts:
            return constant(0)
        return parts[0] if len(parts) == 1 else call("add", *parts)

    def to_individual(self, expression: Candidate, key: str = "") -> Individual:
        """The pair that a formula is."""
        assert isinstance(expression, Expression)
        functions = _apart(expression)
        if functions is None:
            functions = branch(expression.plain, 1.0), branch(expression.plain, 0.0)
        nodes: list[Any] = [self.pair]
        for function in functions:
            nodes += super().to_individual(function)
        return Individual(nodes, key, expression)


def _apart(formula: Expression) -> tuple[Expression, Expression] | None:
    """The two functions of a formula that was a pair, its sign repaired or not; None of any other."""
    nothing = constant(0)
    if formula.op == "neg":
        inner = _apart(formula.args[0])
        return None if inner is None else (_negated(inner[0]), _negated(inner[1]))
    if formula.op == "add":
        first, second = map(_apart, formula.args)
        if first is None or second is None or first[1] != nothing or second[0] != nothing:
            return None
        return first[0], second[1]
    if formula.op == "mul" and formula.args[0] == _TRUE and not formula.args[1].uses("y_true"):
        return formula.args[1], nothing
    if formula.op == "mul" and formula.args[0] == _WRONG and not formula.args[1].uses("y_true"):
        return nothing, formula.args[1]
    return None


def _negated(function: Expression) -> Expression:
    return function if function == constant(0) else call("neg", function)


class PairVariation(Variation):
    """Draws pairs within the space's limits on the whole formula. Parents are never changed."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space)
        given = space.expression
        self.vocabulary: PairVocabulary = PairVocabulary(
            given.primitives, given.constant_range, ["y_pred"], given.definitions
        )

    def fits(self, tree: gp.PrimitiveTree) -> bool:
        """Whether the formula keeps the space's limits, or, of a branch, half of them may."""
        if tree[0].name != _PAIR:
            return super().fits(tree)
        formula = self.vocabulary.to_expression(tree)
        return formula.size <= self.limits.max_size and formula.height <= self.limits.max_height

    def fresh(self) -> tuple[Individual, str]:
        """Two random trees, one level lower than those of a single one."""
        low, high = (max(1, height - 1) for height in self.limits.initial_height)
        while True:
            grown = [Individual(gp.genHalfAndHalf(self.vocabulary.pset, low, high)) for _ in range(2)]
            tree = self.vocabulary.joined(*grown)
            if self.fits(tree):
                return tree, "random"
            low, high = max(0, low - 1), max(1, high - 1)

    def crossover(self, first: Individual, second: Individual) -> tuple[Individual, str]:
        """The first parent, in one of its branches a part of the same branch of the second."""

        def draw() -> gp.PrimitiveTree:
            side = random.randrange(2)
            mine, other = (list(self.vocabulary.branches(copy.deepcopy(one))) for one in (first, second))
            if len(mine[side]) < 2 or len(other[side]) < 2:
                mine[side] = other[side]  # of a leaf nothing else can be exchanged
            else:
                mine[side] = gp.cxOnePoint(mine[side], other[side])[0]
            return self.vocabulary.joined(*mine)

        return self._within(draw, "crossover")

    def mutation(self, parent: Individual, weights: Sequence[float] | None = None) -> tuple[Individual, str]:
        """The parent with one change in one branch, of a kind drawn by the space's weights or those given."""
        chances = list(self.mutations.values()) if weights is None else list(weights)
        kind = random.choices(list(self.mutations), weights=chances)[0]
        change: Callable[[Individual], Individual] = self._operators[kind]

        def draw() -> gp.PrimitiveTree:
            side = random.randrange(2)
            mine = list(self.vocabulary.branches(copy.deepcopy(parent)))
            mine[side] = change(mine[side])
            return self.vocabulary.joined(*mine)

        return self._within(draw, kind)
