"""An immutable expression tree over ``y_pred``, ``y_true``, constants and primitives, and its text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from lossforge.errors import FormulaError
from lossforge.expression.class_operations import CLASS_OPERATIONS
from lossforge.expression.primitives import LEAVES
from lossforge.expression.protection import BOUND
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

CONSTANT = "constant"
"""The ``op`` of a constant."""

PARAMETER = "parameter"
"""The ``op`` of x and y in the body of a user's own operation; ``value`` is 0 or 1."""
PARAMETERS = ("x", "y")

NUMBER, SAMPLE, ELEMENTWISE = range(3)
"""Kinds of an expression: made of constants alone, one number a sample, a number for each class of a sample."""
_KINDS = {"sample": SAMPLE, "elementwise": ELEMENTWISE, "argument": None}
_NODES: dict[str, tuple[int, int | None, bool]] = {
    **{name: (one.arity, _KINDS[one.result], name in CLASS_OPERATIONS) for name, one in OPERATIONS.items()},
    **{name: (0, _KINDS[one.result], name not in LEAVES) for name, one in EVERY_LEAF.items()},
    CONSTANT: (0, NUMBER, False),
    PARAMETER: (0, ELEMENTWISE, False),
}
"""Of each node: how many arguments, its kind (None: that of its arguments), and whether classes meet in it."""
_UNKNOWN = -1, None, False
_LOOSE, _TIGHT, _UNARY, _POWER, _ATOM = range(1, 6)


@dataclass(frozen=True, slots=True)
class Definition:
    """An operation that a user made of others: ``body`` is what it stands for, with `PARAMETER` in place of x and y."""

    name: str
    arity: int
    body: Expression

    def __str__(self) -> str:
        return f"{self.name}({', '.join(PARAMETERS[: self.arity])}) = {_format(self.body)[0]}"


def _of_own(definition: Definition) -> tuple[int, int | None, bool]:
    return definition.arity, None, False


@dataclass(frozen=True, slots=True)
class Expression:
    """One node with its arguments.

    ``op`` is the name of an operation, of a leaf, or ``"constant"``; ``value`` is the constant's value. An operation of
    the user's own has its ``definition``, and `plain` is the tree with what it stands for in its place. ``size``
    counts nodes and ``height`` edges on the longest path to a leaf. ``kind``: `NUMBER`, `SAMPLE` (one number for all
    classes of a sample) or `ELEMENTWISE`. ``crosses_classes``: an element depends on more than its own probability and
    target.
    """

    op: str
    args: tuple[Expression, ...] = ()
    value: float = 0.0
    definition: Definition | None = None
    size: int = field(init=False, compare=False)
    height: int = field(init=False, compare=False)
    kind: int = field(init=False, compare=False)
    crosses_classes: bool = field(init=False, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)
    _plain: Expression | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        arity, kind, crosses = _NODES.get(self.op, _UNKNOWN) if self.definition is None else _of_own(self.definition)
        if len(self.args) != arity:
            if arity < 0:
                raise FormulaError(f"'{self.op}' is neither a primitive, a leaf nor a constant")
            raise FormulaError(f"'{self.op}' takes {arity} arguments, not {len(self.args)}")
        size, height, hashes, named, inside = 1, 0, [], self.definition is not None, NUMBER
        for arg in self.args:
            size += arg.size
            if arg.height >= height:
                height = arg.height + 1
            hashes.append(arg._hash)
            if arg.kind > inside:
                inside = arg.kind
            crosses = crosses or arg.crosses_classes
            named = named or arg._plain is not None
        plain = self._made_plain() if named else None
        if plain is not None:
            kind, crosses = plain.kind, plain.crosses_classes
        set_field = object.__setattr__
        set_field(self, "_plain", plain)
        set_field(self, "size", size)
        set_field(self, "height", height)
        set_field(self, "kind", inside if kind is None else kind)
        set_field(self, "crosses_classes", crosses)
        set_field(self, "_hash", hash((self.op, self.value, *hashes)))

    def _made_plain(self) -> Expression:
        """The tree without definitions."""
        args = tuple(arg.plain for arg in self.args)
        return Expression(self.op, args) if self.definition is None else substituted(self.definition.body, args)

    def __hash__(self) -> int:
        return self._hash

    @property
    def plain(self) -> Expression:
        """The same with every operation of the user's own replaced by what it stands for."""
        return self if self._plain is None else self._plain

    def with_args(self, args: tuple[Expression, ...]) -> Expression:
        """The same node over other arguments; itself where they are the same."""
        return self if args == self.args else Expression(self.op, args, self.value, self.definition)

    def definitions(self) -> list[Definition]:
        """The user's own operations that occur, those in bodies of others too, by name."""
        found: dict[str, Definition] = {}
        left = [node.definition for node in self.walk() if node.definition is not None]
        while left:
            one = left.pop()
            if one.name not in found:
                found[one.name] = one
                left += [node.definition for node in one.body.walk() if node.definition is not None]
        return [found[name] for name in sorted(found)]

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
        """Whether a leaf or primitive of this name occurs, also in what the user's own operations stand for."""
        return any(node.op == op for node in self.plain.walk())

    @property
    def of_sample(self) -> bool:
        """Whether it is one number a sample: that sample's loss as it is, not summed over classes."""
        return self.kind == SAMPLE

    @property
    def sees_prediction(self) -> bool:
        """Whether it depends on what the network says."""
        return self.uses("y_pred") or self.uses("logit")

    @property
    def sees_target(self) -> bool:
        """Whether it depends on the label."""
        return self.uses("y_true") or self.uses("true_c")


def substituted(body: Expression, args: tuple[Expression, ...]) -> Expression:
    """The body of a definition with the arguments in place of its parameters; it has none of other definitions left."""
    memo: dict[Expression, Expression] = {}

    def visit(node: Expression) -> Expression:
        if node.op == PARAMETER:
            return args[int(node.value)]
        if node not in memo:
            memo[node] = node.with_args(tuple(map(visit, node.args)))
        return memo[node]

    return visit(body.plain)


def constant(value: float) -> Expression:
    """A constant. Raises FormulaError for values that are not finite or beyond ±1e12."""
    value = float(value)
    if not math.isfinite(value) or abs(value) > BOUND:
        raise FormulaError(f"the constant {value!r} is outside ±{BOUND:g}")
    return Expression(CONSTANT, (), value + 0.0)


def leaf(name: str) -> Expression:
    """A leaf such as ``y_pred`` or ``y_true``."""
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
    if node.op == PARAMETER:
        return PARAMETERS[int(node.value)], _ATOM
    if not node.args:
        return node.op, _ATOM
    parts = [_format(arg) for arg in node.args]
    infix = "" if node.definition else OPERATIONS[node.op].infix
    if infix:
        level = _LOOSE if infix in "+-" else _TIGHT
        left, right = _wrap(*parts[0], level), _wrap(*parts[1], level + 1)
        return f"{left} {infix} {right}", level
    if node.op == "neg":
        # Parentheses keep -(2) apart from the constant -2.
        needed = _ATOM + 1 if node.args[0].op == CONSTANT else _UNARY
        return f"-{_wrap(*parts[0], needed)}", _UNARY
    if node.op == "square":
        return f"{_wrap(*parts[0], _ATOM)}**2", _POWER
    return f"{node.op}({', '.join(text for text, _ in parts)})", _ATOM


def format_formula(expression: Expression) -> str:
    """Print a formula that `lossforge.expression.formula.parse_formula` reads back as the same tree.

    Operations of the user's own stand by their names, and what they are behind it:
    ``inv(y_pred) where inv(x) = 1 / x``.
    """
    text = _format(expression)[0]
    return WHERE.join([text, "; ".join(map(str, definitions))]) if (definitions := expression.definitions()) else text


WHERE = " where "
"""Between a formula and the user's own operations in it."""
