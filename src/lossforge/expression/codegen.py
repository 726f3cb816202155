"""The only emitter of torch source: the search compiles what it writes, the export ships it.

A program becomes flat assignments, one a step, so that depth does not matter; a guard stands inside the
statement that it guards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.adjoint import joint_program
from lossforge.expression.instructions import FROM_OUTSIDE, INSTRUCTIONS
from lossforge.expression.program import Instruction, Program, value_program
from lossforge.expression.protection import INPUTS, LOG_Y_PRED_REGISTER, Operand
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    from torch import Tensor

ElementwiseFunction = Callable[..., "Tensor"]
"""``(y_pred, y_true, log_y_pred) -> loss``, all of one shape. Where an element does not stand alone there is a fourth
argument, a `lossforge.losses.drop_in.About`, and the loss has one number a sample (``crosses_classes``)."""
JointFunction = Callable[..., tuple["Tensor", "Tensor"]]
"""``(y_pred, y_true, log_y_pred) -> (loss, g)``, with the same fourth argument; see
`lossforge.expression.adjoint.joint_program`."""

ARGUMENTS = ", ".join(INPUTS)


@dataclass(frozen=True, slots=True)
class Emitted:
    """Statements and the name or number of each result; which leaves they read.

    ``about``: whether they read the fourth argument; ``needs``: which of its parts come from outside.
    """

    lines: tuple[str, ...]
    results: tuple[str, ...]
    constant: tuple[bool, ...]
    uses_log: bool
    about: bool = False
    needs: frozenset[str] = frozenset()

    @property
    def result(self) -> str:
        """Name or number of the loss."""
        return self.results[0]

    @property
    def is_constant(self) -> bool:
        """Whether the loss is one number."""
        return self.constant[0]


class _Writer:
    """Writes a program's steps; one that is inner, and used once, goes into the step that uses it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[str] = []
        self.texts: dict[int, str] = dict(enumerate(INPUTS))
        self.uses = [0] * (len(INPUTS) + len(program.code))
        for operand in (*program.outputs, *(end for step in program.code for end in (step.a, step.b))):
            if isinstance(operand, int):
                self.uses[operand] += 1

    def write(self) -> None:
        for index, step in enumerate(self.program.code):
            register = len(INPUTS) + index
            inline = step.inner and self.uses[register] == 1 and register not in self.registers_out()
            text = self.text(step, bare_mask=inline and self.multiplied(register))
            if step.op in FROM_OUTSIDE:
                self.texts[register] = text
            elif inline and step.op != "protect":
                self.texts[register] = f"({text})" if INSTRUCTIONS[step.op].group == "arithmetic" else text
            elif inline and self.name_of(step.a):
                self.texts[register] = text
            else:
                name = f"v{len(self.lines) + 1}"
                self.lines.append(f"{name} = {text}")
                self.texts[register] = name

    def registers_out(self) -> list[int]:
        return [operand for operand in self.program.outputs if isinstance(operand, int)]

    def name_of(self, operand: Operand) -> bool:
        """Whether an operand is written as a plain name, so that it may be repeated."""
        return isinstance(operand, int) and self.texts[operand].isidentifier()

    def operand(self, operand: Operand) -> str:
        if isinstance(operand, int):
            return self.texts[operand]
        return f"({operand!r})" if operand < 0 else repr(operand)

    def text(self, step: Instruction, *, bare_mask: bool) -> str:
        kind = INSTRUCTIONS[step.op]
        text = kind.torch.format(a=self.operand(step.a), b=self.operand(step.b))
        return text if bare_mask or not kind.mask else f"{text}.to(y_pred.dtype)"

    def multiplied(self, register: int) -> bool:
        """Whether a mask used once only multiplies a tensor, which takes it as it is; a mask does not."""
        for step in self.program.code:
            if step.op == "mul" and register in (step.a, step.b):
                other = step.b if step.a == register else step.a
                return isinstance(other, int) and not self.is_mask(other)
        return False

    def is_mask(self, register: int) -> bool:
        return register >= len(INPUTS) and INSTRUCTIONS[self.program.code[register - len(INPUTS)].op].mask


def emit(expression: Expression, head: str = "softmax") -> Emitted:
    """Statements of an expression over ``y_pred``, ``y_true`` and ``log_y_pred``."""
    return emit_program(value_program(expression, head))


def emit_program(program: Program) -> Emitted:
    """Statements of a program."""
    writer = _Writer(program)
    writer.write()
    return Emitted(
        tuple(writer.lines),
        tuple(writer.operand(operand) for operand in program.outputs),
        tuple(isinstance(operand, float) for operand in program.outputs),
        program.reads(LOG_Y_PRED_REGISTER),
        program.crosses_classes,
        program.needs,
    )


def _source(emitted: Emitted, name: str) -> str:
    results = [
        f"torch.full_like(y_pred, {result})" if constant else result
        for result, constant in zip(emitted.results, emitted.constant, strict=True)
    ]
    body = "\n".join(f"    {line}" for line in (*emitted.lines, f"return {', '.join(results)}"))
    return f"def {name}({_arguments(emitted)}):\n{body}\n"


def _arguments(emitted: Emitted) -> str:
    return f"{ARGUMENTS}, about" if emitted.about else ARGUMENTS


def function_source(expression: Expression, name: str, head: str = "softmax") -> str:
    """Source of ``def NAME(y_pred, y_true, log_y_pred)``, with types, which needs ``torch`` and ``Tensor`` in scope.

    Where an element does not stand alone there is a fourth argument, ``about``, and ``About`` must be in scope.
    """
    emitted = emit(expression, head)
    untyped, typed = f"def {name}({_arguments(emitted)}):", ", ".join(f"{argument}: Tensor" for argument in INPUTS)
    typed += ", about: About" if emitted.about else ""
    return _source(emitted, name).replace(untyped, f"def {name}({typed}) -> Tensor:", 1)


def _compile(source: str, label: str) -> Callable[..., object]:
    import torch

    scope: dict[str, object] = {"torch": torch}
    exec(compile(source, label, "exec"), scope)  # our own text, from the tree
    return scope["elementwise"]  # type: ignore[return-value]


@lru_cache(maxsize=4096)
def compile_expression(expression: Expression, head: str = "softmax") -> ElementwiseFunction:
    """Compile the emitted source. The text compiled is always our own, made from a validated tree."""
    return _compile(_source(emit(expression, head), "elementwise"), f"<loss {expression}>")  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Joint:
    """Value and closed-form gradient as one function; ``constant``: the two results where they are numbers.

    ``about``: whether the function has a fourth argument.
    """

    function: JointFunction
    constant: tuple[float | None, float | None]
    uses_log: bool
    about: bool


@lru_cache(maxsize=4096)
def compile_joint(expression: Expression, y_true: float | None = None, head: str = "softmax") -> Joint:
    """Compile value and closed-form gradient; with ``y_true`` a number, for that target alone."""
    emitted = emit_program(joint_program(expression, y_true, head=head))
    function = _compile(_source(emitted, "elementwise"), f"<loss and gradient {expression}>")
    loss, g = (
        float(result.strip("()")) if constant else None
        for result, constant in zip(emitted.results, emitted.constant, strict=True)
    )
    return Joint(function, (loss, g), emit(expression, head).uses_log, emitted.about)  # type: ignore[arg-type]
