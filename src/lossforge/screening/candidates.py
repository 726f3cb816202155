"""Screening of formulas and of sums of named losses, side by side.

A sum that is one formula is screened as that formula; one with terms that count over a batch is asked the same
questions by autograd, once a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lossforge.expression.canonical import fold_constants
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression
from lossforge.losses.candidates import Candidate
from lossforge.losses.compiled import LossSpec
from lossforge.losses.fusions import Fusion, Part
from lossforge.losses.library import sum_spec
from lossforge.losses.term_signature import term_key
from lossforge.screening.screener import Begun, Screener
from lossforge.screening.settings import Screen, ScreenSettings
from lossforge.screening.terms import screen_term


@dataclass(frozen=True, slots=True)
class Judgement:
    """A proposal's verdict: what would be trained, under which key, or which screen rejected it and why."""

    expression: Candidate
    signature: str | None
    rejected_by: Screen | None
    reason: str


@dataclass(frozen=True, slots=True)
class Lot:
    """Proposals on their way; ``specs`` are those of sums (None: a formula), ``begun`` all that is a formula."""

    candidates: list[Candidate]
    specs: list[LossSpec | None]
    begun: Begun


class CandidateScreener:
    """A screener for formulas and sums; see `Screener`. What it says of a sum depends on the sum alone."""

    def __init__(self, screener: Screener) -> None:
        self._screener = screener
        self._of_terms: dict[str, tuple[Screen | None, str]] = {}

    @property
    def settings(self) -> ScreenSettings:
        """The screens' thresholds."""
        return self._screener.settings

    @property
    def ahead(self) -> int:
        """How many lots of proposals should be begun before the first of them is finished."""
        return self._screener.ahead

    def begin(self, candidates: Sequence[Candidate]) -> Lot:
        """Let helpers find out what is not known of these proposals."""
        specs = [sum_spec(one, head=self.settings.head) if isinstance(one, Fusion) else None for one in candidates]
        formulas = [_formula(one, spec) for one, spec in zip(candidates, specs, strict=True)]
        return Lot(list(candidates), specs, self._screener.begin([one for one in formulas if one is not None]))

    def drop(self, lot: Lot) -> None:
        """Nobody wants to know of these proposals any more."""
        self._screener.drop(lot.begun)

    def finish(self, lot: Lot, trained: Mapping[str, Candidate]) -> list[Judgement]:
        """Verdicts on a lot; ``trained`` are losses that are trained or about to be, by key."""
        formulas = iter(self._screener.finish(lot.begun, _Formulas(trained, self.settings.head)))
        found = []
        for candidate, spec in zip(lot.candidates, lot.specs, strict=True):
            if spec is not None and spec.is_term:
                found.append(self._term(candidate, spec, trained))
                continue
            said = next(formulas)
            chosen: Candidate = said.expression
            if isinstance(candidate, Fusion):
                whole = _formula(candidate, spec)
                assert whole is not None
                turned = said.expression != fold_constants(whole)
                chosen = _negated(candidate) if turned else candidate
            found.append(Judgement(chosen, said.signature, said.rejected_by, said.reason))
        return found

    def _term(self, candidate: Candidate, spec: LossSpec, trained: Mapping[str, Candidate]) -> Judgement:
        key = term_key(spec, keep_scale=self.settings.keep_scale, head=self.settings.head)
        if key is None:
            return Judgement(candidate, None, Screen.PROBE, "the gradient is zero or not finite")
        if key in trained:
            return Judgement(candidate, key, None, "")
        if key not in self._of_terms:
            self._of_terms[key] = screen_term(spec, self.settings)
        return Judgement(candidate, key, *self._of_terms[key])


def _formula(candidate: Candidate, spec: LossSpec | None) -> Expression | None:
    """The formula that a candidate is; None of a sum with terms."""
    if isinstance(candidate, Expression):
        return candidate
    assert spec is not None
    return None if spec.is_term else parse_formula(spec.formula)


def _negated(fusion: Fusion) -> Fusion:
    return Fusion(tuple(Part(-part.weight, part.loss) for part in fusion.parts))


class _Formulas(Mapping[str, Expression]):
    """The same losses, each as the formula that it is. Those with terms are not asked for."""

    def __init__(self, trained: Mapping[str, Candidate], head: str) -> None:
        self._trained, self._head = trained, head

    def __contains__(self, key: object) -> bool:
        return key in self._trained

    def __getitem__(self, key: str) -> Expression:
        known = self._trained[key]
        return known if isinstance(known, Expression) else parse_formula(sum_spec(known, head=self._head).formula)

    def __iter__(self) -> Iterator[str]:
        return iter(self._trained)

    def __len__(self) -> int:
        return len(self._trained)
