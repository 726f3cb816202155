"""Constants of a structure, tuned on a surrogate by CMA-ES (Hansen 2016, arXiv:1604.00772).

Trainings are too dear to tune constants by: what the model likes best is proposed, and trained like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lossforge.evolution.deap_trees import round_constant
from lossforge.expression.tree import CONSTANT, Expression, constant

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Evaluate = Callable[[Sequence[Expression]], "NDArray[numpy.float64]"]
"""What losses are worth, ``(K,)``, more being better."""
Alike = Callable[[Expression, Expression], bool]

_ROUNDS, _EACH = 10, 8
"""Steps of the strategy, and losses in each."""
_RELATIVE, _ABSOLUTE = 0.3, 0.1
"""A constant's first step: this share of it, and this beside it."""


def constants_of(expression: Expression) -> list[float]:
    """The constants, in the order of the formula."""
    return [node.value for node in expression.walk() if node.op == CONSTANT]


def with_constants(expression: Expression, values: Sequence[float]) -> Expression:
    """The same formula with others."""
    return _replaced(expression, iter(values))


def _replaced(node: Expression, values: Iterator[float]) -> Expression:
    if node.op == CONSTANT:
        return constant(next(values))
    if not node.args:
        return node
    return Expression(node.op, tuple(_replaced(arg, values) for arg in node.args), definition=node.definition)


def tuned(expression: Expression, evaluate: Evaluate, alike: Alike, seed: int) -> Expression | None:
    """The formula with the constants that are worth most, in as few digits as make one loss; None where none are.

    None, too, where nothing was found that is worth more than the formula itself.
    """
    import numpy
    from cmaes import CMA

    first = numpy.array(constants_of(expression))
    if not len(first):
        return None
    steps = _RELATIVE * numpy.abs(first) + _ABSOLUTE
    # The library takes two dimensions or more: of one constant the second says nothing.
    dimensions = max(2, len(first))
    strategy = CMA(numpy.zeros(dimensions), sigma=1.0, seed=seed % 2**32, population_size=_EACH)
    best, worth = first, float(evaluate([expression])[0])
    for _ in range(_ROUNDS):
        asked = [strategy.ask() for _ in range(_EACH)]
        values = [first + steps * one[: len(first)] for one in asked]
        found = evaluate([with_constants(expression, [round_constant(float(x)) for x in some]) for some in values])
        strategy.tell([(one, -float(value)) for one, value in zip(asked, found, strict=True)])
        place = int(found.argmax())
        if float(found[place]) > worth:
            best, worth = values[place], float(found[place])
    if best is first:
        return None
    return _rounded(expression, [float(x) for x in best], alike)


def _rounded(expression: Expression, values: Sequence[float], alike: Alike) -> Expression:
    """In one or two digits, where that is the same loss; else in three."""
    whole = with_constants(expression, [round_constant(value) for value in values])
    for digits in (1, 2):
        short = with_constants(expression, [float(f"{value:.{digits}g}") for value in values])
        if alike(short, whole):
            return short
    return whole
