"""Losses that are no formula: those that count overlap over a batch, need the logits as they are, or iterate.

Such a term is written, and travels to workers, as a call: ``tversky(a=0.3, b=0.7, e=1.0)``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from lossforge.errors import LossError, offered
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
OVERLAP = tuple(name for name, kind in TERMS.items() if kind.module is OverlapLoss)
"""Terms that count, class by class, where masks overlap."""


@dataclass(frozen=True, slots=True)
class Term:
    """A term by name, with the value of each of its parameters; ``str`` gives the text of the call."""

    name: str
    parameters: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.parameters)})"

    def build(self, **arguments: Any) -> TermLoss:
        """The module; ``arguments`` are those of ``nn.CrossEntropyLoss``, and ``head``."""
        return TERMS[self.name].module(str(self), dict(self.parameters), **arguments)


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


_HEAD = re.compile(r"\s*([A-Za-z_]\w*)\s*\(", re.ASCII)
_ARGUMENT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII)


_EXAMPLE = "with its parameters by name, such as tversky(a=0.3, b=0.7)"


def called_name(text: str) -> str | None:
    """``"dice"`` for a text that begins like ``dice(``, whatever follows; None for all others."""
    head = _HEAD.match(text)
    return None if head is None else head.group(1)


def call_parameters(text: str) -> dict[str, float]:
    """Parameters of a call such as ``focal(gamma=2)``. Raises LossError for anything else."""
    head = _HEAD.match(text)
    name = "" if head is None else head.group(1)
    body = text.rstrip()
    if head is None or not body.endswith(")"):
        raise LossError(f"loss '{name}' is written as a call that stands alone, {_EXAMPLE}")
    found: dict[str, float] = {}
    inside = body[head.end() : -1]
    for part in inside.split(",") if inside.strip() else []:
        argument = _ARGUMENT.fullmatch(part)
        if argument is None:
            raise LossError(
                f"loss '{name}' is written as a call that stands alone, {_EXAMPLE}; {part.strip()[:40]!r} does not fit"
            )
        parameter, value = argument.group(1), float(argument.group(2))
        if parameter in found:
            raise LossError(f"loss '{name}': {parameter} is given twice")
        if not math.isfinite(value):
            raise LossError(f"loss '{name}': {parameter} must be a finite number, not {argument.group(2)}")
        found[parameter] = value
    return found


def parse_term(text: str) -> Term | None:
    """Read a call of a term; None for a text that does not begin as one.

    Raises LossError where the call cannot be read, or a parameter is unknown or out of its range.

    >>> str(parse_term("tversky(a=0.2, b=0.8)"))
    'tversky(a=0.2, b=0.8, e=1.0)'
    """
    name = called_name(text)
    return term(name, **call_parameters(text)) if name in TERMS and name is not None else None
