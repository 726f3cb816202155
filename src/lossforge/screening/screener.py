"""The funnel with a memory: one descent a canonical form, and none for what is known to be trained already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from lossforge.expression.canonical import canonical_form, canonical_form_and_text, fold_constants
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import signatures
from lossforge.expression.tree import Expression
from lossforge.screening.funnel import Findings, descended, findings_of, negated, verdict
from lossforge.screening.settings import Screen, ScreenSettings

if TYPE_CHECKING:
    from lossforge.screening.helpers import Helpers

REMEMBERED = 10_000
"""Forms that are remembered, the latest asked about: offspring are like their parents, seldom like their ancestors."""


@dataclass(frozen=True, slots=True)
class Screened:
    """A proposal's verdict: what would be trained, under which key, or which screen rejected it and why."""

    expression: Expression
    signature: str | None
    rejected_by: Screen | None
    reason: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Proposals on their way: with constants folded, in canonical form and as its text; ``asked`` are those texts of
    which helpers were asked what to think, to be told in ``told``.
    """

    folded: list[Expression]
    forms: list[Expression]
    texts: list[str]
    asked: list[str] = field(default_factory=list)
    told: Future[Any] | None = None


class Screener:
    """Screens canonical forms and remembers what it found of each, which depends on the form alone.

    So a verdict depends on the form and on what is trained already, never on what else was asked or remembered, nor
    on how many forms (``remembered``) are, nor on who found it out: this process, or its ``helpers``.
    """

    def __init__(self, settings: ScreenSettings, remembered: int = REMEMBERED, helpers: Helpers | None = None) -> None:
        self.settings = settings
        self.remembered = remembered
        self._helpers = helpers
        self._coming: set[str] = set()
        self._memory: dict[str, Findings] = {}
        self._signs: dict[str, int] = {}

    def __call__(self, expression: Expression) -> Screened:
        """Screen one proposal; see `screen`."""
        return self.screen([expression])[0]

    def screen(
        self, expressions: Sequence[Expression], trained: Mapping[str, Expression] | None = None
    ) -> list[Screened]:
        """Screen proposals: `begin` and `finish` in one."""
        return self.finish(self.begin(expressions), trained)

    @property
    def ahead(self) -> int:
        """How many lots of proposals should be begun before the first of them is finished."""
        return 0 if self._helpers is None else 8 * self._helpers.count

    def begin(self, expressions: Sequence[Expression]) -> Begun:
        """Let the helpers, if there are any, find out what is not known of these proposals."""
        folded = [fold_constants(expression) for expression in expressions]
        forms, texts = [], []
        for expression in folded:
            form, text = canonical_form_and_text(expression)
            forms.append(form)
            texts.append(text)
        begun = Begun(folded, forms, texts)
        if self._helpers is None:
            return begun
        new = {
            text: form
            for form, text in zip(forms, texts, strict=True)
            if text not in self._memory and text not in self._coming
        }
        if not new:
            return begun
        try:
            told = self._helpers.find(list(new.values()))
        except RuntimeError:  # they are gone, or the search ends
            self._helpers = None
            return begun
        self._coming |= new.keys()
        return Begun(folded, forms, texts, list(new), told)

    def drop(self, begun: Begun) -> None:
        """Nobody wants to know of these proposals any more."""
        self._coming -= set(begun.asked)
        if begun.told is not None:
            begun.told.cancel()

    def finish(self, begun: Begun, trained: Mapping[str, Expression] | None = None) -> list[Screened]:
        """Screen proposals. What comes back has its constants folded; where only -f descends, it is -f.

        ``trained`` are losses that are trained or about to be, by signature: a proposal with such a signature passes
        without a descent, with the sign of the loss that it repeats.
        """
        trained = {} if trained is None else trained
        folded, texts = begun.folded, begun.texts
        self._told(begun)
        self._probe(begun)
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

    def _told(self, begun: Begun) -> None:
        """Take what the helpers found into the memory."""
        self._coming -= set(begun.asked)
        if begun.told is None:
            return
        from lossforge.screening.helpers import findings

        of = dict(zip(begun.texts, begun.forms, strict=True))
        try:
            plain = begun.told.result()
        except (RuntimeError, CancelledError):  # a helper died: they are all gone, and this process finds out itself
            self._helpers = None
            return
        self._memory.update(zip(begun.asked, findings([of[text] for text in begun.asked], plain), strict=True))

    def _probe(self, begun: Begun) -> None:
        """See to it that there is something in the memory of each proposal."""
        forms: dict[str, Expression] = {}
        for form, text in zip(begun.forms, begun.texts, strict=True):
            if text in self._memory:
                self._memory[text] = self._memory.pop(text)  # the latest again
            else:
                forms[text] = form
        self._memory.update(zip(forms, findings_of(list(forms.values()), self.settings), strict=True))

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
            losses = Interpreter([canonical_form(trained[key])], head=self.settings.head)
            (signature,) = signatures(losses, keep_scale=self.settings.keep_scale)
            self._signs[key] = 1 if signature is None else signature.sign
        return self._signs[key]


def _forget(memory: dict[str, Any], remembered: int) -> None:
    """Drop the oldest entries beyond so many."""
    for name in list(islice(memory, max(0, len(memory) - remembered))):
        del memory[name]
