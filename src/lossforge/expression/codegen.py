"""The only emitter of torch source: the search compiles what it writes, the export ships it.

An expression becomes flat assignments, one a distinct subtree, so that depth does not matter and a
subtree that occurs twice is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.primitives import BOUND, LEAVES, LOG_Y_PRED, PRIMITIVES, Interval, clip
from lossforge.expression.tree import CONSTANT, Expression

if TYPE_CHECKING:
    from torch import Tensor

ElementwiseFunction = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""``(y_pred, y_true, log_y_pred) -> loss``, all of one shape."""

ARGUMENTS = "y_pred, y_true, log_y_pred"
LOG_LEAF = "log_y_pred"


@dataclass(frozen=True, slots=True)
class Emitted:
    """Statements and the name or number of the result; which leaves they read."""

    lines: tuple[str, ...]
    result: str
    is_constant: bool
    uses_log: bool


class _Emitter:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.memo: dict[Expression, tuple[str, Interval]] = {}
        self.uses_log = False

    def emit(self, node: Expression) -> tuple[str, Interval]:
        known = self.memo.get(node)
        if known is None:
            known = self.memo[node] = self.write(node)
        return known

    def write(self, node: Expression) -> tuple[str, Interval]:
        if node.op == CONSTANT:
            return self.number(node.value)
        if node.op in LEAVES:
            return node.op, LEAVES[node.op][1]
        if node.op == "log" and node.args[0].op == "y_pred":
            self.uses_log = True
            return LOG_LEAF, LOG_Y_PRED
        texts, intervals = zip(*(self.emit(arg) for arg in node.args), strict=True)
        primitive = PRIMITIVES[node.op]
        if all(interval[0] == interval[1] for interval in intervals):
            return self.number(clip(primitive.value(*(interval[0] for interval in intervals))))
        text = primitive.write(*texts, *intervals)
        low, high = _outward(node.op, intervals, *primitive.bounds(*intervals))
        if clip(low) == clip(high):
            # Such as min(-1, y_pred): always the same value, with gradient zero.
            return self.number(clip(low))
        if low < -BOUND or high > BOUND:
            text = f"torch.clamp({text}, min={-BOUND!r}, max={BOUND!r})"
        name = f"v{len(self.lines) + 1}"
        self.lines.append(f"{name} = {text}")
        return name, (clip(low), clip(high))

    @staticmethod
    def number(value: float) -> tuple[str, Interval]:
        text = repr(value)
        return (f"({text})" if value < 0 else text), (value, value)


_FLOAT32_STEP = 2.4e-7
"""Twice the relative rounding error of float32."""


def _outward(op: str, intervals: tuple[Interval, ...], low: float, high: float) -> Interval:
    """Bounds that hold in float32 too, where constants and results are rounded.

    Only sums can be rounded across zero, and those of small whole numbers are exact: ``1 - y_pred`` stays in [0, 1].
    """
    ends = [end for interval in intervals for end in interval]
    if op in ("add", "sub") and not all(end.is_integer() and abs(end) < 2**20 for end in ends):
        slack = _FLOAT32_STEP * max(map(abs, ends))
        return low - slack, high + slack
    if low == high or all(end.is_integer() for end in (low, high)):
        return low, high
    return low - _FLOAT32_STEP * abs(low), high + _FLOAT32_STEP * abs(high)


def emit(expression: Expression) -> Emitted:
    """Statements of an expression over ``y_pred``, ``y_true`` and ``log_y_pred``."""
    emitter = _Emitter()
    result, interval = emitter.emit(expression)
    is_constant = interval[0] == interval[1] and result not in (*LEAVES, LOG_LEAF)
    return Emitted(tuple(emitter.lines), result, is_constant, emitter.uses_log)


def function_source(expression: Expression, name: str) -> str:
    """Source of ``def NAME(y_pred, y_true, log_y_pred)``, which needs only ``torch`` in scope."""
    emitted = emit(expression)
    result = f"torch.full_like(y_pred, {emitted.result})" if emitted.is_constant else emitted.result
    body = "\n".join(f"    {line}" for line in (*emitted.lines, f"return {result}"))
    return f"def {name}({ARGUMENTS}):\n{body}\n"


@lru_cache(maxsize=4096)
def compile_expression(expression: Expression) -> ElementwiseFunction:
    """Compile the emitted source. The text compiled is always our own, made from a validated tree."""
    import torch

    scope: dict[str, object] = {"torch": torch}
    source = function_source(expression, "elementwise")
    exec(compile(source, f"<loss {expression}>", "exec"), scope)  # our own text, from the tree
    function: ElementwiseFunction = scope["elementwise"]  # type: ignore[assignment]
    return function
