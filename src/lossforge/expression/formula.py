"""Formulas as people write them: a parser of our own; nothing is evaluated.

Grammar, loosest first: ``+ -``, ``* /``, unary ``-``, ``**``. A minus straight before a number that is
not raised to a power belongs to the number. ``x**2`` is square, ``x**0.5`` is sqrt; other constant
exponents are written out with the primitives (``x**3`` is ``x**2 * x``, ``x**0.7`` is ``exp(0.7 * log(x))``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lossforge.errors import FormulaError, offered
from lossforge.expression.tree import CONSTANT, Expression, call, constant, format_formula, leaf
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

MAX_CHARACTERS = 100_000
MAX_NESTING = 100
MAX_NODES = 2_000

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<symbol>\*\*|[-+*/^(),]))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise FormulaError(
                f"formula {_shown(text)}: unexpected character {text[start]!r} at position {start + 1}; "
                "a formula has numbers, names, + - * / ** and parentheses"
            )
        kind = match.lastgroup or ""
        found.append(_Token(kind, match.group(kind), match.start(kind)))
        position = match.end()
    found.append(_Token("end", "", len(text)))
    return found


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.index = 0
        self.nesting = 0
        self.nodes = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def error(self, message: str, token: _Token | None = None) -> FormulaError:
        at = (token or self.token).position + 1
        return FormulaError(f"formula {_shown(self.text)}: {message} at position {at}")

    def accept(self, *symbols: str) -> str | None:
        if self.token.kind == "symbol" and self.token.text in symbols:
            self.index += 1
            return self.tokens[self.index - 1].text
        return None

    def expect(self, symbol: str) -> None:
        if self.accept(symbol) is None:
            found = f"'{self.token.text}'" if self.token.text else "the end"
            raise self.error(f"expected '{symbol}', found {found}")

    def deeper(self) -> None:
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.error(f"nested deeper than {MAX_NESTING} levels; write it flatter")

    def made(self, node: Expression) -> Expression:
        if node.size > MAX_NODES or node.height > MAX_NESTING * 2:
            raise self.error(f"more than {MAX_NODES} nodes or {MAX_NESTING * 2} levels; write it shorter")
        return node

    def sum(self) -> Expression:
        node = self.product()
        while symbol := self.accept("+", "-"):
            node = self.made(call("add" if symbol == "+" else "sub", node, self.product()))
        return node

    def product(self) -> Expression:
        node = self.unary()
        while symbol := self.accept("*", "/"):
            node = self.made(call("mul" if symbol == "*" else "div", node, self.unary()))
        return node

    def unary(self) -> Expression:
        if self.accept("+"):
            return self.nested_unary()
        if self.accept("-"):
            following = self.tokens[self.index + 1] if self.index + 1 < len(self.tokens) else self.token
            if self.token.kind == "number" and following.text not in ("**", "^"):
                return constant(-self.number())
            return self.made(call("neg", self.nested_unary()))
        return self.power()

    def nested_unary(self) -> Expression:
        self.deeper()
        node = self.unary()
        self.nesting -= 1
        return node

    def power(self) -> Expression:
        node = self.atom()
        if self.accept("**", "^"):
            token = self.token
            node = self.made(self.raised(node, self.nested_unary(), token))
        return node

    def raised(self, base: Expression, exponent: Expression, token: _Token) -> Expression:
        if exponent.op != CONSTANT:
            raise self.error("an exponent must be a number; write exp(y * log(x)) for x**y", token)
        value = exponent.value
        if value == 2:
            return call("square", base)
        if value == 0.5:
            return call("sqrt", base)
        if value == 1:
            return base
        if value in (3, 4):
            square = call("square", base)
            return call("square", square) if value == 4 else call("mul", square, base)
        if value == -1:
            return call("div", constant(1), base)
        return call("exp", call("mul", constant(value), call("log", base)))

    def number(self) -> float:
        token = self.token
        self.index += 1
        try:
            return constant(float(token.text)).value
        except FormulaError as error:
            raise self.error(str(error), token) from None

    def atom(self) -> Expression:
        token = self.token
        if token.kind == "number":
            return constant(self.number())
        if token.kind == "name":
            return self.named()
        if self.accept("("):
            self.deeper()
            node = self.sum()
            self.expect(")")
            self.nesting -= 1
            return node
        found = f"'{token.text}'" if token.text else "the end"
        raise self.error(f"expected a number, a name or '(', found {found}")

    def named(self) -> Expression:
        token = self.token
        self.index += 1
        if token.text in EVERY_LEAF:
            return leaf(token.text)
        primitive = OPERATIONS.get(token.text)
        if primitive is None:
            name = token.text if len(token.text) <= 40 else token.text[:37] + "..."
            others = offered(name, [*EVERY_LEAF, *OPERATIONS])
            raise FormulaError(
                f"formula {_shown(self.text)}: unknown name '{name}' at position {token.position + 1}{others}"
            )
        self.expect("(")
        self.deeper()
        args = [self.sum()]
        while self.accept(","):
            args.append(self.sum())
        self.expect(")")
        self.nesting -= 1
        if len(args) != primitive.arity:
            raise self.error(f"'{token.text}' takes {primitive.arity} argument(s), not {len(args)}", token)
        return self.made(call(token.text, *args))


def parse_formula(text: str) -> Expression:
    """Read a formula. Raises FormulaError, with the position, for anything that is not one."""
    if not text.strip():
        raise FormulaError("the formula is empty; write one such as -y_true * log(y_pred)")
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    parser = _Parser(text)
    node = parser.sum()
    if parser.token.kind != "end":
        raise parser.error(f"unexpected '{parser.token.text[:40]}'")
    if node.height > MAX_NESTING // 2:
        # Printed, it may be nested deeper than it was read: x**4 is two squares.
        _Parser(format_formula(node)).sum()
    return node
