"""Formulas as people write them, and operations of their own; nothing is evaluated. The grammar: see the parser.

Operations of the user's own follow the word ``where``, with a semicolon between them:
``huber(y_true - y_pred, 0.5) where huber(x, y) = min(abs(x), y) * (abs(x) - 0.5 * min(abs(x), y))``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lossforge.errors import FormulaError
from lossforge.expression.parser import MAX_CHARACTERS, MAX_NESTING, Parser, Token, shown, tokens_of
from lossforge.expression.tree import CONSTANT, PARAMETER, PARAMETERS, WHERE, Definition, Expression, format_formula
from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS


def parse_formula(text: str, own: Mapping[str, Definition] | None = None) -> Expression:
    """Read a formula, in which operations of the user's ``own`` may occur, and such as follow its ``where``.

    Raises FormulaError, with the position, for anything that is not one.
    """
    if not text.strip():
        raise FormulaError("the formula is empty; write one such as -y_true * log(y_pred)")
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    tokens = tokens_of(text)
    at = next((place for place, token in enumerate(tokens) if token.text == "where"), None)
    if at is not None:
        tokens, behind = [*tokens[:at], Token("end", "", tokens[at].position)], tokens[at + 1 :]
        own = {**(own or {}), **defined(text, behind, own or {})}
    node = Parser(text, tokens, own).whole()
    if node.height > MAX_NESTING // 2:
        # Printed, it may be nested deeper than it was read: x**4 is two squares.
        printed = format_formula(node).partition(WHERE)[0]
        Parser(printed, tokens_of(printed), own).sum()
    return node


def defined(text: str, tokens: list[Token], own: Mapping[str, Definition]) -> dict[str, Definition]:
    """What follows ``where``: ``name(x, y) = formula; ...``."""
    bodies: dict[str, tuple[str, int, list[Token]]] = {}
    end = tokens[-1]
    piece: list[Token] = []
    for token in [*tokens[:-1], Token("symbol", ";", end.position)]:
        if token.text != ";":
            piece.append(token)
            continue
        head = [one.text for one in piece[:7]]
        arity = next((count for count, form in _HEADS.items() if head[1 : 1 + len(form)] == form), 0)
        if not piece or piece[0].kind != "name" or not arity:
            raise FormulaError(
                f"formula {shown(text)}: behind 'where' each operation is written as name(x) = formula or "
                f"name(x, y) = formula, with a semicolon between two (position {(piece or [token])[0].position + 1})"
            )
        if piece[0].text in bodies:
            raise FormulaError(f"formula {shown(text)}: '{piece[0].text}' is defined twice")
        body = [*piece[1 + len(_HEADS[arity]) :], Token("end", "", token.position)]
        second = next((one for one in body if one.text == "="), None)
        if second is not None:
            raise FormulaError(
                f"formula {shown(text)}: unexpected '=' at position {second.position + 1}; behind 'where' two "
                "operations have a semicolon between them, and no comma"
            )
        bodies[piece[0].text] = (text, arity, body)
        piece = []
    return _resolved(bodies, own)


_HEADS = {1: ["(", "x", ")", "="], 2: ["(", "x", ",", "y", ")", "="]}


def parse_definitions(table: Mapping[str, str]) -> dict[str, Definition]:
    """Operations of the user's own, by name: formulas in ``x``, or in ``x`` and ``y``, that may use each other.

    Raises FormulaError, in one sentence that begins with the name, for a formula that cannot be read, an unknown name,
    a circle, or a name that something else has.

    >>> str(parse_definitions({"inv": "1 / x"})["inv"])
    'inv(x) = 1 / x'
    """
    bodies = {}
    for name, text in table.items():
        try:
            tokens = tokens_of(text)
        except FormulaError as error:
            raise FormulaError(f"{name}: {error}") from None
        arity = 2 if any(token.text == "y" for token in tokens) else 1
        bodies[name] = (text, arity, tokens)
    return _resolved(bodies, {})


_RESERVED = frozenset({*OPERATIONS, *EVERY_LEAF, *PARAMETERS, CONSTANT, PARAMETER, "where"})


def _resolved(
    bodies: Mapping[str, tuple[str, int, list[Token]]], own: Mapping[str, Definition]
) -> dict[str, Definition]:
    found: dict[str, Definition] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in found:
            return
        if name in above:
            circle = " -> ".join([*above[above.index(name) :], name])
            raise FormulaError(f"{name}: it is defined by itself ({circle}); an operation is made of others")
        text, arity, tokens = bodies[name]
        for token in tokens:
            if token.text in bodies:
                visit(token.text, (*above, name))
        try:
            body = Parser(text, tokens, {**own, **found}, arity).whole()
        except FormulaError as error:
            raise FormulaError(f"{name}: {error}") from None
        if not any(node.op == PARAMETER and node.value == 0 for node in body.walk()):
            raise FormulaError(f"{name}: {shown(text)} does not use x; an operation is a formula in x, or in x and y")
        found[name] = Definition(name, arity, body)

    for name in bodies:
        _check_name(name)
        visit(name, ())
    return found


def _check_name(name: str) -> None:
    if name in _RESERVED:
        kind = "a leaf" if name in EVERY_LEAF else "an operation" if name in OPERATIONS else "a word of formulas"
        raise FormulaError(f"{name}: is {kind} already; choose another name")
    if not re.fullmatch(r"[A-Za-z_]\w{0,39}", name, re.ASCII):
        raise FormulaError(f"{name[:60]!r} is no name; use letters, digits and _ (at most 40)")
