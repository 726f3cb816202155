"""Value and gradient of an expression by numpy in float64: for questions about one loss.

A step takes a microsecond and nothing is compiled, so a formula can be compared with many others of its meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from lossforge.expression.adjoint import joint_program
from lossforge.expression.instructions import FROM_OUTSIDE, INSTRUCTIONS
from lossforge.expression.program import Program
from lossforge.expression.tree import Expression
from lossforge.expression.vocabulary import OPERATIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[numpy.floating[Any]]
    Doubles = NDArray[numpy.float64]


def primitive_value(op: str, *args: Doubles) -> Doubles:
    """A primitive's value, protected and within ±BOUND, on arrays of values within it."""
    array = OPERATIONS[op].array
    assert array is not None, f"an element of {op} does not stand alone"
    value: Doubles = array(numpy, *args)
    return value


def class_shares(classes: int) -> Doubles:
    """Shares ``(classes,)`` that differ from class to class and add up to 1, where a question needs any."""
    sizes = 1.0 + (numpy.arange(classes) * 0.618034) % 1.0
    shares: Doubles = sizes / sizes.sum()
    return shares


def run_program(
    program: Program, y_pred: Array, y_true: Array, log_y_pred: Array, progress: float = 0.37
) -> tuple[Array, ...]:
    """The outputs of a program on arrays of one shape and floating type, each in that shape.

    Their last axis are the classes where an element does not stand alone; ``class_share`` is then `class_shares`.
    """
    registers: list[Any] = [y_pred, y_true, log_y_pred]
    number = y_pred.dtype.type
    classes = y_pred.shape[-1]

    def outside(name: str) -> Any:
        if name == "class_share":
            return class_shares(classes).astype(y_pred.dtype)
        assert name != "logit", "the logits are no argument here"
        return number(classes if name == "n_classes" else progress)

    def at(operand: int | float) -> Any:
        return registers[operand] if isinstance(operand, int) else number(operand)

    with numpy.errstate(all="ignore"):
        for step in program.code:
            if step.op in FROM_OUTSIDE:
                registers.append(outside(step.op))
                continue
            found = INSTRUCTIONS[step.op].array(numpy, at(step.a), at(step.b))
            registers.append(found.astype(y_pred.dtype) if found.dtype == bool else found)
        return tuple(numpy.broadcast_to(at(operand), y_pred.shape) for operand in program.outputs)


def value_and_slope(
    expression: Expression, y_pred: Array, y_true: Array, log_y_pred: Array, progress: float = 0.37
) -> tuple[Array, Array]:
    """Value f and g = y_pred * df/dy_pred + df/dlog(y_pred).

    From g the gradient on the logits follows as ``g - y_pred * g.sum(classes)``: losses of equal g train alike.
    """
    value, g = run_program(joint_program(expression), y_pred, y_true, log_y_pred, progress)
    return value, g
