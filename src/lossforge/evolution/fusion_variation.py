"""Sums of named losses as DEAP's trees: leaves are losses, with sums and weights above them.

A tree is a weighted sum however it is nested, and what is judged is that sum; so of one that comes back from the
ledger the tree is a chain of its parts.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deap import gp

from lossforge.evolution import typed_variation
from lossforge.evolution.deap_trees import Individual, Value, round_constant
from lossforge.losses.candidates import Candidate
from lossforge.losses.fusions import Fusion, Part, fused
from lossforge.losses.library import named_sum
from lossforge.losses.shares import matched, weight_of
from lossforge.spaces.schema import SearchSpace

_TRIES = 20


class Weight:
    """What a loss is multiplied by."""


def draw_weight(low: float, high: float) -> float:
    """A weight from the range, evenly in its logarithm, in three digits."""
    return round_constant(math.exp(random.uniform(math.log(low), math.log(high))))


class FusionVocabulary:
    """The losses of a space as DEAP's leaves; each stands for the loss at its matched scale, if the space says so."""

    def __init__(self, space: SearchSpace, classes: Sequence[int]) -> None:
        section = space.fusion
        self.pset = gp.PrimitiveSetTyped("lossforge", [], Value)
        self.pset.addPrimitive(_never_called, [Value, Value], Value, name="add")
        self.pset.addPrimitive(_never_called, [Weight, Value], Value, name="times")
        self.parts: dict[str, Part] = {}
        for text in section.losses:
            fusion = named_sum(text)
            assert fusion is not None, "names are checked before a search begins"
            part = (matched(fusion, classes, space.head) if section.match else fusion).parts[0]
            name = str(part.loss)
            self.parts[name] = part
            self.pset.addTerminal(name, Value, name=name)
        self.pset.addEphemeralConstant("fusion weight", partial(draw_weight, *section.weight_range), Weight)
        (self.ephemeral,) = self.pset.terminals[Weight]
        self.add, self.times = (self.pset.mapping[name] for name in ("add", "times"))

    def to_expression(self, tree: gp.PrimitiveTree) -> Fusion:
        """The sum that a tree stands for, its parts in the order of the space's losses."""
        weights: dict[str, float] = {}
        left = [1.0]
        pending: list[float] = []
        for node in tree:
            if isinstance(node, self.ephemeral):
                left.append(node.value * pending.pop())
                continue
            weight = left.pop()
            if node.name == "add":
                left += [weight, weight]
            elif node.name == "times":
                pending.append(weight)  # the weight comes next, and then the loss
            else:
                weights[node.value] = weights.get(node.value, 0.0) + weight
        return fused(
            [
                Part(weight_of(weights[name] * part.weight), part.loss)
                for name, part in self.parts.items()
                if name in weights
            ]
        )

    def to_individual(self, expression: Candidate, key: str = "") -> Individual:
        """The tree of a sum: a chain of its parts."""
        assert isinstance(expression, Fusion)
        nodes: list[Any] = [self.add] * (len(expression.parts) - 1)
        for part in expression.parts:
            name = str(part.loss)
            weight = round_constant(part.weight / self.parts[name].weight)
            leaf = self.pset.mapping[name]
            nodes += [leaf] if weight == 1 else [self.times, self.constant(weight), leaf]
        return Individual(nodes, key, expression)

    def constant(self, value: float) -> Any:
        """A weight with this value."""
        term: Any = object.__new__(self.ephemeral)
        term.value = value
        return term


def _never_called(*args: Any) -> Any:
    raise TypeError("DEAP trees are never executed; lossforge emits its own code")


class FusionVariation:
    """Draws sums within the space's limits. Parents are never changed."""

    def __init__(self, space: SearchSpace, classes: Sequence[int]) -> None:
        self.limits = space.expression
        self.vocabulary = FusionVocabulary(space, classes)
        self.seeds: list[Candidate] = [Fusion((part,)) for part in self.vocabulary.parts.values()]
        self.mutations = {
            name: weight for name, weight in space.evolution.mutation_weights().items() if name != "relate"
        }
        pset = self.vocabulary.pset
        self._operators: dict[str, Callable[[Individual], Individual]] = {
            "subtree": self._regrown,
            "point": lambda tree: typed_variation.exchanged(tree, pset),
            "insert": self._inserted,
            "shrink": typed_variation.shrunk,
            "constant": self._mutate_constant,
        }

    def fits(self, tree: gp.PrimitiveTree) -> bool:
        """Whether the tree keeps the space's limits."""
        return len(tree) <= self.limits.max_size and tree.height <= self.limits.max_height

    def fresh(self) -> tuple[Individual, str]:
        """A random sum."""
        while True:
            tree = Individual(self._drawn(random.randint(*self.limits.initial_height)))
            if self.fits(tree):
                return tree, "random"

    def _drawn(self, height: int) -> list[Any]:
        """Nodes of a random tree: a leaf at the end of its height, or one time in four before."""
        vocabulary = self.vocabulary
        if height == 0 or random.random() < 0.25:
            leaves: list[Any] = vocabulary.pset.terminals[Value]
            return [random.choice(leaves)]
        if random.random() < 0.5:
            return [vocabulary.times, vocabulary.ephemeral(), *self._drawn(height - 1)]
        return [vocabulary.add, *self._drawn(height - 1), *self._drawn(height - 1)]

    def crossover(self, first: Individual, second: Individual) -> tuple[Individual, str]:
        """The first parent with a part of the second."""
        return self._within(lambda: typed_variation.crossed(copy.deepcopy(first), copy.deepcopy(second)), "crossover")

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

    def _regrown(self, tree: Individual) -> Individual:
        """One subtree drawn anew."""
        index = random.randrange(len(tree))
        new = [self.vocabulary.ephemeral()] if self._is_weight(tree[index]) else self._drawn(2)
        tree[tree.searchSubtree(index)] = new
        return tree

    def _inserted(self, tree: Individual) -> Individual:
        """A sum, or a weight, put above one part."""
        index = random.choice([place for place, node in enumerate(tree) if not self._is_weight(node)])
        piece = tree[tree.searchSubtree(index)]
        vocabulary = self.vocabulary
        above = (
            [vocabulary.times, vocabulary.ephemeral()]
            if random.random() < 0.5
            else [vocabulary.add, random.choice(vocabulary.pset.terminals[Value])]
        )
        tree[tree.searchSubtree(index)] = [*above, *piece]
        return tree

    def _mutate_constant(self, tree: Individual) -> Individual:
        """Multiply one weight by a little more or less than 1; a tree without one gets one."""
        places = [index for index, node in enumerate(tree) if self._is_weight(node)]
        if not places:
            index = random.choice(range(len(tree)))
            piece = tree[tree.searchSubtree(index)]
            tree[tree.searchSubtree(index)] = [self.vocabulary.times, self.vocabulary.ephemeral(), *piece]
            return tree
        index = random.choice(places)
        tree[index] = self.vocabulary.constant(round_constant(tree[index].value * math.exp(random.gauss(0.0, 0.3))))
        return tree

    def _is_weight(self, node: Any) -> bool:
        return isinstance(node, self.vocabulary.ephemeral)
