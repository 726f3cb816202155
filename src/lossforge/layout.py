"""Tables of plain text that fit a width: columns where there is room, a block for each row where there is not.

Nothing is broken but at spaces, and a formula without any after an opening bracket: numbers, names and operands stay
whole, and a line that cannot be broken is longer than the width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["", "bold", "dim"]
Line = list[tuple[str, Style]]
"""Pieces of one line, each with its style."""

_GAP = 2
_LEAST = {"text": 24, "formula": 40}
"""Characters from which on a column of that kind is worth having."""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and what stands below it: numbers and words are never broken, text and formulas are at spaces."""

    heading: str
    kind: Literal["word", "text", "formula"] = "word"


def wrapped(text: str, width: int) -> list[str]:
    """Lines of up to ``width`` characters, broken at spaces; what is longer is broken after an opening bracket.

    >>> wrapped("-y_true * log(y_pred)", 12)
    ['-y_true *', 'log(y_pred)']
    >>> wrapped("sin(exp(y_pred))", 12)
    ['sin(exp(', 'y_pred))']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += _broken(word, width)
    return lines or [""]


def _broken(word: str, width: int) -> list[str]:
    """A word in as few lines as it takes, broken after brackets only."""
    lines: list[str] = []
    for piece in re.findall(r"[^(]*\(+|[^(]+", word) if len(word) > width else [word]:
        if lines and len(lines[-1]) + len(piece) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return lines


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    """Lines of a table: with all columns beside one another; or formulas on lines of their own; or in blocks."""
    widths = _widths(columns, rows, width)
    if widths is not None:
        return _beside(columns, rows, widths)
    places = [place for place, column in enumerate(columns) if column.kind == "formula"]
    others = [column for column in columns if column.kind != "formula"]
    apart = [[cell for place, cell in enumerate(row) if place not in places] for row in rows]
    widths = _widths(others, apart, width) if places else None
    if widths is None:
        return _blocks(columns, rows, width)
    indent = widths[0] + _GAP
    lines = _beside(others, [], widths) + [[(" " * indent + columns[place].heading, "bold")] for place in places]
    for row, rest in zip(rows, apart, strict=True):
        lines += _beside(others, [rest], widths)[1:]
        lines += [[(" " * indent + part, "")] for place in places for part in wrapped(row[place], width - indent)]
    return lines


def grouped(columns: Sequence[Column], groups: Mapping[str, Sequence[Sequence[str]]], width: int) -> list[Line]:
    """Lines of a table whose rows stand below the name of their group, a word or a text, in columns of one width."""
    widths = _widths(columns, [row for rows in groups.values() for row in rows], width)
    lines = [] if widths is None else _beside(columns, [], widths)
    for name, rows in groups.items():
        lines.append([])
        lines += [[(part, "bold")] for part in wrapped(name, width)]
        lines += _blocks(columns, rows, width) if widths is None else _beside(columns, rows, widths)[1:]
    return lines if widths is not None else lines[1:]


def facts(rows: Sequence[tuple[str, str]], width: int) -> list[Line]:
    """Names and what is told of each, in two columns."""
    indent = max((len(name) for name, _ in rows), default=0) + _GAP
    lines: list[Line] = []
    for name, value in rows:
        first, *further = wrapped(value, width - indent)
        lines.append([(name.ljust(indent), "bold"), (first, "")])
        lines += [[(" " * indent + part, "")] for part in further]
    return lines


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Width of each column; None where they do not fit."""
    natural = [max(len(cell) for cell in cells) for cells in _cells(columns, rows)]
    least = [
        size if column.kind == "word" else max(len(column.heading), min(size, _LEAST[column.kind]), _longest(cells))
        for column, size, cells in zip(columns, natural, _cells(columns, rows), strict=True)
    ]
    spare = width - sum(least) - _GAP * (len(columns) - 1)
    if spare < 0:
        return None
    # What is left goes to the columns that want more, in equal parts.
    while spare > 0 and (wanting := [place for place, size in enumerate(least) if size < natural[place]]):
        for place in wanting:
            more = min(natural[place] - least[place], max(1, spare // len(wanting)), spare)
            least[place] += more
            spare -= more
    return least


def _longest(cells: Sequence[str]) -> int:
    """The longest piece that cannot be broken."""
    return max((len(word) for cell in cells for word in cell.split()), default=0)


def _cells(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    for place, column in enumerate(columns):
        yield [column.heading, *(row[place] for row in rows)]


def _beside(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[Line]:
    lines: list[Line] = []
    for number, row in enumerate([[column.heading for column in columns], *rows]):
        cells = [
            [cell] if column.kind == "word" else wrapped(cell, size)
            for column, cell, size in zip(columns, row, widths, strict=True)
        ]
        for line in range(max(map(len, cells), default=0)):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            text = (" " * _GAP).join(part.ljust(size) for part, size in zip(parts, widths, strict=True))
            lines.append([(text.rstrip(), "" if number else "bold")])
    return lines


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[Line]:
    """The first cell as a heading, the formula beside it, and all others below by name; what is empty is left out."""
    indent = max((len(column.heading) for column in columns[1:] if column.kind != "formula"), default=0) + 2 * _GAP
    lines: list[Line] = []
    for row in rows:
        title = row[0] if columns[0].kind != "formula" else ""
        lines.append([(title, "bold")])
        for column, cell in zip(columns, row, strict=True):
            if column is columns[0] and column.kind != "formula":
                continue
            if column.kind == "formula":
                lines += [[(" " * _GAP + part, "")] for part in wrapped(cell, width - _GAP)]
            elif cell:
                heading = (" " * _GAP + column.heading).ljust(indent)
                if column.kind == "word" and indent + len(cell) > width:
                    lines += [[(heading.rstrip(), "dim")], [(" " * 2 * _GAP + cell, "")]]
                    continue
                first, *further = [cell] if column.kind == "word" else wrapped(cell, width - indent)
                lines.append([(heading, "dim"), (first, "")])
                lines += [[(" " * indent + part, "")] for part in further]
    return lines
