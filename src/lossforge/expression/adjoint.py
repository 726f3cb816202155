"""The closed-form gradient: reverse differentiation of a program, as more instructions of the same program.

What autograd would compute step by step is written down once, and shares every value with the forward part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from lossforge.expression.primitives import GUARDS, Guards, Operand
from lossforge.expression.program import (
    INPUTS,
    LOG_Y_PRED_REGISTER,
    Y_PRED,
    Instruction,
    Lowering,
    Program,
    ProgramBuilder,
)
from lossforge.expression.tree import Expression


class _Algebra:
    """Emits arithmetic, leaving out what is exact without it: times one, plus zero, minus minus."""

    def __init__(self, builder: ProgramBuilder) -> None:
        self.builder = builder

    def op(self, name: str, a: Operand, b: Operand = 0.0, *, inner: bool = False) -> Operand:
        return self.builder.emit(name, a, b, inner=inner)

    def neg(self, a: Operand) -> Operand:
        if isinstance(a, float):
            return -a
        step = self.builder.code[a - len(INPUTS)] if a >= len(INPUTS) else None
        return step.a if step is not None and step.op == "neg" else self.op("neg", a)

    def mul(self, a: Operand, b: Operand) -> Operand:
        if isinstance(a, float):
            a, b = b, a
        if isinstance(b, float):
            if isinstance(a, float):
                return a * b
            if b == 0:
                return 0.0
            if b in (1, -1):
                return a if b == 1 else self.neg(a)
        return self.op("mul", a, b)

    def add(self, a: Operand, b: Operand) -> Operand:
        if isinstance(a, float) and isinstance(b, float):
            return a + b
        if a == 0 and isinstance(a, float):
            return b
        if b == 0 and isinstance(b, float):
            return a
        return self.op("add", a, b)

    def div(self, a: Operand, b: Operand) -> Operand:
        if isinstance(a, float) and (isinstance(b, float) or a == 0):
            return a / b if isinstance(b, float) else 0.0
        return self.op("div", a, b)


Rule = Callable[[_Algebra, Instruction, Operand, Operand], tuple[Operand, Operand]]
"""``(algebra, instruction, its register, adjoint of its value) -> adjoints of a and of b``."""


def _div(x: _Algebra, step: Instruction, out: Operand, g: Operand) -> tuple[Operand, Operand]:
    top = x.div(g, step.b)
    return top, x.neg(x.mul(top, out)) if isinstance(step.b, int) else 0.0


def _extremum(sign: float) -> Rule:
    def rule(x: _Algebra, step: Instruction, out: Operand, g: Operand) -> tuple[Operand, Operand]:
        # Where both are equal each gets half, as in torch.
        ends = (step.a, step.b) if sign > 0 else (step.b, step.a)
        return (
            x.mul(g, x.op("share", ends[0], ends[1], inner=True)),
            x.mul(g, x.op("share", ends[1], ends[0], inner=True)),
        )

    return rule


def _masked(mask: str) -> Rule:
    return lambda x, step, out, g: (x.mul(g, x.op(mask, step.a, step.b, inner=True)), 0.0)


def _one_minus_square(x: _Algebra, out: Operand) -> Operand:
    return x.op("sub", 1.0, x.mul(out, out))


def _erf(x: _Algebra, step: Instruction, out: Operand, g: Operand) -> tuple[Operand, Operand]:
    bell = x.op("exp", x.neg(x.mul(step.a, step.a)))
    return x.mul(g, x.mul(bell, 2 / math.sqrt(math.pi))), 0.0


_RULES: dict[str, Rule] = {
    "add": lambda x, step, out, g: (g, g),
    "sub": lambda x, step, out, g: (g, x.neg(g)),
    "mul": lambda x, step, out, g: (x.mul(g, step.b), x.mul(g, step.a)),
    "div": _div,
    "maximum": _extremum(1.0),
    "minimum": _extremum(-1.0),
    "neg": lambda x, step, out, g: (x.neg(g), 0.0),
    "sqrt": lambda x, step, out, g: (x.div(x.mul(g, 0.5), out), 0.0),
    "log": lambda x, step, out, g: (x.div(g, step.a), 0.0),
    "exp": lambda x, step, out, g: (x.mul(g, out), 0.0),
    "sin": lambda x, step, out, g: (x.mul(g, x.op("cos", step.a)), 0.0),
    "cos": lambda x, step, out, g: (x.neg(x.mul(g, x.op("sin", step.a))), 0.0),
    "tanh": lambda x, step, out, g: (x.mul(g, _one_minus_square(x, out)), 0.0),
    "abs": lambda x, step, out, g: (x.mul(g, x.op("sign", step.a)), 0.0),
    "sigmoid": lambda x, step, out, g: (x.mul(g, x.mul(out, x.op("sub", 1.0, out))), 0.0),
    "erf": _erf,
    "clamp_min": _masked("ge"),
    "clamp_max": _masked("le"),
    "bound": lambda x, step, out, g: (x.mul(g, x.op("inside", step.a, step.b, inner=True)), 0.0),
    "protect": lambda x, step, out, g: (x.mul(g, x.op("outside", step.a, step.b, inner=True)), 0.0),
}
"""Every operation but sign, whose gradient is zero."""


def _adjoints(algebra: _Algebra, forward: list[Instruction], result: Operand) -> dict[int, Operand]:
    """Adjoint of every register that depends on y_pred; 1 for the result."""
    moving = {Y_PRED, LOG_Y_PRED_REGISTER}
    for index, step in enumerate(forward):
        if step.op in _RULES and _moves(step, moving):
            moving.add(len(INPUTS) + index)
    adjoint: dict[int, Operand] = {int(result): 1.0} if isinstance(result, int) and result in moving else {}
    for index in range(len(forward) - 1, -1, -1):
        step, register = forward[index], len(INPUTS) + index
        given = adjoint.get(register)
        if given is None or step.op not in _RULES:
            continue
        for operand, share in zip((step.a, step.b), _RULES[step.op](algebra, step, register, given), strict=True):
            if isinstance(operand, int) and operand in moving:
                adjoint[operand] = algebra.add(adjoint.get(operand, 0.0), share)
    return adjoint


def _moves(step: Instruction, moving: set[int]) -> bool:
    return any(isinstance(operand, int) and operand in moving for operand in (step.a, step.b))


@lru_cache(maxsize=4096)
def joint_program(expression: Expression, y_true: float | None = None, guards: Guards = GUARDS) -> Program:
    """Program of value and gradient together; with ``y_true`` a number, for that target alone.

    ``guards`` are the sizes of the guards; see `lossforge.expression.program.Lowering`.

    Its two outputs are the elementwise value f and g = y_pred * df/dy_pred + df/dlog(y_pred), from which the
    gradient on the logits is ``g - y_pred * g.sum(classes)``.
    """
    lowering = Lowering(y_true, guards)
    result = lowering.lower(expression)[0]
    algebra = _Algebra(lowering.builder)
    adjoint = _adjoints(algebra, list(lowering.builder.code), result)
    gradient = algebra.add(algebra.mul(adjoint.get(Y_PRED, 0.0), Y_PRED), adjoint.get(LOG_Y_PRED_REGISTER, 0.0))
    return lowering.builder.finish(result, gradient)
