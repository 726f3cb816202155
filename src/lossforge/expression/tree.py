"""An immutable expression tree over ``y_pred``, ``y_true``, constants and primitives, and its text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lossforge.errors import FormulaError
from lossforge.expression.primitives import BOUND, LEAVES, PRIMITIVES

CONSTANT = "constant"
"""The ``op`` of a constant."""

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_LOOSE, _TIGHT, _UNARY, _POWER, _ATOM = range(1, 6)


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


def format_number(value: float) -> str:
    """Shortest text that reads back as the same float."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _wrap(text: str, precedence: int, needed: int) -> str:
    return text if precedence >= needed else f"({text})"


def _format(node: Expression) -> tuple[str, int]:
    if node.op == CONSTANT:
        return format_number(node.value), _ATOM if node.value >= 0 else _UNARY
    if node.op in LEAVES:
        return node.op, _ATOM
    parts = [_format(arg) for arg in node.args]
    if node.op in _INFIX:
        level = _LOOSE if node.op in ("add", "sub") else _TIGHT
        left, right = _wrap(*parts[0], level), _wrap(*parts[1], level + 1)
        return f"{left} {_INFIX[node.op]} {right}", level
    if node.op == "neg":
        # Parentheses keep -(2) apart from the constant -2.
        needed = _ATOM + 1 if node.args[0].op == CONSTANT else _UNARY
        return f"-{_wrap(*parts[0], needed)}", _UNARY
    if node.op == "square":
        return f"{_wrap(*parts[0], _ATOM)}**2", _POWER
    return f"{node.op}({', '.join(text for text, _ in parts)})", _ATOM


def format_formula(expression: Expression) -> str:
    """Print a formula that `lossforge.expression.formula.parse_formula` reads back as the same tree."""
    return _format(expression)[0]
