"""Crossover and mutation by DEAP, with the limits on height and size enforced here and only here."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence

from deap import gp

from lossforge.evolution import typed_variation
from lossforge.evolution.deap_trees import Individual, Vocabulary, round_constant
from lossforge.expression.formula import parse_formula
from lossforge.losses.candidates import Candidate
from lossforge.spaces.schema import SearchSpace

_TRIES = 20
"""Draws before a variation that keeps breaking the limits gives up and a fresh tree is drawn."""


_LARGEST = 600
"""Nodes of a tree in which the user's own operations are written out: one in another doubles what is in it."""


class Variation:
    """Draws trees within the limits. Parents are never changed."""

    def __init__(self, space: SearchSpace) -> None:
        self.limits = space.expression
        given = space.expression
        self.vocabulary = Vocabulary(given.primitives, given.constant_range, given.leaves, given.definitions)
        self.seeds: list[Candidate] = [parse_formula(seed) for seed in given.seeds]
        self.mutations = space.evolution.mutation_weights()
        if not self.vocabulary.typed:
            del self.mutations["relate"]
        self._operators: dict[str, Callable[[Individual], Individual]] = {
            "subtree": lambda tree: gp.mutUniform(tree, self._branch, self.vocabulary.pset)[0],
            "point": self._mutate_point,
            "insert": lambda tree: gp.mutInsert(tree, self.vocabulary.pset)[0],
            "shrink": lambda tree: gp.mutShrink(tree)[0],
            "constant": self._mutate_constant,
        }
        if self.vocabulary.typed:
            pset = self.vocabulary.pset
            self._operators |= {
                "subtree": lambda tree: typed_variation.regrown(tree, pset),
                "point": lambda tree: typed_variation.exchanged(tree, pset),
                "insert": lambda tree: typed_variation.inserted(tree, pset),
                "shrink": typed_variation.shrunk,
                "relate": lambda tree: typed_variation.related(tree, pset),
            }

    def fits(self, tree: gp.PrimitiveTree) -> bool:
        """Whether the tree keeps the space's limits."""
        if len(tree) > self.limits.max_size or tree.height > self.limits.max_height:
            return False
        return not self.vocabulary.own or self.vocabulary.to_expression(tree).plain.size <= _LARGEST

    def fresh(self) -> tuple[Individual, str]:
        """A random tree, half the time full and half the time grown."""
        low, high = self.limits.initial_height
        while True:
            tree = Individual(gp.genHalfAndHalf(self.vocabulary.pset, low, high))
            if self.fits(tree):
                return tree, "random"
            # Full trees of binary primitives can exceed max_size at any height: come down.
            low, high = max(1, low - 1), max(1, high - 1)

    def crossover(self, first: Individual, second: Individual) -> tuple[Individual, str]:
        """The first parent with a subtree of the second."""

        def draw() -> gp.PrimitiveTree:
            pair = copy.deepcopy(first), copy.deepcopy(second)
            return typed_variation.crossed(*pair) if self.vocabulary.typed else gp.cxOnePoint(*pair)[0]

        return self._within(draw, "crossover")

    def mutation(self, parent: Individual, weights: Sequence[float] | None = None) -> tuple[Individual, str]:
        """The parent with one change, of a kind drawn by the space's weights, or others for the same kinds."""
        chances = list(self.mutations.values()) if weights is None else list(weights)
        kind = random.choices(list(self.mutations), weights=chances)[0]
        return self._within(lambda: self._operators[kind](copy.deepcopy(parent)), kind)

    def _within(self, draw: Callable[[], gp.PrimitiveTree], origin: str) -> tuple[Individual, str]:
        for _ in range(_TRIES):
            tree = draw()
            if self.fits(tree):
                return Individual(tree), origin
        return self.fresh()

    def _branch(self, pset: gp.PrimitiveSet, type_: object) -> list[object]:
        branch: list[object] = gp.genGrow(pset, 0, 2, type_)
        return branch

    def _mutate_point(self, tree: Individual) -> Individual:
        """Replace one node by another of its arity; a neg from sign repair may be the only one of its own."""
        try:
            return gp.mutNodeReplacement(tree, self.vocabulary.pset)[0]  # type: ignore[no-any-return]
        except IndexError:
            return self._operators["subtree"](tree)

    def _mutate_constant(self, tree: Individual) -> Individual:
        """Move one constant by a tenth of its size or so; a tree without one gets one by insertion."""
        places = [index for index, node in enumerate(tree) if type(node) is self.vocabulary.ephemeral]
        if not places:
            return self._operators["insert"](tree)
        index = random.choice(places)
        value = tree[index].value
        moved = round_constant(value + random.gauss(0.0, 0.2 * abs(value) + 0.05))
        tree[index] = self.vocabulary.constant(moved)
        return tree
