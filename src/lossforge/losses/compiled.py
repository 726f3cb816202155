"""``ExpressionLoss``: an expression as a torch module, and the plain description that travels to workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.nn import functional

from lossforge.errors import LossError
from lossforge.expression.canonical import canonical_text
from lossforge.expression.codegen import compile_expression, emit
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.closed_form import ClosedForm, plain_operations_needed
from lossforge.losses.drop_in import DropInLoss, check_input, class_indices, widened
from lossforge.losses.term_losses.base import TermLoss
from lossforge.losses.terms import parse_term


@dataclass(frozen=True, slots=True)
class LossSpec:
    """What a loss is, in plain text and numbers: enough to build it anywhere.

    ``formula`` is a formula, or the call of a term such as ``dice(e=1.0)``. ``label_smoothing`` in [0, 1)
    belongs to the loss; ``class_mean`` averages a formula over classes instead of summing.
    """

    formula: str
    label_smoothing: float = 0.0
    class_mean: bool = False

    @property
    def fields(self) -> tuple[str, float, bool]:
        """What it is made of, in order."""
        return self.formula, self.label_smoothing, self.class_mean

    @property
    def is_term(self) -> bool:
        """Whether it is a term, and no formula. Raises LossError for a term that cannot be read."""
        return parse_term(self.formula) is not None

    def build(self, **arguments: Any) -> ExpressionLoss | TermLoss:
        """The module; ``arguments`` are those of ``nn.CrossEntropyLoss``."""
        arguments.setdefault("label_smoothing", self.label_smoothing)
        term = parse_term(self.formula)
        if term is not None:
            if self.class_mean:
                raise LossError(f"loss '{term.name}' has its own reduction over classes; class_mean is for formulas")
            return term.build(**arguments)
        return ExpressionLoss(self.formula, class_mean=self.class_mean, **arguments)


class ExpressionLoss(DropInLoss):
    """A formula as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for its arguments.

    Its gradient on the logits is computed in closed form, and a formula that is cross-entropy runs as torch's
    own on class indices. It holds text and numbers besides ``weight``, so it pickles and deep-copies.
    """

    def __init__(self, formula: str | Expression, *, class_mean: bool = False, **arguments: Any) -> None:
        expression = parse_formula(formula) if isinstance(formula, str) else formula
        self.needs = tuple(sorted(emit(expression).needs))
        super().__init__(**arguments)
        self.formula = format_formula(expression)
        self.class_mean = class_mean
        self._prepare(expression)

    def _prepare(self, expression: Expression) -> None:
        emitted = emit(expression)
        self.uses_log, self.about = emitted.uses_log, emitted.about
        self.of_sample = expression.of_sample
        self._expression = expression
        self._function = compile_expression(expression)
        self._is_cross_entropy = canonical_text(expression) == _cross_entropy_text() and not self.class_mean

    def elementwise_function(self) -> Callable[..., Tensor]:
        """The compiled formula."""
        return self._function

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``; see `DropInLoss.forward`."""
        soft = target.is_floating_point() or self.label_smoothing > 0
        # Of soft targets torch's own would be NaN at a logit of -inf, for 0 * log(0). Of weights it gives no gradient.
        if self._is_cross_entropy and not soft and (self.weight is None or not self.weight.requires_grad):
            return self._cross_entropy(input, target)
        # A weight of a class does not stay with that class's logit where classes are mixed.
        if plain_operations_needed(target, self.weight) or (self.about and self.weight is not None):
            return super().unscaled(input, target)
        if soft:
            logits, target_or_indices, kept = self.encoded(input, target)
        else:
            logits, target_or_indices, kept = self.indexed(input, target)
        weight = None if self.weight is None else self.class_weight(logits)
        dim = 0 if logits.dim() == 1 else 1
        about = self.context(logits, logits, dim) if self.about else None
        loss: Tensor = ClosedForm.apply(logits, target_or_indices, self._expression, dim, weight, about)
        return self.reduced(loss, logits, target, kept)

    def indexed(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits in float32 or wider, indices that are all in range, and which samples count (None: all)."""
        logits, indices = self._checked(input, target)
        counts = indices != self.ignore_index
        # On a GPU to ask would be to wait for it; and a weighted mean is divided by what is kept.
        all_count = self.weight is None and target.device.type == "cpu" and bool(counts.all())
        return logits, indices if all_count else indices.where(counts, 0), None if all_count else counts

    def _checked(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits in float32 or wider, and class indices as int64."""
        check_input(input, target, self.weight)
        logits = widened(input)
        return logits, class_indices(target, logits.shape[0 if logits.dim() == 1 else 1], self.ignore_index)

    def _cross_entropy(self, input: Tensor, target: Tensor) -> Tensor:
        logits, indices = self._checked(input, target)
        return functional.cross_entropy(
            logits,
            indices,
            weight=None if self.weight is None else self.weight.to(logits.dtype),
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )

    def __getstate__(self) -> dict[str, Any]:
        # What is compiled is made again from the formula wherever the module arrives.
        return {**self.__dict__, "_function": None, "_expression": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._prepare(parse_formula(self.formula))

    def extra_repr(self) -> str:
        """The formula, for printing."""
        return repr(self.formula)


@lru_cache(maxsize=1)
def _cross_entropy_text() -> str:
    return canonical_text(parse_formula("-y_true * log(y_pred)"))
