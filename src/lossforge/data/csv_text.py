"""A table's text as cells: encoding, separator, quotes, decimal commas, and whether its first row names the columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lossforge.data.labels import MISSING, as_plain, is_number
from lossforge.errors import DataError

_SEPARATORS = ",;\t|"
_LOOKED_AT = 1_000
"""Rows by which separator and header are told."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_COUNTED_FROM = 3
"""Columns from which a first row that counts them (0, 1, 2 ...) is no sample by chance."""


@dataclass(frozen=True, slots=True)
class Table:
    """Stripped cells ``[row][column]``, the line that each row ends on, and the columns' names ("" for none).

    Columns without a cell in any row are left out.
    """

    path: Path
    names: list[str]
    headed: bool
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...]

    def called(self, column: int) -> str:
        """How a sentence calls the column: by its name, or its number from 1."""
        return f"'{self.names[column]}'" if self.names[column] else str(column + 1)

    def column(self, place: int) -> list[str]:
        """The cells of a column."""
        return [row[place] for row in self.rows]

    def find(self, name: str) -> int:
        """The column of that name, or of that number (from 1) where columns have none. Raises DataError."""
        if self.names.count(name) > 1:
            raise DataError(f"{self.path}: has two columns '{name}'; give each one a name of its own")
        if name in self.names:
            return self.names.index(name)
        numbered = name.isdecimal() and 1 <= int(name) <= len(self.names)
        if numbered and not self.names[int(name) - 1]:
            return int(name) - 1
        known = f"its first row is {', '.join(self.names)}" if self.headed else "its columns have no names"
        raise DataError(f"{self.path}: has no column '{name}' ({known})")


def read_table(path: Path, label: str) -> Table:
    """The file's table. A first row that holds ``label``, the name of the label's column, is a header."""
    text = _text(path)
    separator = ""
    if match := re.match(r"sep=(.)\r?\n", text):  # as spreadsheets write it
        separator, text = match[1], text[match.end() :]
    separator = separator or _separator(text)
    rows, lines = _rows(path, text, separator)
    full = [place for place in range(len(rows[0])) if any(row[place] for row in rows)]
    if len(full) < len(rows[0]):
        rows = [[row[place] for place in full] for row in rows]
    if len(full) < 2:
        raise DataError(
            f"{path}: has one column; a row must hold features and a label, with commas, semicolons or tabs between"
        )
    notes = []
    if separator != "," and _decimal_commas(path, rows, lines):
        rows = [[_with_point(cell) for cell in row] for row in rows]
        notes.append("commas within numbers are read as decimal commas")
    headed = bool(label) and label in rows[0] and not is_number(label)
    if not headed and len(rows) > 1:
        headed = _has_header(rows)
        if headed and all(map(str.isdecimal, rows[0])):
            notes.append(f"the first row ({', '.join(rows[0][:4])} ...) counts the columns and is taken for a header")
    names = rows[0] if headed else [""] * len(full)
    body, lines = (rows[1:], lines[1:]) if headed else (rows, lines)
    if not body or (len(rows) == 1 and not all(map(is_number, rows[0][:-1]))):
        raise DataError(f"{path}: has no rows below its header")
    return Table(path, names, headed, body, lines, tuple(notes))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = content.decode(encoding)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; give the path of a .csv file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as .csv ({error}); save it as UTF-8 text with commas") from None
    if "\0" in text:
        raise DataError(f"{path}: cannot be read as .csv (it holds zero bytes); save it as UTF-8 text with commas")
    return text


def _parsed(text: str, separator: str) -> Iterator[tuple[list[str], int]]:
    """Rows that are not empty, stripped, and the line each ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield cells, reader.line_num


def _separator(text: str) -> str:
    """The separator by which rows are of one length and most cells are numbers."""
    best, found = (False, 0.0, 1), ","
    for separator in _SEPARATORS:
        try:
            rows = [row for row, _ in islice(_parsed(text, separator), _LOOKED_AT)]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        cells = [cell for row in rows[1:] or rows for cell in row]
        comma = separator != ","
        numbers = sum(is_number(cell) or bool(comma and _DECIMAL_COMMA.fullmatch(cell)) for cell in cells)
        score = (all(len(row) == width for row in rows), numbers / len(cells), width)
        if score > best:
            best, found = score, separator
    return found


def _rows(path: Path, text: str, separator: str) -> tuple[list[list[str]], list[int]]:
    rows, lines = [], []
    try:
        for row, line in _parsed(text, separator):
            rows.append(row)
            lines.append(line)
            if len(row) != len(rows[0]):
                raise DataError(f"{path}: line {line} has {len(row)} columns, the first row {len(rows[0])}")
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as .csv ({error}); save it as UTF-8 text with commas") from None
    if not rows:
        raise DataError(f"{path}: is empty")
    return rows, lines


def _decimal_commas(path: Path, rows: list[list[str]], lines: list[int]) -> bool:
    """Whether numbers are written with a comma. Raises DataError where some are, and others with a point."""
    point: tuple[str, int] | None = None
    comma: tuple[str, int] | None = None
    for row, line in zip(rows, lines, strict=True):
        for cell in row:
            if "," in cell and _DECIMAL_COMMA.fullmatch(cell):
                comma = comma or (cell, line)
            elif "." in cell and is_number(cell):
                point = point or (cell, line)
    if comma and point:
        raise DataError(
            f"{path}: line {comma[1]} holds {comma[0]} and line {point[1]} holds {point[0]}; write all numbers with a "
            "point, or all with a comma"
        )
    return comma is not None


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if "," in cell and _DECIMAL_COMMA.fullmatch(cell) else cell


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names columns, and is no sample; empty cells and question marks say neither.

    Words above numbers are names, unless the row's last cell is one of the labels below: then they are slips in a
    sample. Numbers that count the columns are names, too.
    """
    first, below = rows[0], rows[1:]
    if _counts(first, below):
        return True
    named = of_numbers = False
    unlike = True
    for place, cell in enumerate(first[:-1]):
        if cell in MISSING:
            continue
        if is_number(cell):
            unlike = False
        elif all(is_number(row[place]) or row[place] in MISSING for row in below[:_LOOKED_AT]):
            named = of_numbers = True
        elif any(row[place] == cell for row in below):
            unlike = False
        else:
            named = True
    last = as_plain(first[-1])
    labels = {as_plain(row[-1]) for row in below}
    if of_numbers and unlike:
        return True
    if last in MISSING or last in labels:
        return False
    # The label alone tells: a word above numbers.
    above_numbers = not is_number(last) and all(is_number(label) or label in MISSING for label in labels)
    return above_numbers or of_numbers or (named and unlike)


def _counts(first: list[str], below: list[list[str]]) -> bool:
    """Whether the row is 0, 1, 2 ... or 1, 2, 3 ..., as tables without names are written; maybe with another last."""
    if not first[0] and len(first) > 1:  # above a column of row names
        first, below = first[1:], [row[1:] for row in below]
    for start in (0, 1):
        expected = [str(start + place) for place in range(len(first))]
        if first[:-1] != expected[:-1] or len(first) < 3:
            continue
        fractions = not any(cell.isdecimal() for row in below for cell in row[:-1])
        known = not fractions and as_plain(first[-1]) in {as_plain(row[-1]) for row in below}
        if first[-1] == expected[-1]:
            return len(first) > _COUNTED_FROM or not known
        return not is_number(first[-1]) and first[-1] not in MISSING and not known
    return False
