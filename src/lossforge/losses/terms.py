"""Losses that are no formula: those that count overlap over a batch, need the logits as they are, or iterate.

Such a term is written, and travels to workers, as a call: ``tversky(a=0.3, b=0.7, e=1.0)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lossforge.errors import LossError, offered
from lossforge.expression.heads import check_head
from lossforge.expression.tree import Expression, call, constant
from lossforge.losses.fusions import Call, Fusion, Part, call_parameters, called_name, fused, is_one_call, parse_fusion
from lossforge.losses.term_losses.base import TermLoss
from lossforge.losses.term_losses.bi_tempered import BiTemperedLoss
from lossforge.losses.term_losses.binary import BinaryCrossEntropyLoss
from lossforge.losses.term_losses.logit_norm import LogitNormLoss
from lossforge.losses.term_losses.overlap import OverlapLoss


@dataclass(frozen=True, slots=True)
class Parameter:
    """Default and range, both ends included, of a term's parameter."""

    default: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Kind:
    """The module that computes a term, and its parameters."""

    module: type[TermLoss]
    parameters: dict[str, Parameter]


_PENALTY = (0.0, 1e3)
_OVERLAP = {"a": Parameter(0.3, *_PENALTY), "b": Parameter(0.7, *_PENALTY)}
_SMOOTH = Parameter(1.0, 1e-12, 1e6)

TERMS: dict[str, Kind] = {
    "bce": Kind(BinaryCrossEntropyLoss, {}),
    "dice": Kind(OverlapLoss, {"e": _SMOOTH}),
    "tversky": Kind(OverlapLoss, {**_OVERLAP, "e": _SMOOTH}),
    "focal_tversky": Kind(OverlapLoss, {**_OVERLAP, "gamma": Parameter(4 / 3, 0.1, 10.0), "e": _SMOOTH}),
    "bi_tempered": Kind(BiTemperedLoss, {"t1": Parameter(0.8, 0.0, 0.999), "t2": Parameter(1.2, 1.0, 5.0)}),
    "logit_norm": Kind(LogitNormLoss, {"tau": Parameter(0.04, 1e-3, 1e3)}),
}
"""Every term by name."""
_MAYBE = re.compile(rf"\b(?:{'|'.join(TERMS)})\s*\(", re.ASCII)
OVERLAP = tuple(name for name, kind in TERMS.items() if kind.module is OverlapLoss)
"""Terms that count, class by class, where masks overlap."""


class Term(Call):
    """A term by name, with the value of each of its parameters; ``str`` gives the text of the call."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.parameters)})"

    def build(self, **arguments: Any) -> TermLoss:
        """The module; ``arguments`` are those of ``nn.CrossEntropyLoss``, and ``head``."""
        refuse_head(self.name, arguments.get("head", "softmax"))
        return TERMS[self.name].module(str(self), dict(self.parameters), **arguments)


def refuse_head(name: str, head: str) -> None:
    """Raise LossError for a head that there is not, or behind which the term ``name`` means nothing."""
    module = TERMS[name].module
    if check_head(head) not in module.heads:
        raise LossError(f"loss '{name}' cannot have the head '{head}': {module.headless}")


def term(name: str, **given: float) -> Term:
    """The term ``name`` with the parameters given, and the defaults of all others.

    Raises LossError for a parameter that it does not have, or one out of its range.
    """
    known = TERMS[name].parameters
    for parameter, value in given.items():
        if parameter not in known:
            raise LossError(f"loss '{name}' has no parameter '{parameter}'{offered(parameter, known, what='it has')}")
        low, high = known[parameter].low, known[parameter].high
        if not low <= value <= high:
            raise LossError(f"loss '{name}': {parameter} must be in [{low:g}, {high:g}], not {value!r}")
    values = {parameter: float(given.get(parameter, known[parameter].default)) for parameter in known}
    if values.get("a") == values.get("b") == 0:
        raise LossError(f"loss '{name}': a and b must not both be 0, for then it is 0 everywhere")
    return Term(name, tuple(values.items()))


def parse_term(text: str) -> Term | None:
    """Read a call of a term; None for a text that does not begin as one, or is a sum.

    Raises LossError where the call cannot be read, or a parameter is unknown or out of its range.

    >>> str(parse_term("tversky(a=0.2, b=0.8)"))
    'tversky(a=0.2, b=0.8, e=1.0)'
    """
    name = called_name(text)
    if name is None or name not in TERMS or not is_one_call(text):
        return None
    return term(name, **call_parameters(text))


_NAMES = frozenset(TERMS)


@lru_cache(maxsize=4096)
def parse_terms(text: str) -> Fusion | None:
    """Read a weighted sum of terms, and of at most one formula, which comes first; None for a formula.

    Raises LossError or FormulaError where it cannot be read.

    >>> str(parse_terms("0.5 * dice(e=1) + y_true * y_pred + y_pred + dice()"))
    'y_true * y_pred + y_pred + 1.5 * dice(e=1.0)'
    """
    if not _MAYBE.search(text):
        return None
    alone = parse_term(text)
    if alone is not None:
        return Fusion((Part(1.0, alone),))
    found = parse_fusion(text, _NAMES)
    if found is None:
        return None
    formula: Expression | None = None
    terms: list[Part] = []
    for part in found.parts:
        if isinstance(part.loss, Call):
            terms.append(Part(part.weight, term(part.loss.name, **dict(part.loss.parameters))))
        else:
            formula = added(formula, part.weight, part.loss)
    return sum_of(formula, terms)


def sum_of(formula: Expression | None, terms: list[Part]) -> Fusion:
    """The sum in the order in which it is written: the formula first, then the terms by name."""
    first = [] if formula is None else [Part(1.0, formula)]
    return fused([*first, *sorted(terms, key=lambda part: str(part.loss))])


def added(formula: Expression | None, weight: float, other: Expression) -> Expression:
    """``formula + weight * other``."""
    if formula is None:
        return other if weight == 1 else call("mul", constant(weight), other)
    scaled = other if abs(weight) == 1 else call("mul", constant(abs(weight)), other)
    return call("add" if weight > 0 else "sub", formula, scaled)
