"""A program: an expression as flat instructions on registers, with every guard written out.

It is what the emitted torch code, the closed-form gradient and the interpreters are all made from. Every
distinct value is computed once, and a guard that can never act is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import log
from typing import NamedTuple

from lossforge.expression.instructions import INSTRUCTIONS
from lossforge.expression.primitives import LOG_Y_PRED
from lossforge.expression.protection import (
    GUARDS,
    INPUTS,
    LOG_Y_PRED_REGISTER,
    Y_PRED,
    Y_TRUE,
    Guards,
    Interval,
    Operand,
    clip,
)
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, operations_guarded_by

__all__ = ["INPUTS", "LOG_Y_PRED_REGISTER", "Y_PRED", "Y_TRUE", "Instruction", "Lowering", "Program", "ProgramBuilder"]


class Instruction(NamedTuple):
    """``op(a, b)``; instruction i writes register ``len(INPUTS) + i``. ``inner``: part of a larger step.

    What there is stands in `lossforge.expression.instructions`.
    """

    op: str
    a: Operand
    b: Operand = 0.0
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions and the operands that hold the results: the loss and, of a joint program, its gradient.

    ``guarded``: in a part that depends on y_pred a guard can act, or may be why a value is a number.
    """

    code: tuple[Instruction, ...]
    outputs: tuple[Operand, ...]
    guarded: bool = field(default=False, compare=False)

    @property
    def needs(self) -> frozenset[str]:
        """What it reads besides logits and target: "progress", "class_share"."""
        return frozenset(_NEEDS[step.op] for step in self.code if step.op in _NEEDS)

    @property
    def crosses_classes(self) -> bool:
        """Whether an element depends on other classes, or on anything but its own probability and target."""
        return any(step.op in _CROSSING for step in self.code)

    def reads(self, register: int) -> bool:
        """Whether an input register is used."""
        read = [operand for operand in self.outputs if isinstance(operand, int)]
        return register in read or any(register in _registers(step) for step in self.code)


def _registers(step: Instruction) -> list[int]:
    return [operand for operand in (step.a, step.b) if isinstance(operand, int)]


_COMMUTATIVE = frozenset(name for name, kind in INSTRUCTIONS.items() if kind.commutative)
_OF_SAMPLE = frozenset(name for name, kind in INSTRUCTIONS.items() if kind.result == "sample")
_OF_CLASS = frozenset(name for name, kind in INSTRUCTIONS.items() if kind.result == "elementwise")
_CROSSING = frozenset(name for name, kind in INSTRUCTIONS.items() if kind.group == "classes")
_NEEDS = {name: kind.needs for name, kind in INSTRUCTIONS.items() if kind.needs}


class ProgramBuilder:
    """Appends instructions; the same operation on the same operands is appended once."""

    def __init__(self) -> None:
        self.code: list[Instruction] = []
        self.guarded = False
        self._known: dict[tuple[str, Operand, Operand, bool, bool], int] = {}
        self._samples: set[int] = set()

    def is_sample(self, operand: Operand) -> bool:
        """Whether an operand is one number a sample: a constant, or a register that holds such."""
        return isinstance(operand, float) or operand in self._samples

    def emit(self, op: str, a: Operand, b: Operand = 0.0, *, inner: bool = False) -> Operand:
        """Append ``op(a, b)``, unless it is there, and return its register."""
        # 1 == 1.0 in Python: whether an operand is a register belongs to the key.
        key = (op, a, b, isinstance(a, int), isinstance(b, int))
        register = self._known.get(key)
        if register is None and op in _COMMUTATIVE:
            register = self._known.get((op, b, a, key[4], key[3]))
        if register is None:
            register = self._known[key] = len(INPUTS) + len(self.code)
            self.code.append(Instruction(op, a, b, inner))
            if op in _OF_SAMPLE or (self._samples and op not in _OF_CLASS and self.is_sample(a) and self.is_sample(b)):
                self._samples.add(register)
        return register

    def guard(self, op: str, a: Operand, size: float) -> Operand:
        """Append a guard of this size."""
        self.guarded = True
        return self.emit(op, a, size, inner=True)

    def finish(self, *outputs: Operand) -> Program:
        """The program without the instructions that no output needs."""
        first = len(INPUTS)
        needed = {operand for operand in outputs if isinstance(operand, int)}
        for register in range(first + len(self.code) - 1, first - 1, -1):
            if register in needed:
                needed.update(_registers(self.code[register - first]))
        moved = {register: register for register in range(first)}
        code: list[Instruction] = []

        def at(operand: Operand) -> Operand:
            return moved[operand] if isinstance(operand, int) else operand

        for register, (op, a, b, inner) in enumerate(self.code, first):
            if register in needed:
                moved[register] = first + len(code)
                code.append(Instruction(op, at(a), at(b), inner))
        return Program(tuple(code), tuple(at(operand) for operand in outputs), self.guarded)


_PROTECTED = frozenset({"div", "sqrt", "log", "exp"})
_LEAVES = {name: leaf.interval for name, leaf in EVERY_LEAF.items()}


class Lowering:
    """Turns expressions into instructions. Knows the interval of every value, and so which guards can act.

    With ``y_true`` a number, that number stands for the leaf, and all that depends on nothing else is folded: for
    expressions whose elements stand alone. ``head`` is what makes probabilities of logits. ``guards`` are the sizes of
    the guards, but for parts of the target alone: those keep `GUARDS`, since one number for each of the two targets is
    all there is of them. ``least`` is the least probability that y_pred may have.
    """

    def __init__(
        self, y_true: float | None = None, guards: Guards = GUARDS, least: float = 0.0, head: str = "softmax"
    ) -> None:
        self.builder = ProgramBuilder()
        self.y_true = y_true
        self.guards = guards
        self.head = head
        self._leaves = {**_LEAVES, "y_pred": (least, 1.0)} if least else _LEAVES
        self._log_y_pred = (log(least), 0.0) if least else LOG_Y_PRED
        self._memo: dict[Expression, tuple[Operand, Interval]] = {}
        self._still = {Y_TRUE}

    def lower(self, node: Expression) -> tuple[Operand, Interval]:
        """Operand and interval of a node's value."""
        node = node.plain
        known = self._memo.get(node)
        if known is None:
            known = self._memo[node] = self._lower(node)
        return known

    def _lower(self, node: Expression) -> tuple[Operand, Interval]:
        if node.op == CONSTANT:
            return node.value, (node.value, node.value)
        if node.op == "y_true" and self.y_true is not None:
            return self.y_true, (self.y_true, self.y_true)
        if node.op in EVERY_LEAF:
            return self._leaf(node.op), self._leaves[node.op]
        if node.op == "log" and node.args[0].op == "y_pred":
            return LOG_Y_PRED_REGISTER, self._log_y_pred
        if self.head == "sigmoid" and node.op == "log" and node.args[0] in _OPPOSITE:
            # log(1 - sigmoid(z)) = log(sigmoid(z)) - z, without the rounding of 1 - y_pred.
            return self.builder.emit("sub", LOG_Y_PRED_REGISTER, self._leaf("logit")), self._log_y_pred
        operands, intervals = zip(*[self.lower(arg) for arg in node.args], strict=True)
        if not all(isinstance(operand, float) or operand in self._still for operand in operands):
            return self._step(node.op, operands, intervals, self.guards)
        guarded = self.builder.guarded
        operand, interval = self._step(node.op, operands, intervals, GUARDS)
        if isinstance(operand, int):  # 1.0, a constant, would be y_true's register
            self._still.add(operand)
        self.builder.guarded = guarded
        return operand, interval

    def _leaf(self, name: str) -> Operand:
        if name in INPUTS:
            return INPUTS.index(name)
        if name == "logit" and self.head != "sigmoid":
            # The logits less their mean, from what is there and held within bounds.
            mean = self.builder.emit(
                "div", self.builder.emit("sum_c", LOG_Y_PRED_REGISTER), self.builder.emit("n_classes", 0.0)
            )
            return self.builder.emit("sub", LOG_Y_PRED_REGISTER, mean)
        register = self.builder.emit(name, 0.0)
        if name != "logit":
            self._still.add(int(register))
        return register

    def _step(
        self, op: str, operands: tuple[Operand, ...], intervals: tuple[Interval, ...], guards: Guards
    ) -> tuple[Operand, Interval]:
        bound, primitive = guards.bound, operations_guarded_by(guards)[op]
        if primitive.folds and all(isinstance(operand, float) for operand in operands):
            value = clip(primitive.value(*operands))
            return value, (value, value)
        low, high = _outward(op, intervals, *primitive.bounds(*intervals))
        held = clip(low, bound), clip(high, bound)
        if held[0] == held[1] and primitive.folds:
            # Such as min(-1, y_pred), or exp(30 + y_pred): always the same value, with gradient zero.
            self.builder.guarded |= low != high or op in _PROTECTED
            return held[0], held
        if self.y_true is not None and (kept := _kept(op, *operands)) is not None:
            return kept, held
        operand = primitive.lower(self.builder, *operands, *intervals)
        if low < -bound or high > bound:
            self._make_inner(operand)
            self.builder.guarded = True
            operand = self.builder.emit("bound", operand, bound)
        return operand, held

    def _make_inner(self, operand: Operand) -> None:
        index = int(operand) - len(INPUTS)
        self.builder.code[index] = self.builder.code[index]._replace(inner=True)


def _kept(op: str, a: Operand, b: Operand = 0.0) -> Operand | None:
    """The operand that a step would return unchanged: of x + 0, x - 0, x * 1 and x / 1."""
    neutral = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}.get(op)
    if neutral is not None and isinstance(a, int) and isinstance(b, float) and b == neutral:
        return a
    if op in ("add", "mul") and isinstance(b, int) and isinstance(a, float) and a == neutral:
        return b
    return None


def _opposites() -> frozenset[Expression]:
    one, minus_one, y_pred = constant(1), constant(-1), leaf("y_pred")
    found = [call("sub", one, y_pred), call("sub", y_pred, one)]
    for a, b in ((y_pred, minus_one), (one, call("neg", y_pred))):
        found += [call("add", a, b), call("add", b, a)]
    return frozenset([*found, *(call("abs", form) for form in found)])


_OPPOSITE = _opposites()
"""The other outcome's probability, where each class is a yes or no of its own; with either sign, for a logarithm."""

_FLOAT32_STEP = 2.4e-7
"""Twice the relative rounding error of float32."""


def _outward(op: str, intervals: tuple[Interval, ...], low: float, high: float) -> Interval:
    """Bounds that hold in float32 too, where constants and results are rounded.

    Only sums can be rounded across zero, and those of small whole numbers are exact: ``1 - y_pred`` stays in [0, 1].
    """
    if op in ("add", "sub"):
        ends = [end for interval in intervals for end in interval]
        if not all(end.is_integer() and abs(end) < 2**20 for end in ends):
            slack = _FLOAT32_STEP * max(map(abs, ends))
            return low - slack, high + slack
    if low == high or (low.is_integer() and high.is_integer()):
        return low, high
    return low - _FLOAT32_STEP * abs(low), high + _FLOAT32_STEP * abs(high)


def guards_can_act(expression: Expression, guards: Guards, least: float, *, hard: bool = True) -> bool:
    """Whether guards of these sizes may act in what depends on y_pred, while every probability is ``least`` or more.

    ``hard``: for targets of 0 and 1; else for any.
    """
    for y_true in (0.0, 1.0) if hard and not expression.crosses_classes else (None,):
        lowering = Lowering(y_true, guards, least)
        lowering.lower(expression)
        if lowering.builder.guarded:
            return True
    return False


@lru_cache(maxsize=4096)
def value_program(expression: Expression, head: str = "softmax") -> Program:
    """Program of the value, elementwise or one a sample; its one output is the value."""
    lowering = Lowering(head=head)
    return lowering.builder.finish(lowering.lower(expression)[0])
