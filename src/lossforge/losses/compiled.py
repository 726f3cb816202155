"""``ExpressionLoss``: an expression as a torch module, and the plain description that travels to workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lossforge.expression.codegen import ElementwiseFunction, compile_expression, emit
from lossforge.expression.formula import format_formula, parse_formula
from lossforge.expression.tree import Expression
from lossforge.losses.drop_in import DropInLoss


@dataclass(frozen=True, slots=True)
class LossSpec:
    """What a loss is, in plain text and numbers: enough to build it anywhere.

    ``label_smoothing`` in [0, 1) belongs to the loss; ``class_mean`` averages over classes instead of summing.
    """

    formula: str
    label_smoothing: float = 0.0
    class_mean: bool = False

    def build(self, **arguments: Any) -> ExpressionLoss:
        """The module; ``arguments`` are those of ``nn.CrossEntropyLoss``."""
        arguments.setdefault("label_smoothing", self.label_smoothing)
        return ExpressionLoss(self.formula, class_mean=self.class_mean, **arguments)


class ExpressionLoss(DropInLoss):
    """A formula as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for its arguments.

    It holds text and numbers besides ``weight``, so it pickles and deep-copies.
    """

    def __init__(self, formula: str | Expression, *, class_mean: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        expression = parse_formula(formula) if isinstance(formula, str) else formula
        self.formula = format_formula(expression)
        self.class_mean = class_mean
        self.uses_log = emit(expression).uses_log
        self._function: ElementwiseFunction | None = None

    def elementwise_function(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The compiled formula."""
        if self._function is None:
            self._function = compile_expression(parse_formula(self.formula))
        return self._function

    def __getstate__(self) -> dict[str, Any]:
        # The compiled function is made again from the formula wherever the module arrives.
        return {**self.__dict__, "_function": None}

    def extra_repr(self) -> str:
        """The formula, for printing."""
        return repr(self.formula)
