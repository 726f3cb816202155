"""A parser of our own for formulas; nothing is evaluated.

Grammar, loosest first: ``+ -``, ``* /``, unary ``-``, ``**``. A minus straight before a number that is
not raised to a power belongs to the number. ``x**2`` is square, ``x**0.5`` is sqrt; other constant
exponents are written out with the primitives (``x**3`` is ``x**2 * x``, ``x**0.7`` is ``exp(0.7 * log(x))``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lossforge.errors import FormulaError, offered
from lossforge.expression.tree import (
    CONSTANT,
    PARAMETER,
    PARAMETERS,
    Definition,
    Expression,
    call,
    constant,
    leaf,
)
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

MAX_CHARACTERS = 100_000
MAX_NESTING = 100
MAX_NODES = 2_000

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<symbol>\*\*|[-+*/^(),=;]))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A number, a name or a symbol, and where it stands."""

    kind: str
    text: str
    position: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, with one for its end. Raises FormulaError for a character that is none."""
    found: list[Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            raise FormulaError(
                f"formula {shown(text)}: unexpected character {text[start]!r} at position {start + 1}; "
                "a formula has numbers, names, + - * / ** and parentheses"
            )
        kind = match.lastgroup or ""
        found.append(Token(kind, match.group(kind), match.start(kind)))
        position = match.end()
    found.append(Token("end", "", len(text)))
    return found


def shown(text: str) -> str:
    """A text as an error names it."""
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Parser:
    """Reads tokens of a text; ``own`` are the user's operations, ``parameters`` how many of x and y may occur."""

    def __init__(
        self, text: str, tokens: list[Token], own: Mapping[str, Definition] | None = None, parameters: int = 0
    ) -> None:
        self.text = text
        self.tokens = tokens
        self.own = own or {}
        self.parameters = PARAMETERS[:parameters]
        self.index = 0
        self.nesting = 0
        self.nodes = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.index]

    def error(self, message: str, token: Token | None = None) -> FormulaError:
        """An error that says where."""
        at = (token or self.token).position + 1
        return FormulaError(f"formula {shown(self.text)}: {message} at position {at}")

    def accept(self, *symbols: str) -> str | None:
        """Take the next token if it is one of these symbols."""
        if self.token.kind == "symbol" and self.token.text in symbols:
            self.index += 1
            return self.tokens[self.index - 1].text
        return None

    def expect(self, symbol: str) -> None:
        """Take this symbol, or say what stands in its place."""
        if self.accept(symbol) is None:
            found = f"'{self.token.text}'" if self.token.text else "the end"
            raise self.error(f"expected '{symbol}', found {found}")

    def deeper(self) -> None:
        """Count a bracket."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.error(f"nested deeper than {MAX_NESTING} levels; write it flatter")

    def made(self, node: Expression) -> Expression:
        """The node itself, unless it is too large."""
        if node.plain.size > MAX_NODES or node.plain.height > MAX_NESTING * 2:
            raise self.error(f"more than {MAX_NODES} nodes or {MAX_NESTING * 2} levels; write it shorter")
        return node

    def sum(self) -> Expression:
        """Terms with plus and minus between them."""
        node = self.product()
        while symbol := self.accept("+", "-"):
            node = self.made(call("add" if symbol == "+" else "sub", node, self.product()))
        return node

    def product(self) -> Expression:
        """Factors with times and over between them."""
        node = self.unary()
        while symbol := self.accept("*", "/"):
            node = self.made(call("mul" if symbol == "*" else "div", node, self.unary()))
        return node

    def unary(self) -> Expression:
        """A sign and what it belongs to."""
        if self.accept("+"):
            return self.nested_unary()
        if self.accept("-"):
            following = self.tokens[self.index + 1] if self.index + 1 < len(self.tokens) else self.token
            if self.token.kind == "number" and following.text not in ("**", "^"):
                return constant(-self.number())
            return self.made(call("neg", self.nested_unary()))
        return self.power()

    def nested_unary(self) -> Expression:
        """The same, a level deeper."""
        self.deeper()
        node = self.unary()
        self.nesting -= 1
        return node

    def power(self) -> Expression:
        """An atom, perhaps to a power."""
        node = self.atom()
        if self.accept("**", "^"):
            token = self.token
            node = self.made(self.raised(node, self.nested_unary(), token))
        return node

    def raised(self, base: Expression, exponent: Expression, token: Token) -> Expression:
        """A base to a constant power, by the operations that there are."""
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
        """A constant."""
        token = self.token
        self.index += 1
        try:
            return constant(float(token.text)).value
        except FormulaError as error:
            raise self.error(str(error), token) from None

    def atom(self) -> Expression:
        """A number, a name, or what stands in brackets."""
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
        """A leaf, a parameter, or an operation with its arguments."""
        token = self.token
        self.index += 1
        if token.text in self.parameters:
            return Expression(PARAMETER, (), float(PARAMETERS.index(token.text)))
        if token.text in EVERY_LEAF and not self.parameters:
            return leaf(token.text)
        own = self.own.get(token.text)
        operation = own or OPERATIONS.get(token.text)
        if operation is None:
            raise self.unknown(token)
        self.expect("(")
        self.deeper()
        args = [self.sum()]
        while self.accept(","):
            args.append(self.sum())
        self.expect(")")
        self.nesting -= 1
        if len(args) != operation.arity:
            raise self.error(f"'{token.text}' takes {operation.arity} argument(s), not {len(args)}", token)
        return self.made(Expression(token.text, tuple(args), 0.0, own))

    def unknown(self, token: Token) -> FormulaError:
        """The error for a name that nothing has."""
        name = token.text if len(token.text) <= 40 else token.text[:37] + "..."
        known = [*(self.parameters or EVERY_LEAF), *self.own, *OPERATIONS]
        return FormulaError(
            f"formula {shown(self.text)}: unknown name '{name}' at position {token.position + 1}{offered(name, known)}"
        )

    def whole(self) -> Expression:
        """A formula that ends where the tokens end."""
        node = self.sum()
        if self.token.kind != "end":
            raise self.error(f"unexpected '{self.token.text[:40]}'")
        return node
