"""Sums of losses as people write them: ``focal + 0.5 * dice(e=1)``. Named losses, and formulas, with weights.

What is read is linear: a loss is added, subtracted, and multiplied or divided by a number. Anything else, such as
``exp(dice(e=1))``, is no loss of a batch, and is refused with a sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from lossforge.errors import FormulaError, LossError
from lossforge.expression.canonical import fold_constants
from lossforge.expression.formula import defined, parse_formula
from lossforge.expression.parser import Token, shown, tokens_of
from lossforge.expression.tree import CONSTANT, WHERE, Definition, Expression, format_formula, format_number
from lossforge.losses.weighting_rules import Weighting, parse_weighting

_EXAMPLE = "such as focal + 0.5 * dice(e=1)"
_ARGUMENT = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*([-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII)
_PARAMETERS = "with its parameters by name, such as tversky(a=0.3, b=0.7)"
_HEAD = re.compile(r"\s*([A-Za-z_]\w*)\s*\(", re.ASCII)
_MOST = 100
"""Parts of a sum, at most; brackets within brackets too."""


@dataclass(frozen=True, slots=True)
class Call:
    """A loss by its name, with parameters; ``str`` gives the text of the call."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        written = ", ".join(f"{name}={value!r}" for name, value in self.parameters)
        return f"{self.name}({written})" if written else self.name


@dataclass(frozen=True, slots=True)
class Part:
    """One loss of a sum, and its weight, which is a finite number other than 0."""

    weight: float
    loss: Expression | Call

    def __str__(self) -> str:
        text = str(self.loss) if isinstance(self.loss, Call) else format_formula(self.loss).partition(WHERE)[0]
        if self.weight == 1:
            return text
        # A formula in brackets is one factor, whatever it is made of.
        return f"{format_number(self.weight)} * {text if isinstance(self.loss, Call) else f'({text})'}"


@dataclass(frozen=True, slots=True)
class Fusion:
    """A weighted sum of losses, in the order written; ``str`` gives text that `parse_fusion` reads back."""

    parts: tuple[Part, ...]
    weighting: Weighting | None = None
    """What changes the weights in the course of a training; None: nothing does."""

    def __str__(self) -> str:
        if self.weighting is not None:
            return self.weighting.around([str(Fusion(self.parts))])
        written = [_signed(part, first=place == 0) for place, part in enumerate(self.parts)]
        own: dict[str, Definition] = {}
        for part in self.parts:
            if isinstance(part.loss, Expression):
                own |= {one.name: one for one in part.loss.definitions()}
        behind = WHERE + "; ".join(str(own[name]) for name in sorted(own)) if own else ""
        return "".join(written) + behind

    @property
    def size(self) -> int:
        """What counts as its size where nodes of a formula do: a name is a leaf, weights that are learned one node."""
        nodes = sum(1 if isinstance(part.loss, Call) else part.loss.size for part in self.parts)
        return nodes + 2 * sum(part.weight != 1 for part in self.parts) + len(self.parts) - 1 + bool(self.weighting)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The named losses, in order."""
        return tuple(part.loss for part in self.parts if isinstance(part.loss, Call))


def _signed(part: Part, *, first: bool) -> str:
    if first:
        return str(part)
    return f" + {part}" if part.weight > 0 else f" - {Part(-part.weight, part.loss)}"


def fused(parts: Collection[Part]) -> Fusion:
    """The sum, with equal named losses taken together. Raises LossError where nothing is left of it."""
    weights: dict[Expression | Call | int, tuple[Expression | Call, float]] = {}
    for place, part in enumerate(parts):
        key = part.loss if isinstance(part.loss, Call) else place
        weights[key] = part.loss, weights.get(key, (part.loss, 0.0))[1] + part.weight
    kept = tuple(Part(weight, loss) for loss, weight in weights.values() if weight != 0)
    if not kept:
        raise LossError("nothing is left of the sum: its weights are 0, or its losses cancel each other")
    if not all(math.isfinite(part.weight) for part in kept):
        raise LossError("the weight of a loss in a sum must be a finite number")
    return Fusion(kept)


def names_in(text: str, known: Collection[str]) -> bool:
    """Whether a name of ``known`` occurs that is not an operation of the user's own, told behind ``where``."""
    body, _, behind = text.partition(WHERE)
    # What is written as a parameter of a call, as b in tversky(b=1), is no loss.
    found = {match.group() for match in re.finditer(r"[A-Za-z_]\w*(?!\w|\s*=)", body, re.ASCII)} & set(known)
    return bool(found) and bool(found - set(re.findall(r"([A-Za-z_]\w*)\s*\([xy, ]*\)\s*=", behind, re.ASCII)))


def is_one_call(text: str) -> bool:
    """Whether a text is one call, or begins as one and never ends."""
    if _HEAD.match(text) is None:
        return False
    depth, body = 0, text.rstrip()
    for place, character in enumerate(body):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and character == ")":
            return place == len(body) - 1
    return True


@lru_cache(maxsize=4096)
def parse_fusion(text: str, known: frozenset[str]) -> Fusion | None:
    """Read a sum in which names of ``known`` occur; None where none does, which is a formula.

    Around it a rule for its weights may stand, as in ``uncertainty(focal + dice)``; see `Weighting`.

    Raises LossError or FormulaError for a sum that cannot be read. Parameters are those that are written.

    >>> str(parse_fusion("focal + 0.5 * (dice(e=1) + y_true * y_pred)", frozenset({"focal", "dice"})))
    'focal + 0.5 * dice(e=1.0) + 0.5 * (y_true * y_pred)'
    """
    if not names_in(text, known):
        return None
    weighted = parse_weighting(text)
    if weighted is not None:
        return _weighted(text, *weighted, known)
    body, _, behind = text.partition(WHERE)
    own = defined(text, tokens_of(behind), {}) if behind else {}
    names = frozenset(name for name in known if name not in own)
    reader = _Reader(body, names, own)
    return fused(reader.sum([token for token in tokens_of(body) if token.kind != "end"]))


def _weighted(text: str, weighting: Weighting, inside: tuple[str, ...], known: frozenset[str]) -> Fusion:
    """A sum whose weights change. Raises LossError where that cannot be."""
    found = parse_fusion(inside[0], known) if len(inside) == 1 else None
    if found is None or found.weighting is not None:
        raise LossError(f"loss {shown(text)}: {weighting.method} takes one sum of losses, {_EXAMPLE}")
    if len(found.parts) < 2:
        raise LossError(f"loss {shown(text)}: {weighting.method} weighs losses against each other; add two or more")
    return replace(found, weighting=weighting)


class _Reader:
    """Reads tokens of a text, from the loosest operator to the tightest."""

    def __init__(self, text: str, names: frozenset[str], own: Mapping[str, Definition]) -> None:
        self.text, self.names, self.own = text, names, own
        self.depth = 0

    def sum(self, tokens: list[Token], weight: float = 1.0) -> list[Part]:
        """The parts of what stands in these tokens, times ``weight``."""
        self.depth += 1
        if self.depth > _MOST:
            raise LossError(f"loss {shown(self.text)}: nested deeper than {_MOST} levels; write it flatter")
        try:
            return self._sum(tokens, weight)
        finally:
            self.depth -= 1

    def _sum(self, tokens: list[Token], weight: float) -> list[Part]:
        if not any(self._names(token) for token in tokens):
            return [Part(weight, self._formula(tokens))]
        places = _at_top(tokens, "+", "-")
        if places:
            return self._summands(tokens, places, weight)
        if tokens[0].text in ("+", "-"):
            return self.sum(tokens[1:], -weight if tokens[0].text == "-" else weight)
        factors = _at_top(tokens, "*", "/")
        if factors:
            return self._product(tokens, factors, weight)
        if tokens[0].text == "(" and _closing(tokens, 0) == len(tokens) - 1:
            return self.sum(tokens[1:-1], weight)
        if self._names(tokens[0]) and (len(tokens) == 1 or _closing(tokens, 1) == len(tokens) - 1):
            begin, last = tokens[0].position, tokens[-1]
            text = self.text[begin : last.position + len(last.text)]
            return [Part(weight, Call(tokens[0].text, tuple(call_parameters(text).items()) if len(tokens) > 1 else ()))]
        raise self._error(tokens)

    def _summands(self, tokens: list[Token], places: list[int], weight: float) -> list[Part]:
        ends = [*places, len(tokens)]
        parts = self.sum(tokens[: ends[0]], weight)
        plain: list[Part] = []
        for begin, end in zip(places, ends[1:], strict=True):
            sign = -weight if tokens[begin].text == "-" else weight
            if end == begin + 1:
                raise self._error(tokens)
            plain += self.sum(tokens[begin + 1 : end], sign)
        return [*parts, *plain]

    def _product(self, tokens: list[Token], places: list[int], weight: float) -> list[Part]:
        ends = [*places, len(tokens)]
        pieces = [("*", tokens[: places[0]])]
        pieces += [(tokens[begin].text, tokens[begin + 1 : end]) for begin, end in zip(places, ends[1:], strict=True)]
        losses = [place for place, (_, piece) in enumerate(pieces) if any(self._names(token) for token in piece)]
        if len(losses) != 1 or pieces[losses[0]][0] == "/" or not all(piece for _, piece in pieces):
            raise self._error(tokens)
        for place, (symbol, piece) in enumerate(pieces):
            if place != losses[0]:
                number = self._number(piece, tokens)
                if symbol == "/" and number == 0:
                    raise LossError(f"loss {shown(self.text)}: a loss cannot be divided by 0")
                weight = weight / number if symbol == "/" else weight * number
        return self.sum(pieces[losses[0]][1], weight)

    def _number(self, tokens: list[Token], whole: list[Token]) -> float:
        folded = fold_constants(self._formula(tokens))
        if folded.op != CONSTANT:
            raise self._error(whole)
        return folded.value

    def _formula(self, tokens: list[Token]) -> Expression:
        if not tokens:
            raise FormulaError(f"loss {shown(self.text)}: something is missing; write a sum {_EXAMPLE}")
        last = tokens[-1]
        return parse_formula(self.text[tokens[0].position : last.position + len(last.text)], self.own)

    def _names(self, token: Token) -> bool:
        return token.kind == "name" and token.text in self.names

    def _error(self, tokens: list[Token]) -> LossError:
        name = next(token.text for token in tokens if self._names(token))
        return LossError(
            f"loss {shown(self.text)}: a named loss is added to others and multiplied by a number, {_EXAMPLE}; "
            f"'{name}' stands in another place"
        )


def _at_top(tokens: list[Token], *symbols: str) -> list[int]:
    """Places of these operators between two operands, in no brackets."""
    found, depth = [], 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        before = tokens[place - 1] if place else None
        signed = before is None or (before.kind == "symbol" and before.text != ")")
        if depth == 0 and token.text in symbols and not signed:
            found.append(place)
    return found


def _closing(tokens: list[Token], place: int) -> int:
    """Where the bracket that opens at ``place`` is closed; -1 where none opens there, or it is not."""
    if tokens[place].text != "(":
        return -1
    depth = 0
    for end in range(place, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[end].text, 0)
        if depth == 0:
            return end
    return -1


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
        raise LossError(f"loss '{name}' is written as a call that stands alone, {_PARAMETERS}")
    found: dict[str, float] = {}
    inside = body[head.end() : -1]
    for part in inside.split(",") if inside.strip() else []:
        argument = _ARGUMENT.fullmatch(part)
        if argument is None:
            raise LossError(
                f"loss '{name}' is written as a call that stands alone, {_PARAMETERS}; {part.strip()[:40]!r} does "
                "not fit"
            )
        parameter, value = argument.group(1), float(argument.group(2))
        if parameter in found:
            raise LossError(f"loss '{name}': {parameter} is given twice")
        if not math.isfinite(value):
            raise LossError(f"loss '{name}': {parameter} must be a finite number, not {argument.group(2)}")
        found[parameter] = value
    return found
