"""The funnel: reject what cannot train, before it costs a training. Cheapest screen first, a population at a time.

static: both leaves must occur. probe: value and gradient finite, the gradient not zero and not spiked.
descent: gradient descent must bring free logits, or a small network, to the targets, with the sign repaired
where only -f does. All screens look at the gradient's shape, never at its scale, which training matches anyway.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

from lossforge.expression.canonical import canonical_form
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import Signature, signatures
from lossforge.expression.tree import Expression, call
from lossforge.screening.descent import Descent, descents
from lossforge.screening.probes import probe_reasons
from lossforge.screening.settings import Screen, ScreenSettings, Verdict


@dataclass(frozen=True, slots=True)
class Known:
    """How the first loss with a signature fared in the descent, and the sign that its signature removed."""

    descent: Descent
    sign: int


def negated(expression: Expression) -> Expression:
    """-f, written without a double negation."""
    if expression.op == "neg":
        return expression.args[0]
    if expression.op == "sub":
        return call("sub", expression.args[1], expression.args[0])
    return call("neg", expression)


def static_reason(form: Expression) -> str:
    """Why a canonical form cannot be a loss: a leaf does not occur in it. Nothing where both do."""
    missing = [name for name in ("y_pred", "y_true") if not form.uses(name)]
    return f"{' and '.join(missing)} does not occur" if missing else ""


def screen_all(
    forms: Sequence[Expression], settings: ScreenSettings, known: MutableMapping[str, Known] | None = None
) -> list[Verdict]:
    """Run the screens on canonical forms; each stops at the first that rejects it.

    ``known`` remembers, by signature, how the descent went: those of one signature descend once.
    """
    known = {} if known is None else known
    verdicts: dict[int, Verdict] = {}
    for place, form in enumerate(forms):
        if reason := static_reason(form):
            verdicts[place] = Verdict(form, None, Screen.STATIC, reason)
    left = [place for place in range(len(forms)) if place not in verdicts]
    if left:
        _probe_and_descend(forms, left, settings, known, verdicts)
    return [verdicts[place] for place in range(len(forms))]


def _probe_and_descend(
    forms: Sequence[Expression],
    left: list[int],
    settings: ScreenSettings,
    known: MutableMapping[str, Known],
    verdicts: dict[int, Verdict],
) -> None:
    losses = Interpreter([forms[place] for place in left])
    reasons = probe_reasons(losses, settings)
    well = [index for index, reason in enumerate(reasons) if not reason]
    found = dict(zip(well, signatures(losses.take(well), keep_scale=settings.keep_scale), strict=True))
    descending: dict[str, int] = {}
    for index, place in enumerate(left):
        signature = found.get(index)
        if signature is None:
            verdicts[place] = Verdict(forms[place], None, Screen.PROBE, reasons[index] or "the gradient is zero")
        elif signature.key not in known:
            descending.setdefault(signature.key, index)
    fresh = list(descending.values())
    for index, descent in zip(fresh, descents(losses.take(fresh), settings), strict=True):
        known[_key(found[index])] = Known(descent, _sign(found[index]))
    for index in well:
        if (signature := found[index]) is not None:
            verdicts[left[index]] = _verdict(forms[left[index]], signature, known[signature.key], settings)


def _key(signature: Signature | None) -> str:
    assert signature is not None, "only what has a signature descends"
    return signature.key


def _sign(signature: Signature | None) -> int:
    assert signature is not None, "only what has a signature descends"
    return signature.sign


def _verdict(form: Expression, signature: Signature, known: Known, settings: ScreenSettings) -> Verdict:
    descent, key = known.descent, signature.key
    rejected_by = None if descent.passed else Screen.DESCENT
    # Where the first one was the negative of this one, its repair is not this one's.
    opposite = not settings.keep_scale and signature.sign != known.sign
    if descent.flipped == opposite:
        return Verdict(form, key, rejected_by, descent.reason)
    turned = negated(form)
    if settings.keep_scale:
        # The repaired sign is part of the key here.
        (repaired,) = signatures(Interpreter([turned]), keep_scale=True)
        key = _key(repaired)
    return Verdict(turned, key, rejected_by, descent.reason, flipped=True)


def screen(expression: Expression, settings: ScreenSettings) -> Verdict:
    """The verdict on one expression, in canonical form or not."""
    if reason := static_reason(canonical_form(expression)):
        return Verdict(expression, None, Screen.STATIC, reason)
    return screen_all([expression], settings)[0]
