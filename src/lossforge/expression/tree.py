"""An immutable expression tree over ``y_pred``, ``y_true``, constants and primitives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lossforge.errors import FormulaError
from lossforge.expression.primitives import BOUND, LEAVES, PRIMITIVES

CONSTANT = "constant"
"""The ``op`` of a constant."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One node with its arguments.

    ``op`` is the name of a primitive, of a leaf, or ``"constant"``; ``value`` is the constant's value.
    ``size`` counts nodes and ``height`` edges on the longest path to a leaf.
    """

    op: str
    args: tuple[Expression, ...] = ()
    value: float = 0.0
    size: int = field(init=False, compare=False)
    height: int = field(init=False, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        arity = PRIMITIVES[self.op].arity if self.op in PRIMITIVES else 0
        if self.op not in PRIMITIVES and self.op not in LEAVES and self.op != CONSTANT:
            raise FormulaError(f"'{self.op}' is neither a primitive, a leaf nor a constant")
        if len(self.args) != arity:
            raise FormulaError(f"'{self.op}' takes {arity} arguments, not {len(self.args)}")
        size, height, hashes = 1, 0, []
        for arg in self.args:
            size += arg.size
            height = max(height, arg.height + 1)
            hashes.append(arg._hash)
        set_field = object.__setattr__
        set_field(self, "size", size)
        set_field(self, "height", height)
        set_field(self, "_hash", hash((self.op, self.value, *hashes)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        from lossforge.expression.formula import format_formula

        return format_formula(self)

    def walk(self) -> Iterator[Expression]:
        """Yield every node, depth first, a node before its arguments."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.args))

    def uses(self, op: str) -> bool:
        """Whether a leaf or primitive of this name occurs."""
        return any(node.op == op for node in self.walk())


def constant(value: float) -> Expression:
    """A constant. Raises FormulaError for values that are not finite or beyond ±1e12."""
    value = float(value)
    if not math.isfinite(value) or abs(value) > BOUND:
        raise FormulaError(f"the constant {value!r} is outside ±{BOUND:g}")
    return Expression(CONSTANT, (), value + 0.0)


def leaf(name: str) -> Expression:
    """``y_pred`` or ``y_true``."""
    return Expression(name)


def call(name: str, *args: Expression) -> Expression:
    """A primitive applied to arguments."""
    return Expression(name, args)
