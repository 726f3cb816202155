"""The closed-form gradient: reverse differentiation of a program, as more instructions of the same program.

What autograd would compute step by step is written down once, and shares every value with the forward part.
"""

from __future__ import annotations

from functools import lru_cache

from lossforge.expression.instructions import INSTRUCTIONS
from lossforge.expression.program import Instruction, Lowering, Program, ProgramBuilder
from lossforge.expression.protection import (
    GUARDS,
    INPUTS,
    LOG_Y_PRED_REGISTER,
    Y_PRED,
    Guards,
    Operand,
)
from lossforge.expression.tree import SAMPLE, Expression


class Algebra:
    """Emits arithmetic, leaving out what is exact without it: times one, plus zero, minus minus."""

    def __init__(self, builder: ProgramBuilder) -> None:
        self.builder = builder

    def op(self, name: str, a: Operand, b: Operand = 0.0, *, inner: bool = False) -> Operand:
        """An instruction as it is."""
        return self.builder.emit(name, a, b, inner=inner)

    def neg(self, a: Operand) -> Operand:
        """-a."""
        if isinstance(a, float):
            return -a
        step = self.builder.code[a - len(INPUTS)] if a >= len(INPUTS) else None
        return step.a if step is not None and step.op == "neg" else self.op("neg", a)

    def mul(self, a: Operand, b: Operand) -> Operand:
        """The product."""
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
        """The sum."""
        if isinstance(a, float) and isinstance(b, float):
            return a + b
        if a == 0 and isinstance(a, float):
            return b
        if b == 0 and isinstance(b, float):
            return a
        return self.op("add", a, b)

    def div(self, a: Operand, b: Operand) -> Operand:
        """The quotient, not protected."""
        if isinstance(a, float) and (isinstance(b, float) or a == 0):
            return a / b if isinstance(b, float) else 0.0
        return self.op("div", a, b)

    def summed(self, a: Operand) -> Operand:
        """The sum over classes of what each class has."""
        if self.builder.is_sample(a):
            return 0.0 if a == 0 and isinstance(a, float) else self.mul(self.op("n_classes", 0.0), a)
        return self.op("sum_c", a)


_RULES = {name: kind.adjoint for name, kind in INSTRUCTIONS.items() if kind.adjoint is not None}


def _adjoints(algebra: Algebra, forward: list[Instruction], result: Operand, seed: Operand) -> dict[int, Operand]:
    """Adjoint of every register that depends on the logits; ``seed`` for the result."""
    moving, is_sample = {Y_PRED, LOG_Y_PRED_REGISTER}, algebra.builder.is_sample
    for index, step in enumerate(forward):
        if step.op == "logit" or (step.op in _RULES and _moves(step, moving)):
            moving.add(len(INPUTS) + index)
    adjoint: dict[int, Operand] = {int(result): seed} if isinstance(result, int) and result in moving else {}
    for index in range(len(forward) - 1, -1, -1):
        step, register = forward[index], len(INPUTS) + index
        given, rule = adjoint.get(register), _RULES.get(step.op)
        if given is None or rule is None or register not in moving:
            continue
        for operand, share in zip((step.a, step.b), rule(algebra, step, register, given), strict=True):
            if isinstance(operand, int) and operand in moving:
                if is_sample(operand) and not is_sample(register):
                    # What is one number a sample gets something from each of its classes.
                    share = algebra.summed(share)
                adjoint[operand] = algebra.add(adjoint.get(operand, 0.0), share)
    return adjoint


def _moves(step: Instruction, moving: set[int]) -> bool:
    return any(isinstance(operand, int) and operand in moving for operand in (step.a, step.b))


@lru_cache(maxsize=4096)
def joint_program(
    expression: Expression,
    y_true: float | None = None,
    guards: Guards = GUARDS,
    head: str = "softmax",
    *,
    spread: bool = False,
) -> Program:
    """Program of value and gradient together; with ``y_true`` a number, for that target alone.

    ``guards`` are the sizes of the guards; see `lossforge.expression.program.Lowering`.

    Its two outputs are the value f and a gradient. For the head softmax that is g = y_pred * df/dy_pred +
    df/dlog(y_pred), from which the gradient on the logits is ``g - y_pred * g.sum(classes)``; for sigmoid it is the
    gradient on the logits itself. With ``spread`` a value that is one number a sample is divided among its classes.
    """
    lowering = Lowering(y_true, guards, head=head)
    result = lowering.lower(expression)[0]
    algebra = Algebra(lowering.builder)
    forward = list(lowering.builder.code)
    # Of an elementwise loss every element counts, also where all of them are the same number.
    alike = expression.kind != SAMPLE and isinstance(result, int) and lowering.builder.is_sample(result)
    adjoint = _adjoints(algebra, forward, result, algebra.summed(1.0) if alike else 1.0)
    gradient = algebra.add(algebra.mul(adjoint.get(Y_PRED, 0.0), Y_PRED), adjoint.get(LOG_Y_PRED_REGISTER, 0.0))
    if head == "sigmoid":
        gradient = algebra.mul(gradient, algebra.op("sub", 1.0, Y_PRED))
        for index, step in enumerate(forward):
            if step.op == "logit":
                gradient = algebra.add(gradient, adjoint.get(len(INPUTS) + index, 0.0))
    if spread and expression.kind == SAMPLE:
        result = algebra.div(result, algebra.op("n_classes", 0.0))
    return lowering.builder.finish(result, gradient)
