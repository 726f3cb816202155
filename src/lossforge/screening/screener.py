"""The funnel with a memory: one descent a canonical form, and none for what is known to be trained already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lossforge.expression.canonical import canonical_form, canonical_form_and_text, fold_constants
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import signatures
from lossforge.expression.tree import Expression
from lossforge.screening.funnel import Findings, descended, negated, probe, verdict
from lossforge.screening.settings import Screen, ScreenSettings

REMEMBERED = 10_000
"""Forms that are remembered, the latest asked about: offspring are like their parents, seldom like their ancestors."""


@dataclass(frozen=True, slots=True)
class Screened:
    """A proposal's verdict: what would be trained, under which key, or which screen rejected it and why."""

    expression: Expression
    signature: str | None
    rejected_by: Screen | None
    reason: str


class Screener:
    """Screens canonical forms and remembers what it found of each, which depends on the form alone.

    So a verdict depends on the form and on what is trained already, never on what else was asked or remembered, nor
    on how many forms (``remembered``) are.
    """

    def __init__(self, settings: ScreenSettings, remembered: int = REMEMBERED) -> None:
        self.settings = settings
        self.remembered = remembered
        self._memory: dict[str, Findings] = {}
        self._signs: dict[str, int] = {}

    def __call__(self, expression: Expression) -> Screened:
        """Screen one proposal; see `screen`."""
        return self.screen([expression])[0]

    def screen(
        self, expressions: Sequence[Expression], trained: Mapping[str, Expression] | None = None
    ) -> list[Screened]:
        """Screen proposals. What comes back has its constants folded; where only -f descends, it is -f.

        ``trained`` are losses that are trained or about to be, by signature: a proposal with such a signature passes
        without a descent, with the sign of the loss that it repeats.
        """
        trained = trained or {}
        folded = [fold_constants(expression) for expression in expressions]
        texts = self._probe(folded)
        # Those of one signature wait for the first of them: if it passes, they repeat it.
        first: dict[str, str] = {}
        for text in texts:
            signature = self._memory[text].signature
            if signature is not None and signature.key not in trained:
                first.setdefault(signature.key, text)
        self._descend(first.values())
        leaders = {key: text for key, text in first.items() if self._passed(text) and not self.settings.keep_scale}
        self._descend(text for text in texts if self._key(text) in first and self._key(text) not in leaders)
        answers = [
            self._answer(expression, text, trained, leaders) for expression, text in zip(folded, texts, strict=True)
        ]
        _forget(self._memory, self.remembered)
        _forget(self._signs, self.remembered)
        return answers

    def _probe(self, folded: Sequence[Expression]) -> list[str]:
        """Canonical texts, each with what the probe finds in the memory."""
        forms: dict[str, Expression] = {}
        texts = []
        for expression in folded:
            form, text = canonical_form_and_text(expression)
            texts.append(text)
            if text in self._memory:
                self._memory[text] = self._memory.pop(text)  # the latest again
            else:
                forms[text] = form
        self._memory.update(zip(forms, probe(list(forms.values()), self.settings), strict=True))
        return texts

    def _descend(self, texts: Iterable[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if self._memory[text].descent is None]
        found = descended([self._memory[text] for text in missing], self.settings)
        self._memory.update(zip(missing, found, strict=True))

    def _key(self, text: str) -> str:
        signature = self._memory[text].signature
        return "" if signature is None else signature.key

    def _passed(self, text: str) -> bool:
        descent = self._memory[text].descent
        return descent is not None and descent.passed

    def _answer(
        self, expression: Expression, text: str, trained: Mapping[str, Expression], leaders: Mapping[str, str]
    ) -> Screened:
        found, key = self._memory[text], self._key(text)
        if found.signature is not None and (key in trained or leaders.get(key, text) != text):
            # It repeats a loss, and has the sign under which that one is trained.
            wanted = self._sign(key, trained) if key in trained else self._leading_sign(leaders[key])
            return Screened(expression if found.signature.sign == wanted else negated(expression), key, None, "")
        said = verdict(found, self.settings)
        return Screened(
            negated(expression) if said.flipped else expression, said.signature, said.rejected_by, said.reason
        )

    def _leading_sign(self, text: str) -> int:
        found = self._memory[text]
        assert found.signature is not None
        assert found.descent is not None
        return -found.signature.sign if found.descent.flipped else found.signature.sign

    def _sign(self, key: str, trained: Mapping[str, Expression]) -> int:
        if key not in self._signs:
            (signature,) = signatures(Interpreter([canonical_form(trained[key])]), keep_scale=self.settings.keep_scale)
            self._signs[key] = 1 if signature is None else signature.sign
        return self._signs[key]


def _forget(memory: dict[str, Any], remembered: int) -> None:
    """Drop the oldest entries beyond so many."""
    for name in list(islice(memory, max(0, len(memory) - remembered))):
        del memory[name]
