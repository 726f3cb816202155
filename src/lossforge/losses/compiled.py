"""``ExpressionLoss``: an expression as a torch module, and the plain description that travels to workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from lossforge.errors import LossError
from lossforge.expression.canonical import canonical_text
from lossforge.expression.codegen import compile_expression, emit
from lossforge.expression.formula import parse_formula
from lossforge.expression.heads import check_head
from lossforge.expression.tree import Expression, format_formula
from lossforge.losses.closed_form import ClosedForm, plain_operations_needed
from lossforge.losses.drop_in import DropInLoss, widened
from lossforge.losses.heads import HEADS
from lossforge.losses.targets import class_indices
from lossforge.losses.term_losses.base import TermLoss
from lossforge.losses.term_losses.changing_weights import LEAST_FACTOR, WeightedFusionLoss
from lossforge.losses.term_losses.weighted_sum import FusionLoss
from lossforge.losses.terms import Term, parse_terms
from lossforge.losses.weighting_rules import Weighting, parse_weighting

__all__ = ["LEAST_FACTOR", "ExpressionLoss", "LossSpec", "NamedPart", "WeightedFusionLoss"]


class NamedPart(NamedTuple):
    """One loss of a sum as it is written, and what it is, its weight in it; see `LossSpec`."""

    name: str
    formula: str
    label_smoothing: float = 0.0
    class_mean: bool = False

    @property
    def spec(self) -> LossSpec:
        """Its description."""
        return LossSpec(self.formula, self.label_smoothing, self.class_mean)


@dataclass(frozen=True, slots=True)
class LossSpec:
    """What a loss is, in plain text and numbers: enough to build it anywhere.

    ``formula`` is a formula, the call of a term such as ``dice(e=1.0)``, or a sum of both such as
    ``-y_true * log(y_pred) + 0.5 * dice(e=1.0)``. ``label_smoothing`` in [0, 1) belongs to the loss; ``class_mean``
    averages a formula over classes instead of summing.
    """

    formula: str
    label_smoothing: float = 0.0
    class_mean: bool = False
    parts: tuple[NamedPart, ...] = field(default=(), compare=False)
    """Of a sum of named losses, each with its weight in it; it is the same loss without."""

    def __post_init__(self) -> None:
        # As JSON brings them.
        object.__setattr__(self, "parts", tuple(NamedPart(*part) for part in self.parts))

    @property
    def fields(self) -> tuple[object, ...]:
        """What it is made of, in order, as JSON takes it."""
        own = (self.formula, self.label_smoothing, self.class_mean)
        return (*own, self.parts) if self.parts else own

    @property
    def weighted(self) -> tuple[Weighting, tuple[LossSpec, ...]] | None:
        """The rule that changes its weights in the course of a training, and what it weighs; None: nothing does."""
        found = parse_weighting(self.formula)
        return None if found is None else (found[0], tuple(LossSpec(text, self.label_smoothing) for text in found[1]))

    def require_fixed(self, key: str) -> None:
        """Raise LossError where its weights change: trainings by ``key`` step no parameters of a loss."""
        if self.weighted is not None:
            raise LossError(
                f"'{self.weighted[0].method}' changes weights in the course of a training, which {key} does not do: "
                "leave it out there, or compare the sum as it is"
            )

    @property
    def is_term(self) -> bool:
        """Whether it is a term, or a sum with one, and no formula. Raises LossError for one that cannot be read.

        A sum whose weights change counts as one.
        """
        return self.weighted is not None or parse_terms(self.formula) is not None

    @property
    def elementwise(self) -> LossSpec | None:
        """The formula in it, which is all of it where it has no term; None where there is none, or weights change."""
        if self.weighted is not None:
            return None
        found = parse_terms(self.formula)
        if found is None:
            return self
        formula = next((part.loss for part in found.parts if isinstance(part.loss, Expression)), None)
        return None if formula is None else LossSpec(format_formula(formula), self.label_smoothing)

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        """The terms in it, each with its weight; none where weights change."""
        found = None if self.weighted is not None else parse_terms(self.formula)
        parts = () if found is None else found.parts
        return tuple((part.weight, part.loss) for part in parts if isinstance(part.loss, Term))

    def build(self, **arguments: Any) -> ExpressionLoss | TermLoss | FusionLoss:
        """The module; ``arguments`` are those of ``nn.CrossEntropyLoss``, and ``head``."""
        arguments.setdefault("label_smoothing", self.label_smoothing)
        if self.weighted is not None:
            (rule, specs), head = self.weighted, arguments.get("head", "softmax")
            return WeightedFusionLoss(
                self.formula, [(1.0, spec.build(head=head)) for spec in specs], rule.method, rule.value, **arguments
            )
        found = parse_terms(self.formula)
        if found is None:
            return ExpressionLoss(self.formula, class_mean=self.class_mean, **arguments)
        terms, formula = self.terms, self.elementwise
        if self.class_mean:
            name = terms[0][1].name if len(found.parts) == 1 else self.formula
            raise LossError(f"loss '{name}' has its own reduction over classes; class_mean is for formulas")
        if len(found.parts) == 1 and terms[0][0] == 1:
            return terms[0][1].build(**arguments)
        head = arguments.get("head", "softmax")
        parts: list[tuple[float, DropInLoss]] = [(weight, term.build(head=head)) for weight, term in terms]
        if formula is not None:
            parts = [(1.0, ExpressionLoss(formula.formula, head=head)), *parts]
        return FusionLoss(str(found), parts, **arguments)


class ExpressionLoss(DropInLoss):
    """A formula as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for its arguments.

    ``head`` is "softmax", "sigmoid" or "binary"; see `lossforge.losses.heads`. Its gradient on the logits is computed
    in closed form, and a formula that is cross-entropy runs as torch's own. It holds text and numbers besides
    ``weight``, so it pickles and deep-copies.
    """

    def __init__(
        self, formula: str | Expression, *, class_mean: bool = False, head: str = "softmax", **arguments: Any
    ) -> None:
        expression = parse_formula(formula) if isinstance(formula, str) else formula
        self.head = check_head(head)
        self.needs = tuple(sorted(emit(expression).needs))
        super().__init__(**arguments)
        self.formula = format_formula(expression)
        self.class_mean = class_mean
        self._prepare(expression)

    def _prepare(self, expression: Expression) -> None:
        self._head = self.behind
        program = self._head.program
        emitted = emit(expression, program)
        self.uses_log, self.about = emitted.uses_log, emitted.about
        self.of_sample = expression.of_sample
        self._expression = expression
        self._function = compile_expression(expression, program)
        self._is_cross_entropy = canonical_text(expression) == _cross_entropy_text(self.head) and not self.class_mean

    def elementwise_function(self) -> Callable[..., Tensor]:
        """The compiled formula."""
        return self._function

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``; see `DropInLoss.forward`."""
        head, weight = self._head, self.weight
        if self._is_cross_entropy and weight is None and not self.label_smoothing:
            found = head.at_once(input, target, self.ignore_index, self.reduction)
            if found is not None:
                return found
        soft = self.label_smoothing > 0 or not head.are_indices(input, target)
        if self._is_cross_entropy and head.has_own(target, weight, soft=soft):
            head.check(input, target, weight)
            logits = widened(input)
            weight = None if weight is None else weight.to(logits.dtype)
            return head.cross_entropy(logits, target, self.label_smoothing, self.reduction, weight, self.ignore_index)
        # A weight of a class does not stay with that class's logit where classes are mixed.
        mixed = self._expression.crosses_classes and weight is not None
        if plain_operations_needed(target, weight) or mixed:
            return super().unscaled(input, target)
        if soft:
            logits, target_or_indices, kept = self.encoded(input, target)
        else:
            logits, target_or_indices, kept = self.indexed(input, target)
        weight = None if weight is None else self.class_weight(logits)
        dim = 0 if logits.dim() == 1 else 1
        about = self.context(self.behind.scores(logits, dim), logits, dim) if self.about else None
        loss: Tensor = ClosedForm.apply(logits, target_or_indices, self._expression, dim, weight, about, self.head)
        return self.reduced(loss, logits, target, kept)

    def indexed(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits in float32 or wider, indices that are all in range, and which samples count (None: all)."""
        self.behind.check(input, target, self.weight)
        logits = widened(input)
        indices = class_indices(target, self.columns(logits), self.ignore_index)
        counts = indices != self.ignore_index
        # On a GPU to ask would be to wait for it; and a weighted mean is divided by what is kept.
        all_count = self.weight is None and target.device.type == "cpu" and bool(counts.all())
        return logits, indices if all_count else indices.where(counts, 0), None if all_count else counts

    def __getstate__(self) -> dict[str, Any]:
        # What is compiled is made again from the formula wherever the module arrives.
        return {**self.__dict__, "_function": None, "_expression": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._prepare(parse_formula(self.formula))

    def extra_repr(self) -> str:
        """The formula, for printing."""
        return repr(self.formula)


@lru_cache(maxsize=8)
def _cross_entropy_text(head: str) -> str:
    return canonical_text(parse_formula(HEADS[head].cross_entropy_formula))
