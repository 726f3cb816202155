"""A user's table: ``csv:PATH``, one sample a row, its label in the last column or a named one."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy

from lossforge.data.samples import Form, RawData, from_labels
from lossforge.errors import DataError

_DELIMITERS = ",;\t"
MARK = "#label="
"""Between the path and the name of the label's column."""


def read_csv(place: str, form: Form) -> RawData:
    """Features ``(N, F, 1, 1)``, float32, and the classes of the label's column, sorted."""
    text, _, wanted = place.partition(MARK)
    path = Path(text)
    rows = _rows(path)
    header = rows[0] if wanted or not all(map(_is_number, rows[0][:-1])) else None
    first = 2 if header else 1
    body = rows[1:] if header else rows
    if not body:
        raise DataError(f"{path}: has no rows below its header")
    column = _column(path, header or [], wanted) if wanted else len(body[0]) - 1
    features = [
        [_number(cell, path, number, place, header) for place, cell in enumerate(row) if place != column]
        for number, row in enumerate(body, start=first)
    ]
    labels = [row[column].strip() for row in body]
    if "" in labels:
        raise DataError(f"{path}: row {labels.index('') + first} has no label")
    x = numpy.asarray(features, dtype=numpy.float32)[:, :, None, None]
    y, names = _classes(labels, path)
    raw = from_labels(x, y, None, None, str(path))
    return RawData(raw.train, None, names)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            rows = [row for row in csv.reader(file, delimiter=delimiter, strict=True) if any(map(str.strip, row))]
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; give the path of a .csv file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as .csv ({error}); save it as UTF-8 text with commas") from None
    if not rows:
        raise DataError(f"{path}: is empty")
    if len(rows[0]) < 2:
        raise DataError(f"{path}: has one column; a row must hold features and a label, with commas between")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise DataError(f"{path}: row {number} has {len(row)} columns, the first row {len(rows[0])}")
    return rows


def _column(path: Path, header: list[str], wanted: str) -> int:
    names = [name.strip() for name in header]
    if wanted not in names:
        raise DataError(f"{path}: has no column '{wanted}' (its first row is {', '.join(names)})")
    return names.index(wanted)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, path: Path, row: int, column: int, header: list[str] | None) -> float:
    value = float(cell) if _is_number(cell) else math.nan
    if not abs(value) < float(numpy.finfo(numpy.float32).max):
        name = f"'{header[column].strip()}'" if header else str(column + 1)
        shown = f"'{cell.strip()}'" if cell.strip() else "nothing"
        raise DataError(f"{path}: row {row}, column {name} holds {shown}; a feature must be a finite number")
    return value


def _classes(
    labels: list[str], path: Path
) -> tuple[numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]], tuple[str, ...]]:
    numbers = all(map(_is_number, labels))
    if numbers and any(float(label) != round(float(label)) for label in labels if math.isfinite(float(label))):
        raise DataError(f"{path}: the labels are not whole numbers; name their column: csv:{path}{MARK}COLUMN")
    names = sorted(set(labels), key=(lambda label: (float(label), label)) if numbers else None)
    place = {name: index for index, name in enumerate(names)}
    return numpy.asarray([place[label] for label in labels], dtype=numpy.int64), tuple(names)
