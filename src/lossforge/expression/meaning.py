"""What expressions are worth on a grid: the values that simplification reasons from.

A `View` is the labels that count: 0 and 1 (hard), those between too (soft), or one. What follows from values on
the grid, such as that ``max(abs(y_pred), -1.63)`` is ``y_pred``, is only a proposal; `View.same` decides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy

from lossforge.expression.elementwise import primitive_value
from lossforge.expression.equivalence import HARD, SOFT, Targets, element_grid, same_elements
from lossforge.expression.folding import depends_on, linear, plus, times
from lossforge.expression.primitives import BOUND, EPS, LEAVES
from lossforge.expression.tree import CONSTANT, Expression, constant, format_formula, format_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[numpy.float64]

_KNOWN = 4096
"""Expressions of which a view keeps what it found."""
_SMALL_DIVISOR = 1e-3
"""Constants below which people rather read a factor than a divisor."""
_EXACT = 1e-11
"""Relative difference of values that counts as rounding."""

Cost = tuple[int, int, int, int, int]
"""What is hidden (see `View.hidden`), nodes, digits of constants beyond the first, constants that follow what they
multiply or divide by next to nothing, characters: less is simpler."""


class View:
    """Values of expressions for some labels, each ``(T, P)`` as of `element_grid`."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.simplest: dict[Expression, Expression] = {}
        self._values: dict[Expression, Array] = {}
        self._costs: dict[Expression, Cost] = {}
        y_pred, y_true, self._log = element_grid(targets)
        self._leaves = {"y_pred": y_pred, "y_true": y_true}

    def values(self, node: Expression) -> Array:
        """The protected value."""
        known = self._values.get(node)
        if known is None:
            known = self._value(node)
            if len(self._values) >= _KNOWN:
                self._values.clear()
            self._values[node] = known
        return known

    def _value(self, node: Expression) -> Array:
        if node.op == CONSTANT:
            return numpy.full_like(self._log, node.value)
        if node.op in LEAVES:
            return self._leaves[node.op]
        if node.op == "log" and node.args[0].op == "y_pred":
            return self._log
        return primitive_value(node.op, *map(self.values, node.args))

    def same(self, first: Expression, second: Expression) -> bool:
        """Whether value and gradient agree; see `same_elements`."""
        return same_elements(first, second, self.targets)

    def of_target(self, rows: Any) -> Expression | None:
        """The expression of ``y_true`` with one value ``(T,)`` for each label; None where it is not linear."""
        numbers = [tidy(float(row)) for row in rows]
        if not all(numpy.isfinite(numbers)) or max(map(abs, numbers)) > BOUND / 2:
            return None
        if len(numbers) == 1:
            return constant(numbers[0])
        if len(numbers) > 2:
            between = numbers[0] + (numbers[1] - numbers[0]) * numpy.array(self.targets)
            if not _all_close(numpy.array(numbers), between):
                return None
        return linear(numbers[0], numbers[1])

    def flat(self, node: Expression) -> Expression | None:
        """The constant, or line in ``y_true``, that an expression amounts to; None where ``y_pred`` moves it."""
        values = self.values(node)
        if values[0, 13] != values[0, 47] or not numpy.array_equal(
            values, numpy.broadcast_to(values[:, :1], values.shape)
        ):
            return None
        return self.of_target(values[:, 0])

    def affine(self, node: Expression, part: Expression) -> tuple[Array, Array] | None:
        """Slopes and offsets ``(T,)`` with node = slope * part + offset for each label, or None."""
        whole, inner = self.values(node), self.values(part)
        near, far, third = 13, 47, 31
        with numpy.errstate(all="ignore"):
            run = inner[:, far] - inner[:, near]
            rise = whole[:, far] - whole[:, near]
            moves = run != 0
            if not moves.any() or (~moves & (rise != 0)).any():
                return None
            slope = rise / numpy.where(moves, run, 1.0)
            # Where the part stands still any slope will do: the other label's.
            slope = numpy.where(moves, slope, slope[moves][0])
            offset = whole[:, near] - slope * inner[:, near]
            offset = numpy.where(numpy.abs(offset) <= _EXACT * numpy.abs(whole).max(axis=1), 0.0, offset)
            if not _all_close(whole[:, third], slope * inner[:, third] + offset):
                return None
            found = slope[:, None] * inner + offset[:, None]
            return (slope, offset) if _all_close(whole, found) else None

    def cost(self, node: Expression) -> Cost:
        """How simple an expression is to read."""
        known = self._costs.get(node)
        if known is None:
            known = self._cost(node)
            if len(self._costs) >= _KNOWN:
                self._costs.clear()
                self.simplest.clear()
            self._costs[node] = known
        return known

    def _cost(self, node: Expression) -> Cost:
        digits, behind = 0, 0
        for part in node.walk():
            if part.op == CONSTANT:
                digits += significant_digits(part.value) - 1
            elif part.op in ("mul", "div") and part.args[1].op == CONSTANT:
                behind += part.op == "mul" or abs(part.args[1].value) < _SMALL_DIVISOR
        return self.hidden(node), node.size, digits, behind, len(format_formula(node))

    def hidden(self, node: Expression) -> int:
        """Parts of ``y_true`` alone that are no ``a + b * y_true``, and divisors without ``y_pred`` that a guard holds.

        For soft labels only divisors that are constants count: nothing is folded there.
        """
        if "y_pred" not in depends_on(node):
            return int(self.targets == HARD and not _is_linear(node))
        count = sum(map(self.hidden, node.args))
        if node.op == "div" and not depends_on(node.args[1]) & (LEAVES.keys() if self.targets == SOFT else {"y_pred"}):
            count += int(bool((numpy.abs(self.values(node.args[1])) < EPS).any()))
        return count


@lru_cache(maxsize=4)
def view(targets: Targets) -> View:
    """The view of some labels."""
    return View(targets)


def view_for(soft_targets: bool) -> View:
    """The view of labels that are 0 and 1, or any."""
    return view(SOFT if soft_targets else HARD)


def scaled(slope: Expression, part: Expression, offset: Expression) -> Expression:
    """``slope * part + offset``, of which slope and offset do not depend on ``y_pred``."""
    if slope == constant(0):
        return offset
    if slope.op == CONSTANT:
        if offset == constant(0):
            return times(slope.value, part)
        return (
            plus(offset, slope.value, part)
            if slope.value < 0 or offset.op != CONSTANT
            else _shifted(times(slope.value, part), offset)
        )
    product = Expression("mul", (slope, part) if slope.size <= 3 else (part, slope))
    return product if offset == constant(0) else _shifted(product, offset)


def _shifted(node: Expression, offset: Expression) -> Expression:
    if offset.op == CONSTANT and offset.value < 0:
        return Expression("sub", (node, constant(-offset.value)))
    return Expression("add", (node, offset))


def significant_digits(value: float) -> int:
    """Of the shortest text of a number: 3 of 0.0256, 1 of 1000000."""
    return len(format_number(abs(value)).split("e")[0].replace(".", "").strip("0")) or 1


def tidy(value: float) -> float:
    """Without what rounding left behind its twelfth digit, if that makes it shorter."""
    short = float(f"{value:.12g}")
    return short if significant_digits(short) <= 9 else value


def _is_linear(node: Expression) -> bool:
    """Whether an expression of ``y_true`` alone is written as a line."""
    if node.op in ("add", "sub"):
        return all(map(_is_linear, node.args)) and sum(arg.op == CONSTANT for arg in node.args) <= 1
    if node.op == "mul":
        return node.args[0].op == CONSTANT and _is_linear(node.args[1])
    return node.op in (CONSTANT, "y_true") or (node.op == "neg" and node.args[0].op == "y_true")


def _all_close(a: Array, b: Array) -> bool:
    least = _EXACT * 1e-2 * numpy.minimum(1.0, numpy.abs(a).max(initial=0.0))
    return bool((numpy.abs(a - b) <= _EXACT * numpy.abs(a) + least).all())
