"""Between our expressions and DEAP's trees.

The set of primitives is untyped, so DEAP never iterates a set of types (#177). Constants become DEAP's
ephemerals in both directions, so they are mutated again after a round trip. Nothing is ever compiled
or parsed by DEAP.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from deap import base, gp

from lossforge.expression.primitives import LEAVES, PRIMITIVES, clip
from lossforge.expression.tree import CONSTANT, Expression, constant, leaf


class GainFitness(base.Fitness):  # type: ignore[misc]
    """One number, to be maximised: the gain over cross-entropy. Never NaN; see `lossforge.evolution.genetic`."""

    weights = (1.0,)


class Individual(gp.PrimitiveTree):  # type: ignore[misc]
    """DEAP's tree with a fitness and the candidate's key; ``expression`` is what it was made from, if it was."""

    def __init__(self, content: Any, key: str = "", expression: Expression | None = None) -> None:
        super().__init__(content)
        self.fitness = GainFitness()
        self.key = key
        self.expression = expression

    def __deepcopy__(self, memo: Any) -> Individual:
        """A tree to be varied: its nodes, which are never changed themselves, and nothing that is known of it."""
        return Individual(self)


def round_constant(value: float) -> float:
    """Three significant digits: readable, and finer than any effect that a search can see."""
    return float(f"{clip(value):.3g}")


def draw_constant(low: float, high: float) -> float:
    """A constant from the range, uniformly, rounded but not out of it."""
    return min(max(round_constant(random.uniform(low, high)), low), high)


class Vocabulary:
    """The primitives and leaves of a space as DEAP's primitive set."""

    def __init__(self, primitives: list[str], constant_range: tuple[float, float]) -> None:
        self.pset = gp.PrimitiveSet("lossforge", 0)
        for name in sorted(set(primitives)):
            self.pset.addPrimitive(_never_called, PRIMITIVES[name].arity, name=name)
        for name in LEAVES:
            self.pset.addTerminal(name, name=name)
        self.pset.addEphemeralConstant(CONSTANT, partial(draw_constant, *constant_range))
        ephemerals: list[Any] = [term for term in self.pset.terminals[self.pset.ret] if isinstance(term, type)]
        (self.ephemeral,) = ephemerals

    def to_individual(self, expression: Expression, key: str = "") -> Individual:
        """The tree in DEAP's form."""
        return Individual([self._node(node) for node in expression.walk()], key, expression)

    def _node(self, node: Expression) -> Any:
        if node.op == CONSTANT:
            return self.constant(node.value)
        if node.op in self.pset.mapping:
            return self.pset.mapping[node.op]
        # A primitive that the space does not list: sign repair may bring in neg.
        primitive = gp.Primitive(node.op, [gp.__type__] * len(node.args), gp.__type__)
        self.pset.mapping[node.op] = primitive
        return primitive

    def constant(self, value: float) -> Any:
        """An ephemeral with this value."""
        # Not by calling the class, which would draw a value first.
        term: Any = object.__new__(self.ephemeral)
        term.value = value
        return term

    def to_expression(self, tree: gp.PrimitiveTree) -> Expression:
        """The tree in our form."""
        stack: list[Expression] = []
        for node in reversed(tree):
            if node.arity:
                args = tuple(stack.pop() for _ in range(node.arity))
                stack.append(Expression(node.name, args))
            elif isinstance(node, self.ephemeral):
                stack.append(constant(node.value))
            else:
                stack.append(leaf(node.value))
        (expression,) = stack
        return expression


def _never_called(*args: Any) -> Any:
    raise TypeError("DEAP trees are never executed; lossforge emits its own code")
