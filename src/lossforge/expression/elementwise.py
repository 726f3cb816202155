"""Value and gradient of an expression element by element, by numpy in float64: for questions about one loss.

A step takes a microsecond and nothing is compiled, so a formula can be compared with many others of its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from lossforge.expression.adjoint import joint_program
from lossforge.expression.primitives import BOUND, EPS, EXP_LIMIT
from lossforge.expression.program import Program
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[numpy.floating[Any]]
    Doubles = NDArray[numpy.float64]


def _erf(a: Any, b: Any) -> Any:
    from scipy.special import erf

    return erf(a)


def _sigmoid(a: Any, b: Any) -> Any:
    e = numpy.exp(-numpy.abs(a))
    return numpy.where(a >= 0, 1.0, e) / (1.0 + e)


def _protected(a: Any) -> Any:
    return numpy.where(a < 0, numpy.minimum(a, -EPS), numpy.maximum(a, EPS))


def _bounded(a: Any) -> Any:
    return numpy.minimum(numpy.maximum(a, -BOUND), BOUND)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": numpy.add,
    "sub": numpy.subtract,
    "mul": numpy.multiply,
    "div": numpy.divide,
    "maximum": numpy.maximum,
    "minimum": numpy.minimum,
    "neg": lambda a, b: -a,
    "sqrt": lambda a, b: numpy.sqrt(a),
    "log": lambda a, b: numpy.log(a),
    "exp": lambda a, b: numpy.exp(a),
    "sin": lambda a, b: numpy.sin(a),
    "cos": lambda a, b: numpy.cos(a),
    "tanh": lambda a, b: numpy.tanh(a),
    "abs": lambda a, b: numpy.abs(a),
    "sign": lambda a, b: numpy.sign(a),
    "sigmoid": _sigmoid,
    "erf": _erf,
    "clamp_min": numpy.maximum,
    "clamp_max": numpy.minimum,
    "bound": lambda a, b: _bounded(a),
    "protect": lambda a, b: _protected(a),
    "ge": lambda a, b: (a >= b).astype(a.dtype),
    "le": lambda a, b: (a <= b).astype(a.dtype),
    "outside": lambda a, b: (numpy.abs(a) >= EPS).astype(a.dtype),
    "inside": lambda a, b: (numpy.abs(a) <= BOUND).astype(a.dtype),
    "share": lambda a, b: 0.5 * (1.0 + numpy.sign(a - b)),
}
"""Every instruction of `lossforge.expression.program`."""


_VALUES: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: _bounded(a + b),
    "sub": lambda a, b: _bounded(a - b),
    "mul": lambda a, b: _bounded(a * b),
    "div": lambda a, b: _bounded(a / _protected(b)),
    "neg": numpy.negative,
    "square": lambda a: _bounded(a * a),
    "sqrt": lambda a: numpy.sqrt(numpy.maximum(numpy.abs(a), EPS)),
    "log": lambda a: numpy.log(numpy.maximum(numpy.abs(a), EPS)),
    "exp": lambda a: numpy.exp(numpy.minimum(a, EXP_LIMIT)),
    "sin": numpy.sin,
    "cos": numpy.cos,
    "tanh": numpy.tanh,
    "abs": numpy.abs,
    "sign": numpy.sign,
    "max": numpy.maximum,
    "min": numpy.minimum,
    "sigmoid": lambda a: _sigmoid(a, 0.0),
    "erf": lambda a: _erf(a, 0.0),
    "aq": lambda a, b: a / numpy.sqrt(1 + b * b),
}


def primitive_value(op: str, *args: Doubles) -> Doubles:
    """A primitive's value, protected and within ±BOUND, on arrays of values within it."""
    value: Doubles = _VALUES[op](*args)
    return value


def run_program(program: Program, y_pred: Array, y_true: Array, log_y_pred: Array) -> tuple[Array, ...]:
    """The outputs of a program on arrays of one shape and floating type, each in that shape."""
    registers: list[Any] = [y_pred, y_true, log_y_pred]
    number = y_pred.dtype.type

    def at(operand: int | float) -> Any:
        return registers[operand] if isinstance(operand, int) else number(operand)

    with numpy.errstate(all="ignore"):
        for step in program.code:
            registers.append(_OPERATIONS[step.op](at(step.a), at(step.b)))
        return tuple(numpy.broadcast_to(at(operand), y_pred.shape) for operand in program.outputs)


def value_and_slope(expression: Expression, y_pred: Array, y_true: Array, log_y_pred: Array) -> tuple[Array, Array]:
    """Elementwise value f and g = y_pred * df/dy_pred + df/dlog(y_pred).

    From g the gradient on the logits follows as ``g - y_pred * g.sum(classes)``: losses of equal g train alike.
    """
    value, g = run_program(joint_program(expression), y_pred, y_true, log_y_pred)
    return value, g
