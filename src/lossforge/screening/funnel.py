"""The funnel: reject what cannot train, before it costs a training. Cheapest screen first, a population at a time.

static: both leaves must occur. probe: value and gradient finite, the gradient not zero and not spiked. guards: no
accident of the sizes of protections.
descent: gradient descent must bring free logits, or a small network, to the targets, with the sign repaired
where only -f does. All screens look at the gradient's shape, never at its scale, which training matches anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lossforge.expression.canonical import canonical_form
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import Signature, signatures
from lossforge.expression.tree import Expression, call
from lossforge.screening.descent import Descent, descents
from lossforge.screening.guards import guard_reasons
from lossforge.screening.probes import probe_reasons
from lossforge.screening.settings import Certain, Screen, ScreenSettings, Verdict


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of one canonical form; it depends on nothing else.

    Either a screen before the descent rejected it, with a reason, or it has a signature. ``descent`` is None until
    somebody needs to know.
    """

    form: Expression
    rejected_by: Screen | None = None
    reason: str = ""
    signature: Signature | None = None
    descent: Descent | None = None


def negated(expression: Expression) -> Expression:
    """-f, written without a double negation."""
    if expression.op == "neg":
        return expression.args[0]
    if expression.op == "sub":
        return call("sub", expression.args[1], expression.args[0])
    return call("neg", expression)


def static_reason(form: Expression) -> str:
    """Why a canonical form cannot be a loss: a leaf does not occur in it. Nothing where both do."""
    seen = {"y_pred": form.sees_prediction, "y_true": form.sees_target}
    missing = [name for name, is_seen in seen.items() if not is_seen]
    return f"{' and '.join(missing)} {'does' if len(missing) == 1 else 'do'} not occur" if missing else ""


def findings_of(forms: Sequence[Expression], settings: ScreenSettings) -> list[Findings]:
    """Everything before the descent, on canonical forms."""
    found = [Findings(form) for form in forms]
    left = []
    for place, form in enumerate(forms):
        if reason := static_reason(form):
            found[place] = Findings(form, Screen.STATIC, reason)
        else:
            left.append(place)
    if not left:
        return found
    losses = Interpreter([forms[place] for place in left], head=settings.head)
    reasons = probe_reasons(losses, settings)
    well = [index for index, reason in enumerate(reasons) if not reason]
    signed = dict(zip(well, signatures(losses.take(well), keep_scale=settings.keep_scale), strict=True))
    for index, place in enumerate(left):
        signature = signed.get(index)
        if signature is None:
            found[place] = Findings(forms[place], Screen.PROBE, reasons[index] or Certain.NO_GRADIENT)
        else:
            found[place] = Findings(forms[place], signature=signature)
    if settings.guards:
        moving = [place for place in left if found[place].signature is not None]
        for place, reason in zip(moving, guard_reasons([forms[place] for place in moving], settings), strict=True):
            if reason:
                found[place] = Findings(forms[place], Screen.GUARDS, reason)
    return found


def descended(found: Sequence[Findings], settings: ScreenSettings) -> list[Findings]:
    """The findings with their descents."""
    if not found:
        return []
    losses = Interpreter([one.form for one in found], head=settings.head)
    return [replace(one, descent=descent) for one, descent in zip(found, descents(losses, settings), strict=True)]


def verdict(found: Findings, settings: ScreenSettings) -> Verdict:
    """The verdict that findings with a descent amount to."""
    if found.signature is None or found.descent is None:
        return Verdict(found.form, None, found.rejected_by, found.reason)
    descent, key = found.descent, found.signature.key
    rejected_by = None if descent.passed else Screen.DESCENT
    if not descent.flipped:
        return Verdict(found.form, key, rejected_by, descent.reason)
    turned = negated(found.form)
    if settings.keep_scale:
        # The repaired sign is part of the key here.
        (repaired,) = signatures(Interpreter([turned], head=settings.head), keep_scale=True)
        assert repaired is not None, "of f and -f both have a gradient or neither"
        key = repaired.key
    return Verdict(turned, key, rejected_by, descent.reason, flipped=True)


def screen_all(forms: Sequence[Expression], settings: ScreenSettings) -> list[Verdict]:
    """Verdicts on canonical forms; each stops at the first screen that rejects it."""
    found = findings_of(forms, settings)
    left = [place for place, one in enumerate(found) if one.signature is not None]
    for place, one in zip(left, descended([found[place] for place in left], settings), strict=True):
        found[place] = one
    return [verdict(one, settings) for one in found]


def screen(expression: Expression, settings: ScreenSettings) -> Verdict:
    """The verdict on one expression, in canonical form or not."""
    if reason := static_reason(canonical_form(expression)):
        return Verdict(expression, None, Screen.STATIC, reason)
    return screen_all([expression], settings)[0]
