"""Between our expressions and DEAP's trees.

A vocabulary of elementwise operations is an untyped set of primitives. One with operations over classes is typed: a
reduction takes what differs from class to class and gives one number a sample, and all others take either; what
varies such trees is our own (`lossforge.evolution.typed_variation`), since DEAP's iterates a set of types (#177) and
never puts one kind where another stood. Constants become DEAP's
ephemerals in both directions, so they are mutated again after a round trip. Nothing is ever compiled
or parsed by DEAP.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from deap import base, gp

from lossforge.expression.primitives import LEAVES, PRIMITIVES
from lossforge.expression.protection import clip
from lossforge.expression.tree import CONSTANT, SAMPLE, Definition, Expression, constant, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.losses.candidates import Candidate


class GainFitness(base.Fitness):  # type: ignore[misc]
    """One number, to be maximised: the gain over cross-entropy. Never NaN; see `lossforge.evolution.genetic`."""

    weights = (1.0,)


class Individual(gp.PrimitiveTree):  # type: ignore[misc]
    """DEAP's tree with a fitness and the candidate's key; ``expression`` is what it was made from, if it was."""

    def __init__(self, content: Any, key: str = "", expression: Candidate | None = None) -> None:
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


class Value:
    """What any operation takes."""


class Elementwise(Value):
    """A number for each class of a sample."""


class Sample(Value):
    """One number a sample."""


_TYPES = {"elementwise": Elementwise, "sample": Sample, "argument": Elementwise}


class Vocabulary:
    """The primitives and leaves of a space as DEAP's set; ``typed`` where it has more than elementwise ones."""

    def __init__(
        self,
        primitives: list[str],
        constant_range: tuple[float, float],
        leaves: Sequence[str] = tuple(LEAVES),
        own: Mapping[str, Definition] | None = None,
    ) -> None:
        self.own = dict(own or {})
        crossing = any(one.body.plain.crosses_classes for one in self.own.values())
        self.typed = crossing or not (set(primitives) <= PRIMITIVES.keys() and set(leaves) <= LEAVES.keys())
        self.pset = gp.PrimitiveSetTyped("lossforge", [], Value) if self.typed else gp.PrimitiveSet("lossforge", 0)
        for name in sorted({*primitives, *self.own}):
            arity = (self.own.get(name) or OPERATIONS[name]).arity
            kinds = self._kinds(name, arity) if self.typed else (arity,)
            self.pset.addPrimitive(_never_called, *kinds, name=name)
        for name in (name for name in EVERY_LEAF if name in leaves):
            kind = (_TYPES[EVERY_LEAF[name].result],) if self.typed else ()
            self.pset.addTerminal(name, *kind, name=name)
        kind = (Sample,) if self.typed else ()
        self.pset.addEphemeralConstant(CONSTANT, partial(draw_constant, *constant_range), *kind)
        ephemerals: list[Any] = [term for term in self.pset.terminals[self.pset.ret] if isinstance(term, type)]
        (self.ephemeral,) = ephemerals

    def _kinds(self, name: str, arity: int) -> tuple[Any, ...]:
        """Types of the arguments and of the result."""
        if not self.typed:
            return [gp.__type__] * arity, gp.__type__
        if name in self.own:
            sample = self.own[name].body.plain.kind == SAMPLE
            return [Elementwise if sample else Value] * arity, Sample if sample else Elementwise
        over_classes = OPERATIONS[name].result != "argument"
        return [Elementwise if over_classes else Value] * arity, _TYPES[OPERATIONS[name].result]

    def to_individual(self, expression: Candidate, key: str = "") -> Individual:
        """The tree in DEAP's form, of a formula."""
        assert isinstance(expression, Expression)
        return Individual([self._node(node) for node in expression.walk()], key, expression)

    def _node(self, node: Expression) -> Any:
        if node.op == CONSTANT:
            return self.constant(node.value)
        if node.op in self.pset.mapping:
            return self.pset.mapping[node.op]
        # A primitive that the space does not list: sign repair may bring in neg.
        primitive = gp.Primitive(node.op, *self._kinds(node.op, len(node.args)))
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
                stack.append(Expression(node.name, args, definition=self.own.get(node.name)))
            elif isinstance(node, self.ephemeral):
                stack.append(constant(node.value))
            else:
                stack.append(leaf(node.value))
        (expression,) = stack
        return expression


def _never_called(*args: Any) -> Any:
    raise TypeError("DEAP trees are never executed; lossforge emits its own code")
