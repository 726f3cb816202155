"""A user's table: ``csv:PATH``, one sample a row, its label in the last column or a named one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy
from numpy.typing import NDArray

from lossforge.data.csv_text import Table, read_table
from lossforge.data.labels import MISSING, as_plain, from_labels, is_number, labels_of_text
from lossforge.data.samples import Form, RawData
from lossforge.errors import DataError

MARK = "#label="
"""Between the path and the name of the label's column."""

_UNNAMED = re.compile(r"Unnamed: ?\d+(_level_\d+)?")
"""How pandas calls a column without a name."""
_OF_ROWS = re.compile(
    r"(row|sample|record|instance)?[ _-]?(id|index|idx|no|nr|num|number|row|rownames)\.?|#", re.IGNORECASE
)
_LIKE_A_NUMBER = re.compile(r"[-+]?[$€£]? ?\d[\d., _']*[%$€£]?")
"""A number with separators of thousands, a decimal comma, a percent sign or a currency."""
_CATEGORIES = 1_000
"""Features that one column may become."""

Numbers = NDArray[numpy.float64]


def read_csv(place: str, form: Form) -> RawData:
    """Features ``(N, F, 1, 1)``, float32, and the classes of the label's column, in the order of their labels."""
    text, _, wanted = place.partition(MARK)
    path = Path(text)
    table = read_table(path, wanted)
    label = table.find(wanted) if wanted else len(table.names) - 1
    remedy = f"name their column: csv:{path}{MARK}COLUMN"
    y = labels_of_text(table.column(label), lambda row: f"line {table.lines[row]}", str(path), remedy)
    unused = {label, *(table.find(name) for name in form.drop_columns)}
    categories = {table.find(name) for name in form.one_hot} if isinstance(form.one_hot, tuple) else set()
    notes = list(table.notes)
    features: list[NDArray[numpy.float32]] = []
    columns: list[tuple[str, int]] = []
    for column in range(len(table.names)):
        if column in unused:
            continue
        if form.drop_index and (why := _index(table, column)):
            notes.append(f"column {table.called(column)} {why} and is left out (task.drop_index = false keeps it)")
            continue
        if _counts_rows(table.column(column)):
            notes.append(f"column {table.called(column)} counts the rows; task.drop_columns leaves it out")
        made = _features(table, column, form, category=column in categories)
        features.append(made)
        columns.append((table.names[column] or str(column + 1), made.shape[1]))
    if not features:
        raise DataError(f"{path}: has no feature beside its label; a row must hold features and a label")
    x = numpy.concatenate(features, axis=1)
    if missing := int(numpy.isnan(x).sum()):
        notes.append(f"missing values that are filled from the training part (task.impute): {missing:,}")
    return from_labels((x[:, :, None, None], y), str(path), columns=tuple(columns), notes=tuple(notes))


def _index(table: Table, column: int) -> str:
    """Why the column only counts or names the rows; else ""."""
    name, cells = table.names[column], table.column(column)
    unnamed = not name or _UNNAMED.fullmatch(name) is not None
    if table.headed and unnamed and column == 0:
        return "has no name, as an index is written,"
    if (unnamed or _OF_ROWS.fullmatch(name)) and _counts_rows(cells):
        return "counts the rows"
    distinct = len(set(cells)) == len(cells) and not set(cells) & MISSING
    if not unnamed and _OF_ROWS.fullmatch(name) and distinct:
        whole = all(map(str.isdecimal, cells))
        return "has another value in every row" if whole or not any(map(is_number, cells)) else ""
    return ""


def _counts_rows(cells: list[str]) -> bool:
    start = as_plain(cells[0])
    return start in ("0", "1") and all(as_plain(cell) == str(int(start) + row) for row, cell in enumerate(cells))


def _features(table: Table, column: int, form: Form, *, category: bool) -> NDArray[numpy.float32]:
    """What a column becomes: its numbers ``(N, 1)``, NaN for missing ones, or a 1 for its category ``(N, C)``."""
    cells = table.column(column)
    if not category:
        numbers = _numbers(cells)
        if numbers is not None:
            return _checked(numbers, table, column, keep_missing=form.keep_missing)
        if form.one_hot is not True:
            row = next(row for row, cell in enumerate(cells) if cell not in MISSING and not is_number(cell))
            mend = "write it as a plain number"
            if not _LIKE_A_NUMBER.fullmatch(cells[row]):
                mend = "mend it, or, where the column holds categories, set task.one_hot = true"
            raise DataError(
                f"{_place(table, column, row)} holds '{cells[row]}'; a feature must be a finite number: {mend}; "
                "task.drop_columns leaves the column out"
            )
    return _one_hot(cells, table, column)


def _numbers(cells: list[str]) -> Numbers | None:
    """The cells as numbers, NaN for missing ones; None where one is a word."""
    try:
        numbers = numpy.asarray(list(map(float, cells)))
    except ValueError:
        pass
    else:
        if not any("_" in cell for cell in cells):  # Python reads 1_000 as a number
            return numbers
    if not all(is_number(cell) or cell in MISSING for cell in set(cells)):
        return None
    return numpy.asarray([numpy.nan if cell in MISSING else float(cell) for cell in cells])


def _checked(numbers: Numbers, table: Table, column: int, *, keep_missing: bool) -> NDArray[numpy.float32]:
    missing = numpy.isnan(numbers)
    wrong = numpy.abs(numbers) >= float(numpy.finfo(numpy.float32).max)
    if not keep_missing:
        wrong |= missing
    if wrong.any():
        row = int(wrong.argmax())
        shown = f"'{table.rows[row][column]}'" if table.rows[row][column] else "nothing"
        fill = 'fill it in, or set task.impute = "median" (or mean, most_frequent)' if missing[row] else "mend it"
        raise DataError(
            f"{_place(table, column, row)} holds {shown}; a feature must be a finite number: {fill}; task.drop_columns "
            "leaves the column out"
        )
    return numbers.astype(numpy.float32)[:, None]


def _one_hot(cells: list[str], table: Table, column: int) -> NDArray[numpy.float32]:
    """A feature for each category, numbers before words, each in their order; missing ones are a category, the last."""
    plain = {cell: None if cell in MISSING else as_plain(cell) for cell in set(cells)}
    words = sorted({word for word in plain.values() if word is not None}, key=_in_order)
    place = {word: number for number, word in enumerate([*words, None])}
    count = len(words) + (None in plain.values())
    if count > _CATEGORIES or len(words) == len(cells):
        raise DataError(
            f"{table.path}: column {table.called(column)} has {len(words):,} different values in {len(cells):,} rows, "
            f"too many for task.one_hot (up to {_CATEGORIES:,}); leave it out with task.drop_columns"
        )
    made = numpy.zeros((len(cells), count), dtype=numpy.float32)
    made[numpy.arange(len(cells)), [place[plain[cell]] for cell in cells]] = 1
    return made


def _in_order(word: str) -> tuple[bool, float, str]:
    return (False, float(word), word) if is_number(word) else (True, 0.0, word)


def _place(table: Table, column: int, row: int) -> str:
    return f"{table.path}: line {table.lines[row]}, column {table.called(column)}"
