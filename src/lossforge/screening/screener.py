"""The funnel with a memory: one verdict a canonical form."""

from __future__ import annotations

from dataclasses import dataclass

from lossforge.expression.canonical import canonical_form, canonical_text, fold_constants
from lossforge.expression.tree import Expression
from lossforge.screening.funnel import Screen, ScreenSettings, negated, screen


@dataclass(frozen=True, slots=True)
class Screened:
    """A proposal's verdict: what would be trained, under which key, or which screen rejected it and why."""

    expression: Expression
    signature: str | None
    rejected_by: Screen | None
    reason: str


class Screener:
    """Screens the canonical form, so that a verdict depends on nothing else; remembers up to ``limit``."""

    def __init__(self, settings: ScreenSettings, limit: int = 200_000) -> None:
        self.settings = settings
        self.limit = limit
        self._memory: dict[str, tuple[str | None, Screen | None, str, bool]] = {}

    def __call__(self, expression: Expression) -> Screened:
        """Screen a proposal. What comes back has its constants folded; where only -f descends, it is -f."""
        expression = fold_constants(expression)
        text = canonical_text(expression)
        known = self._memory.get(text)
        if known is None:
            form = canonical_form(expression)
            verdict = screen(form, self.settings)
            known = (verdict.signature, verdict.rejected_by, verdict.reason, verdict.expression is not form)
            if len(self._memory) >= self.limit:
                self._memory.clear()
            self._memory[text] = known
        key, rejected_by, reason, flipped = known
        return Screened(negated(expression) if flipped else expression, key, rejected_by, reason)
