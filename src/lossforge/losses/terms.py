"""Losses that are no elementwise formula of probabilities: binary cross-entropy, and those that count overlap.

Such a term is written, and travels to workers, as a call: ``tversky(a=0.3, b=0.7, e=1.0)``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lossforge.errors import LossError, offered
from lossforge.expression.heads import check_head
from lossforge.losses.drop_in import DropInLoss

SMALLEST_MISS = 1e-6
"""Below this the power of focal Tversky gives way to a straight line, so that its slope stays finite."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Default and range, both ends included, of a term's parameter."""

    default: float
    low: float
    high: float


_PENALTY = (0.0, 1e3)
_SMOOTH = Parameter(1.0, 1e-12, 1e6)

TERMS: dict[str, dict[str, Parameter]] = {
    "bce": {},
    "dice": {"e": _SMOOTH},
    "tversky": {"a": Parameter(0.3, *_PENALTY), "b": Parameter(0.7, *_PENALTY), "e": _SMOOTH},
    "focal_tversky": {
        "a": Parameter(0.3, *_PENALTY),
        "b": Parameter(0.7, *_PENALTY),
        "gamma": Parameter(4 / 3, 0.1, 10.0),
        "e": _SMOOTH,
    },
}
"""Every term by name, with its parameters."""
OVERLAP = tuple(name for name in TERMS if name != "bce")
"""Terms that count, class by class, where masks overlap."""
NO_OVERLAP = (
    "it counts, class by class, the pixels on which masks overlap, and labels of whole samples have none; use bce, or "
    "a formula"
)
"""Why those are not for several labels a sample."""


@dataclass(frozen=True, slots=True)
class Term:
    """A term by name, with the value of each of its parameters; ``str`` gives the text of the call."""

    name: str
    parameters: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.parameters)})"

    def build(self, **arguments: Any) -> TermLoss:
        """The module; ``arguments`` are those of ``nn.CrossEntropyLoss``, and ``head``."""
        return (BinaryCrossEntropyLoss if self.name == "bce" else OverlapLoss)(self, **arguments)


def term(name: str, **given: float) -> Term:
    """The term ``name`` with the parameters given, and the defaults of all others.

    Raises LossError for a parameter that it does not have, or one out of its range.
    """
    known = TERMS[name]
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


class TermLoss(DropInLoss):
    """A term as a drop-in for ``nn.CrossEntropyLoss``; see `DropInLoss` for the arguments that all share."""

    def __init__(self, term: Term, *, head: str = "softmax", **arguments: Any) -> None:
        self.head = check_head(head)
        super().__init__(**arguments)
        self.formula = str(term)

    def extra_repr(self) -> str:
        """The call, for printing."""
        return repr(self.formula)


class BinaryCrossEntropyLoss(TermLoss):
    """One classifier a class: -y log s - (1 - y) log(1 - s) with s the sigmoid of the logit.

    Computed from the logits, so it is exact however large they are, and 0 where an infinite one is right; summed
    over classes. It is a sigmoid's of every logit whatever the head: of a binary one's single logit, once.
    """

    def class_terms(self, logits: Tensor, y_true: Tensor, dim: int) -> Tensor:
        """The loss of every sample and class, in the shape of ``y_true``."""
        if y_true.shape != logits.shape:  # one logit of two classes, each of which has a column
            return _cost(y_true, torch.cat([-logits, logits], dim))
        return _cost(y_true, logits) + _cost(1 - y_true, -logits)


def _cost(share: Tensor, logits: Tensor) -> Tensor:
    """-share * log(sigmoid(logits)), which is 0 where the share is, also at a logit of -inf."""
    log = functional.logsigmoid(logits)
    return -share * log.masked_fill(log.isinf() & (share == 0), 0.0)


class OverlapLoss(TermLoss):
    """Dice, Tversky and focal Tversky: (a FP + b FN) / (TP + a FP + b FN + e) for every class.

    That is one minus the Tversky index (TP + e) / (TP + a FP + b FN + e); Dice has a = b = 1/2. TP, FP and FN are soft
    counts of the head's probabilities over the whole batch and space, so the loss of a batch is not the mean of its
    samples' losses. Of several labels a sample it is for pixels alone, and a ValueError says so. Focal Tversky raises
    it to the power 1 / gamma: that is what Abraham and Khan's code computes, where the exponent 3/4 itself is called
    gamma (their figure draws 1 - index^(1 / gamma)).

    ``a`` weighs false positives and ``b`` false negatives, as in Salehi et al. 2017, who found 0.3 and 0.7
    best; Abraham and Khan swap the two letters and use the same values, with gamma = 4/3.

    ``reduction``: "mean" over classes (by ``weight``: a weighted mean), "sum" over classes, or "none" for
    one value a class, shape ``(C,)``, times its weight. Samples at ``ignore_index`` enter no count. A class
    that is absent from the batch costs a FP / (a FP + e). With every sample ignored, or none there, each
    class's value is 0 and so is the gradient; "mean" is then NaN, as cross-entropy's is. The gradient is finite
    for all finite logits.
    """

    def __init__(self, term: Term, *, head: str = "softmax", **arguments: Any) -> None:
        super().__init__(term, head=head, **arguments)
        values = dict(term.parameters)
        self.a, self.b, self.e = values.get("a", 0.5), values.get("b", 0.5), values["e"]
        self.exponent = 1 / values.get("gamma", 1.0)

    def unscaled(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``; targets are those of `DropInLoss`."""
        if self.head == "sigmoid" and input.dim() == target.dim() < 3:
            raise ValueError(f"{self.formula} is for pixels, logits (N, C, d1, ...): {NO_OVERLAP}")
        logits, y_true, kept = self.encoded(input, target)
        dim = 0 if logits.dim() == 1 else 1
        y_pred = self.behind.probabilities(logits, dim)
        if kept is not None:
            counted = kept.unsqueeze(dim)
            y_pred, y_true = torch.where(counted, y_pred, 0.0), torch.where(counted, y_true, 0.0)
        classes = y_pred.shape[dim]
        y_pred = y_pred.movedim(dim, -1).reshape(-1, classes)
        y_true = y_true.movedim(dim, -1).reshape(-1, classes)
        hit = (y_pred * y_true).sum(0)
        wrong = self.a * (y_pred * (1 - y_true)).sum(0) + self.b * ((1 - y_pred) * y_true).sum(0)
        loss = self.focused(wrong / (hit + wrong + self.e))
        weight = torch.ones_like(loss) if self.weight is None else self.weight.to(logits.dtype)
        loss = loss * weight
        if self.reduction != "mean":
            return loss if self.reduction == "none" else loss.sum()
        mean = loss.sum() / weight.sum()
        if kept is None:
            return mean if len(y_true) else mean.new_full((), torch.nan) + 0 * mean
        return torch.where(kept.any(), mean, torch.nan)

    def focused(self, miss: Tensor) -> Tensor:
        """``miss``, in [0, 1), to the power 1 / gamma; a straight line below `SMALLEST_MISS`."""
        if self.exponent == 1:
            return miss
        power = miss.clamp(min=SMALLEST_MISS) ** self.exponent
        return power * (miss / SMALLEST_MISS).clamp(max=1)
