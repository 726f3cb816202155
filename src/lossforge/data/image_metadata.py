"""Labels in a table beside the images, as Hugging Face's image folder has them: ``metadata.csv`` or ``.jsonl``."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from lossforge.data.labels import labels_of_text
from lossforge.data.parts import counted, listed
from lossforge.data.tree import Folder
from lossforge.errors import DataError

_NAME, _LABEL = "file_name", "label"


Label = str | int
"""A class's name, or its number in a table."""


def read_metadata(table: Path, folder: Folder, notes: list[str], *, needed: bool) -> list[tuple[Path, Label]] | None:
    """Each image file in the table with its label, in the table's order.

    None where the table has no labels and ``needed`` is False: then the folders say the classes. Raises DataError that
    names the file and the row. Files that are not there are broken images, and told with these.
    """
    rows = _rows(table)
    columns = list(rows[0][1])
    missing = [name for name in (_NAME, _LABEL) if name not in columns]
    if missing and not needed:
        notes.append(f"{table.name} has no column {listed(missing)}; the folders say the classes")
        return None
    if missing:
        raise DataError(
            f"{table}: has no column {listed(missing)} (it has {listed(columns)}); '{_NAME}' names an image beside it, "
            f"'{_LABEL}' its class"
        )
    names = [_text(row.get(_NAME)) for _, row in rows]
    _check_names(table, names, rows)
    labels = labels_of_text(
        [_text(row.get(_LABEL)) for _, row in rows],
        lambda place: f"line {rows[place][0]}",
        str(table),
        f"the column '{_LABEL}' must hold classes",
    )
    files = [folder.path / name for name in names]
    seen = folder.images_below()
    if unseen := [file for file in set(files).difference(seen) if file.exists()]:
        raise DataError(f"{table}: names '{min(unseen)}', which is hidden or has no image's ending; rename it")
    if others := set(seen).difference(files):
        notes.append(f"left out: {counted(len(others), 'image')} that {table.name} does not name")
    return list(zip(files, labels.tolist(), strict=True))


def _check_names(table: Path, names: list[str], rows: list[tuple[int, dict[str, Any]]]) -> None:
    for (line, _), name in zip(rows, names, strict=True):
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{table}: line {line} names '{name}'; '{_NAME}' must be an image beside it or below")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"{table}: names '{name}' {count} times; give each image one line")


def _text(value: Any) -> str:
    """A cell as text; a number of JSON's as it is written, so that 1 and 1.0 are one class."""
    return "" if value is None else str(value)


def _rows(table: Path) -> list[tuple[int, dict[str, Any]]]:
    """The lines of the table, each with its number from 1."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            if table.suffix.lower() == ".csv":
                reader = csv.DictReader(stream, strict=True)
                rows = [(reader.line_num, row) for row in reader]
            else:
                rows = [(number, json.loads(line)) for number, line in enumerate(stream, start=1) if line.strip()]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise DataError(f"{table}: cannot be read ({error}); write it as UTF-8 text") from None
    if not rows:
        raise DataError(f"{table}: holds no lines; give '{_NAME}' and '{_LABEL}' of each image")
    for number, row in rows:
        if not isinstance(row, dict):
            raise DataError(f'{table}: line {number} is no object such as {{"{_NAME}": ..., "{_LABEL}": ...}}')
        if None in row or (None in row.values() and table.suffix.lower() == ".csv"):
            raise DataError(f"{table}: line {number} has not as many columns as the first line")
        if isinstance(row.get(_LABEL), (list, dict, bool)):
            raise DataError(
                f"{table}: line {number} has the label {row[_LABEL]}; it must be one class's name or number"
            )
    return rows
