"""The funnel with a memory: one verdict a canonical form, one descent a signature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lossforge.expression.canonical import canonical_form_and_text, fold_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import signatures
from lossforge.expression.tree import Expression
from lossforge.screening.descent import Descent
from lossforge.screening.funnel import Known, negated, screen_all
from lossforge.screening.settings import Screen, ScreenSettings


@dataclass(frozen=True, slots=True)
class Screened:
    """A proposal's verdict: what would be trained, under which key, or which screen rejected it and why."""

    expression: Expression
    signature: str | None
    rejected_by: Screen | None
    reason: str


class Screener:
    """Screens canonical forms, so that a verdict depends on nothing else; remembers forms and signatures.

    The first form with a signature decides for all that have it, so a search that goes on tells the screener
    what was seen before (`remember`).
    """

    def __init__(self, settings: ScreenSettings) -> None:
        self.settings = settings
        self._known: dict[str, Known] = {}
        self._memory: dict[str, tuple[str | None, Screen | None, str, bool]] = {}

    def __call__(self, expression: Expression) -> Screened:
        """Screen one proposal; see `screen`."""
        return self.screen([expression])[0]

    def screen(self, expressions: Sequence[Expression]) -> list[Screened]:
        """Screen proposals. What comes back has its constants folded; where only -f descends, it is -f."""
        folded = [fold_constants(expression) for expression in expressions]
        forms: dict[str, Expression] = {}
        texts = []
        for expression in folded:
            form, text = canonical_form_and_text(expression)
            texts.append(text)
            if text not in self._memory:
                forms[text] = form
        for text, verdict in zip(forms, screen_all(list(forms.values()), self.settings, self._known), strict=True):
            self._memory[text] = (verdict.signature, verdict.rejected_by, verdict.reason, verdict.flipped)
        return [self._answer(expression, text) for expression, text in zip(folded, texts, strict=True)]

    def _answer(self, expression: Expression, text: str) -> Screened:
        key, rejected_by, reason, flipped = self._memory[text]
        return Screened(negated(expression) if flipped else expression, key, rejected_by, reason)

    def remember(self, formulas: Iterable[tuple[str, str, Screen | None, str]]) -> None:
        """What was screened before: formula, signature, and the screen that rejected it with its reason."""
        new: dict[str, tuple[str, Screen | None, str]] = {}
        for formula, key, rejected_by, reason in formulas:
            if key not in self._known and rejected_by in (None, Screen.DESCENT):
                new.setdefault(key, (formula, rejected_by, reason))
        forms = [canonical_form_and_text(parse_formula(formula))[0] for formula, _, _ in new.values()]
        if not forms:
            return
        found = signatures(Interpreter(forms), keep_scale=self.settings.keep_scale)
        for (key, (_, rejected_by, reason)), signature in zip(new.items(), found, strict=True):
            descent = Descent(rejected_by is None, reason=reason)
            self._known[key] = Known(descent, 1 if signature is None else signature.sign)
