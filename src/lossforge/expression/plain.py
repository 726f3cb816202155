"""Formulas as a reader takes them, by ordinary mathematics: no guard and no clamp, log and sqrt of magnitudes.

A symbolic derivative is shortened by values that are clamped to ±``BOUND``, and its parts, such as the square of a
divisor, leave that range long before those of the loss do. So what is shown is checked as it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from lossforge.expression.elementwise import primitive_value, value_and_slope
from lossforge.expression.equivalence import Targets, element_grid
from lossforge.expression.primitives import LEAVES
from lossforge.expression.tree import CONSTANT, Expression

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles = NDArray[numpy.float64]

TOLERANCE = 1e-3
"""Relative difference from the loss's own slope that a slope may have where it is shown."""
_NEXT_TO_THE_ENDS = 1e-4
"""Probabilities this near to 0 and 1 are not asked about: what cancels there is rounding."""
_ORDINARY = 60
"""Predictions of `element_grid` that are ordinary, its first."""

_UNGUARDED: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "square": lambda x: x * x,
    "sqrt": lambda x: numpy.sqrt(numpy.abs(x)),
    "log": lambda x: numpy.log(numpy.abs(x)),
    "exp": lambda x: numpy.exp(x),
}
"""Operations that are guarded or clamped, without that; the others are as they are read."""


def plain_value(expression: Expression, y_pred: Doubles, y_true: Doubles) -> Doubles:
    """The value by ordinary mathematics, in the shape of ``y_pred`` (in (0, 1)); infinite or nan where it has none."""
    with numpy.errstate(all="ignore"):
        return _values(expression.plain, {"y_pred": y_pred, "y_true": y_true}, {})[0]


def is_slope(shown: Expression, loss: Expression, targets: Targets, *, guarded: bool = False) -> bool:
    """Whether an expression, as it is read, is df/dp of a loss for each of the labels, to ``TOLERANCE``.

    Asked at 60 ordinary predictions and at others as far as 1e-4 from 0 and 1: relative to the loss's own slope or,
    around a zero, to its median. Where a guard acts in the loss it is asked only if ``guarded``, at ordinary ones.
    False where there is nowhere to ask.
    """
    y_pred, y_true, log_y_pred = element_grid(targets)
    near = (y_pred > _NEXT_TO_THE_ENDS) & (1 - y_pred > _NEXT_TO_THE_ENDS)
    own = value_and_slope(loss, y_pred, y_true, log_y_pred)[1]
    with numpy.errstate(all="ignore"):
        own = own / y_pred
        asked = near & _values(loss.plain, {"y_pred": y_pred, "y_true": y_true}, {})[1]
        if guarded:
            asked[:, :_ORDINARY] = True
        usual = numpy.median(numpy.abs(own[:, :_ORDINARY]), axis=1, keepdims=True)
        allowed = TOLERANCE * numpy.maximum(numpy.abs(own), usual) + 1e-12
        right = numpy.abs(plain_value(shown, y_pred, y_true) - own) <= allowed
    return bool(asked.any() and right[asked].all())


def _values(
    node: Expression, leaves: dict[str, Doubles], known: dict[Expression, tuple[Doubles, Any]]
) -> tuple[Doubles, Any]:
    """The plain value, and where no guard acts in it."""
    found = known.get(node)
    if found is None:
        if node.op == CONSTANT:
            value = numpy.full_like(leaves["y_pred"], node.value)
            found = value, numpy.ones(value.shape, bool)
        elif node.op in LEAVES:
            found = leaves[node.op], numpy.ones(leaves[node.op].shape, bool)
        else:
            args = [_values(arg, leaves, known) for arg in node.args]
            found = _of_operation(node, args)
        known[node] = found
    return found


def _of_operation(node: Expression, args: list[tuple[Doubles, Any]]) -> tuple[Doubles, Any]:
    inner = [value for value, _ in args]
    guarded = primitive_value(node.op, *inner)
    value = _UNGUARDED[node.op](*inner) if node.op in _UNGUARDED else guarded
    free = numpy.logical_and.reduce([plain for _, plain in args])
    if node.op == "log" and node.args[0].op == "y_pred":
        return value, free  # exact, however small
    return value, free & (numpy.abs(value - guarded) <= 1e-9 * numpy.abs(value))
