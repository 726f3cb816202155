"""Named losses by name: formula, parameters, and the source of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lossforge.errors import FormulaError, LossError, offered
from lossforge.expression.formula import parse_formula
from lossforge.expression.heads import check_head
from lossforge.expression.tree import WHERE
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS
from lossforge.losses.behind_heads import published_behind
from lossforge.losses.compiled import ExpressionLoss, LossSpec, NamedPart
from lossforge.losses.entries import clean, evolved, imbalance, label_noise, segmentation
from lossforge.losses.entries.clean import CROSS_ENTROPY
from lossforge.losses.entries.entry import OVER_ALL, OVER_BATCH, OVER_CLASSES, NamedLoss
from lossforge.losses.fusions import Call, Fusion, call_parameters, called_name, is_one_call, parse_fusion
from lossforge.losses.sums import summed, weighted_sum
from lossforge.losses.term_losses.base import TermLoss
from lossforge.losses.term_losses.weighted_sum import FusionLoss
from lossforge.losses.weighting_rules import RULES, parse_weighting, weighting

__all__ = [
    "ALIASES",
    "CROSS_ENTROPY",
    "GROUPS",
    "LIBRARY",
    "OVER_ALL",
    "OVER_BATCH",
    "OVER_CLASSES",
    "NamedLoss",
    "head_of",
    "loss",
    "loss_spec",
    "named_sum",
    "sum_spec",
]

GROUPS: dict[str, tuple[NamedLoss, ...]] = {
    "clean": clean.ENTRIES,
    "label noise": label_noise.ENTRIES,
    "imbalance": imbalance.ENTRIES,
    "segmentation": segmentation.ENTRIES,
    "evolved": evolved.ENTRIES,
}
"""The losses by what they are for, or how they were found."""

LIBRARY: dict[str, NamedLoss] = {entry.name: entry for entries in GROUPS.values() for entry in entries}
"""Every named loss."""

ALIASES: dict[str, str] = {alias: entry.name for entry in LIBRARY.values() for alias in entry.aliases}
"""Other names of the same losses."""


def loss_spec(name_or_formula: str, *, head: str | None = None, table: bool = False, **parameters: float) -> LossSpec:
    """Description of a named loss, of a call such as ``focal(gamma=2)``, or of a formula.

    A named loss takes ``classes`` besides its own parameters: the number of classes that defaults are for, where its
    source has others for 100 than for 10. Behind a ``head`` it is what `published_behind` says (None: the head that it
    was made for), and a formula what it is; ``table``: samples are no masks. Raises LossError or FormulaError.
    """
    entry = _entry(name_or_formula)
    if entry is not None:
        return _behind(entry, entry.spec(**parameters), head, table)
    if name_or_formula in OPERATIONS:
        call = f"{name_or_formula}({', '.join('xy'[: OPERATIONS[name_or_formula].arity])})"
        raise LossError(f"there is no loss named '{name_or_formula}': it is an operation, written {call} in a formula")
    if name_or_formula.isidentifier() and name_or_formula not in EVERY_LEAF:
        raise LossError(f"there is no loss named '{name_or_formula}'{_others(name_or_formula)}")
    if parameters:
        raise LossError(f"the formula {name_or_formula!r} takes no parameters, but got {', '.join(parameters)}")
    called, entry = called_name(name_or_formula), _called(name_or_formula)
    ruled = parse_weighting(name_or_formula)
    if ruled is not None and len(ruled[1]) > 1:
        parts = [(1.0, loss_spec(part, head=head, table=table)) for part in ruled[1]]
        return weighted_sum(parts, head or "softmax", ruled[0])
    found = None if entry is not None else named_sum(name_or_formula)
    if found is not None:
        return sum_spec(found, head=head, table=table)
    if entry is not None:
        return _behind(entry, entry.spec(**call_parameters(name_or_formula)), head, table)
    if called is not None and called not in OPERATIONS and "=" in name_or_formula and WHERE not in name_or_formula:
        raise LossError(f"there is no loss named '{called}'{_others(called)}")
    return LossSpec(str(parse_formula(name_or_formula)))


_NAMES = frozenset({*LIBRARY, *ALIASES})


def named_sum(text: str) -> Fusion | None:
    """The sum in which losses of the library stand by name; None for a text without one.

    Raises LossError or FormulaError for a sum that cannot be read, or a loss in it that there is not.

    >>> str(named_sum("focal + 0.5*dice(e=1)"))
    'focal + 0.5 * dice(e=1.0)'
    """
    found = parse_fusion(text, _NAMES)
    for called in () if found is None else found.calls:
        _entry_of(called).spec(**dict(called.parameters))
    return found


def sum_spec(fusion: Fusion, *, head: str | None = None, table: bool = False) -> LossSpec:
    """Description of a sum behind a head; None: the one that its losses were made for. See `loss_spec`."""
    head = head or _common_head(fusion)
    parts = [
        (
            part.weight,
            _behind(_entry_of(part.loss), _entry_of(part.loss).spec(**dict(part.loss.parameters)), head, table)
            if isinstance(part.loss, Call)
            else LossSpec(str(part.loss)),
        )
        for part in fusion.parts
    ]
    named = [
        NamedPart(str(part), alone.formula, alone.label_smoothing, alone.class_mean)
        for part, alone in zip(fusion.parts, (summed([own], head) for own in parts), strict=True)
    ]
    whole = summed(parts, head) if fusion.weighting is None else weighted_sum(parts, head, fusion.weighting)
    return replace(whole, parts=tuple(named) if len(named) > 1 else ())


def _entry_of(called: Call) -> NamedLoss:
    return LIBRARY[ALIASES.get(called.name, called.name)]


def _common_head(fusion: Fusion) -> str:
    """The head that the losses of a sum were made for: softmax, unless one is for another."""
    others = sorted({_entry_of(called).head for called in fusion.calls} - {"softmax"})
    if len(others) > 1:
        raise LossError(f"the losses of a sum have one head, and these were made for {' and '.join(others)}")
    return others[0] if others else "softmax"


def _behind(entry: NamedLoss, spec: LossSpec, head: str | None, table: bool) -> LossSpec:
    if head is None or head == entry.head != "softmax":
        return spec
    if entry.head != "softmax":
        raise LossError(
            f"loss '{entry.name}' cannot have the head '{head}': it is for labels that are each there or not, so its "
            f"head is '{entry.head}'"
        )
    return published_behind(entry.name, spec, head, table=table)


def _others(name: str) -> str:
    """What else to write than ``name``; a formula may have been meant."""
    return offered(name, [*LIBRARY, *ALIASES, *EVERY_LEAF], "a formula works too")


def _entry(name: str) -> NamedLoss | None:
    """The loss of that name. Raises LossError for what is no text."""
    if not isinstance(name, str):
        raise LossError(f"a loss is a name or a formula, as text, not {name!r}")
    return LIBRARY.get(ALIASES.get(name, name))


def _called(text: str) -> NamedLoss | None:
    """The loss of a call such as ``focal(gamma=2)``."""
    called = called_name(text)
    return None if called is None or WHERE in text or not is_one_call(text) else _entry(called)


def head_of(name_or_formula: str) -> str:
    """The head that a loss was made for: "softmax" but for some of the library."""
    entry = _entry(name_or_formula) or _called(name_or_formula)
    if entry is not None:
        return entry.head
    try:
        found = named_sum(name_or_formula)
    except (FormulaError, LossError):
        return "softmax"  # whoever builds it is told
    return "softmax" if found is None else _common_head(found)


_MODULE_ARGUMENTS = ("weight", "ignore_index", "reduction", "label_smoothing", "class_share")


def loss(
    name_or_formula: str,
    *,
    match: bool | int = False,
    head: str | None = None,
    class_counts: Sequence[float] | Tensor | None = None,
    dynamic: str = "none",
    **arguments: object,
) -> ExpressionLoss | TermLoss | FusionLoss:
    """Build a loss by name or formula: ``loss("focal", gamma=2)``, ``loss("-y_true * log(y_pred)")``.

    The result is called like ``nn.CrossEntropyLoss`` and takes its arguments ``weight``,
    ``ignore_index``, ``reduction`` and ``label_smoothing``; all others are the loss's own parameters. With
    ``match=True`` it is scaled so that its gradient near a uniform start has cross-entropy's norm, as a search trains
    it and an export has it: for the number of classes of the logits that it is called with, or for 10 with
    ``match=10``. ``classes=100`` takes the parameters that were published for 100 classes, where the defaults are for
    10. A loss that looks at how frequent classes are takes ``class_share``, shape ``(C,)``, or ``class_counts``, the
    number of training samples of each class. ``head`` says how logits become probabilities: "softmax" (of C logits),
    "sigmoid" (C labels, each there or not) or "binary" (one logit, of class 1); see `lossforge.losses.heads`. Without
    it a loss has the head that it was made for. ``weight`` may be "balanced" or "effective" beside ``class_counts``,
    for a sum too: 1 on average over samples, the larger the rarer the class. ``dynamic`` lets the weights of
    a sum change in the course of a training: by "uncertainty", "dwa" (with ``temperature``) or "gradnorm" (with
    ``alpha``), as ``loss("uncertainty(focal + dice)")`` does too; see `WeightedFusionLoss`. Raises
    LossError or FormulaError.

    >>> import torch
    >>> criterion = loss("cross_entropy")
    >>> round(float(criterion(torch.zeros(4, 10), torch.arange(4))), 4)
    2.3026
    >>> loss("nce_rce", classes=100).formula.split(" - ")[0]
    '10 * true_c(log(y_pred)) / sum_c(log(y_pred))'
    """
    module = {name: value for name, value in arguments.items() if name in _MODULE_ARGUMENTS}
    parameters = {name: value for name, value in arguments.items() if name not in _MODULE_ARGUMENTS}
    if isinstance(module.get("weight"), str):
        module["weight"] = _class_weights(str(module["weight"]), class_counts)
    if class_counts is not None:
        if "class_share" in module:
            raise LossError("class_counts and class_share say the same: give one of them")
        module["class_share"], samples = _shares(class_counts)
        entry = _entry(name_or_formula) or _called(name_or_formula)
        if entry is not None and "samples" in entry.parameters:
            if name_or_formula not in (entry.name, *entry.aliases):
                name_or_formula, parameters = entry.name, {**call_parameters(name_or_formula), **parameters}
            parameters.setdefault("samples", samples)
    if dynamic != "none":
        name_or_formula = _ruled(name_or_formula, dynamic, parameters)
    head = head_of(name_or_formula) if head is None else check_head(head)
    spec = loss_spec(name_or_formula, head=head, **parameters)  # type: ignore[arg-type]
    built = spec.build(head=head, **module)
    if match is True:
        built.matches = True
    elif match is not False:
        try:
            built.match_classes(match)
        except ValueError as error:
            raise LossError(f"match={match!r}: {error}") from None
    return built


def _ruled(text: str, dynamic: str, parameters: dict[str, object]) -> str:
    """The text of a sum under a rule, whose parameter is taken out of the others. Raises LossError."""
    if dynamic not in RULES:
        raise LossError(f"dynamic must be 'none' or one of {', '.join(RULES)}, not {dynamic!r}")
    value = parameters.pop(RULES[dynamic][0], None)
    if value is not None and not isinstance(value, int | float):
        raise LossError(f"{dynamic}: {RULES[dynamic][0]} must be a number, not {value!r}")
    return weighting(dynamic, value).around([text])


_EFFECTIVE = 0.999


def _class_weights(kind: str, class_counts: Sequence[float] | Tensor | None) -> Tensor:
    """A weight for each class, ``(C,)``, by which a sample weighs 1 on average; 0 for a class without samples.

    "balanced": N / (C n_c), as scikit-learn has it, of C classes that occur. "effective": in proportion to
    (1 - beta) / (1 - beta^n_c) with beta = 0.999 (Cui et al., CVPR 2019). Raises LossError.
    """
    if kind not in ("balanced", "effective"):
        raise LossError(f"weight must be a tensor, 'balanced' or 'effective', not {kind!r}")
    if class_counts is None:
        raise LossError(f"weight='{kind}' asks for class_counts, the number of training samples of each class")
    shares, samples = _shares(class_counts)
    counts = shares * samples
    rare = 1 / counts if kind == "balanced" else (1 - _EFFECTIVE) / (1 - _EFFECTIVE**counts)
    rare = torch.where(counts > 0, rare, 0.0)
    return (rare / (rare * shares).sum()).float()


def _shares(class_counts: Sequence[float] | Tensor) -> tuple[Tensor, float]:
    """Each class's share, in float64, and the number of samples. Raises LossError."""
    counts = torch.as_tensor(class_counts, dtype=torch.float64)
    total = float(counts.sum())
    if counts.dim() != 1 or not bool((counts >= 0).all()) or not 0 < total < float("inf"):
        raise LossError("class_counts must have the number of training samples of each class, one number a class")
    return counts / total, total
