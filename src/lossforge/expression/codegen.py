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
from lossforge.expression.primitives import BOUND, EPS, Operand
from lossforge.expression.program import INPUTS, LOG_Y_PRED_REGISTER, Instruction, Program, value_program
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    from torch import Tensor

ElementwiseFunction = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""``(y_pred, y_true, log_y_pred) -> loss``, all of one shape."""
JointFunction = Callable[["Tensor", "Tensor", "Tensor"], tuple["Tensor", "Tensor"]]
"""``(y_pred, y_true, log_y_pred) -> (loss, g)``; see `lossforge.expression.adjoint.joint_program`."""

ARGUMENTS = ", ".join(INPUTS)

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_MASKS = {
    "ge": "({a} >= {b})",
    "le": "({a} <= {b})",
    "outside": "(torch.abs({a}) >= {EPS!r})",
    "inside": "(torch.abs({a}) <= {BOUND!r})",
}
_TEXTS = {
    "neg": "-{a}",
    "clamp_min": "torch.clamp({a}, min={b})",
    "clamp_max": "torch.clamp({a}, max={b})",
    "bound": "torch.clamp({a}, min={LOW!r}, max={BOUND!r})",
    "protect": "torch.where({a} < 0, torch.clamp({a}, max={BELOW!r}), torch.clamp({a}, min={EPS!r}))",
    "share": "(0.5 * (1.0 + torch.sign({a} - {b})))",
    "maximum": "torch.maximum({a}, {b})",
    "minimum": "torch.minimum({a}, {b})",
}


@dataclass(frozen=True, slots=True)
class Emitted:
    """Statements and the name or number of each result; which leaves they read."""

    lines: tuple[str, ...]
    results: tuple[str, ...]
    constant: tuple[bool, ...]
    uses_log: bool

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
            if inline and step.op != "protect":
                self.texts[register] = f"({text})" if step.op in (*_INFIX, "neg") else text
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
        a, b = self.operand(step.a), self.operand(step.b)
        if step.op in _INFIX:
            return f"{a} {_INFIX[step.op]} {b}"
        names = {"a": a, "b": b, "EPS": EPS, "BOUND": BOUND, "LOW": -BOUND, "BELOW": -EPS}
        if step.op in _MASKS:
            mask = _MASKS[step.op].format(**names)
            return mask if bare_mask else f"{mask}.to(y_pred.dtype)"
        return _TEXTS.get(step.op, f"torch.{step.op}({{a}})").format(**names)

    def multiplied(self, register: int) -> bool:
        """Whether a mask used once only multiplies a tensor, which takes it as it is; a mask does not."""
        for step in self.program.code:
            if step.op == "mul" and register in (step.a, step.b):
                other = step.b if step.a == register else step.a
                return isinstance(other, int) and not self.is_mask(other)
        return False

    def is_mask(self, register: int) -> bool:
        return register >= len(INPUTS) and self.program.code[register - len(INPUTS)].op in _MASKS


def emit(expression: Expression) -> Emitted:
    """Statements of an expression over ``y_pred``, ``y_true`` and ``log_y_pred``."""
    return emit_program(value_program(expression))


def emit_program(program: Program) -> Emitted:
    """Statements of a program."""
    writer = _Writer(program)
    writer.write()
    return Emitted(
        tuple(writer.lines),
        tuple(writer.operand(operand) for operand in program.outputs),
        tuple(isinstance(operand, float) for operand in program.outputs),
        program.reads(LOG_Y_PRED_REGISTER),
    )


def _source(emitted: Emitted, name: str) -> str:
    results = [
        f"torch.full_like(y_pred, {result})" if constant else result
        for result, constant in zip(emitted.results, emitted.constant, strict=True)
    ]
    body = "\n".join(f"    {line}" for line in (*emitted.lines, f"return {', '.join(results)}"))
    return f"def {name}({ARGUMENTS}):\n{body}\n"


def function_source(expression: Expression, name: str) -> str:
    """Source of ``def NAME(y_pred, y_true, log_y_pred)``, with types, which needs ``torch`` and ``Tensor`` in scope."""
    untyped, typed = f"def {name}({ARGUMENTS}):", ", ".join(f"{argument}: Tensor" for argument in ARGUMENTS.split(", "))
    return _source(emit(expression), name).replace(untyped, f"def {name}({typed}) -> Tensor:", 1)


def _compile(source: str, label: str) -> Callable[..., object]:
    import torch

    scope: dict[str, object] = {"torch": torch}
    exec(compile(source, label, "exec"), scope)  # our own text, from the tree
    return scope["elementwise"]  # type: ignore[return-value]


@lru_cache(maxsize=4096)
def compile_expression(expression: Expression) -> ElementwiseFunction:
    """Compile the emitted source. The text compiled is always our own, made from a validated tree."""
    return _compile(_source(emit(expression), "elementwise"), f"<loss {expression}>")  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Joint:
    """Value and closed-form gradient as one function; ``constant``: the two results where they are numbers."""

    function: JointFunction
    constant: tuple[float | None, float | None]
    uses_log: bool


@lru_cache(maxsize=4096)
def compile_joint(expression: Expression, y_true: float | None = None) -> Joint:
    """Compile value and closed-form gradient; with ``y_true`` a number, for that target alone."""
    program = joint_program(expression, y_true)
    function = _compile(_source(emit_program(program), "elementwise"), f"<loss and gradient {expression}>")
    loss, g = (operand if isinstance(operand, float) else None for operand in program.outputs)
    return Joint(function, (loss, g), emit(expression).uses_log)  # type: ignore[arg-type]
