"""The comparisons of a run's last re-validation, in its folder."""

from __future__ import annotations

import csv
import io
import json
import math

from lossforge.errors import StoreError
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder, read_json
from lossforge.validation.comparison import TOLD, Comparison, told

_NUMBERS = ("gain", "low", "high", "p", "p_adjusted", "seeds", "learning_rate", "rival_learning_rate")


def write_comparisons(folder: RunFolder, comparisons: list[Comparison]) -> None:
    """Write the comparisons and what they say, as JSON and as a table. Raises StoreError where that cannot be."""
    with told_as_store_error(folder.validation_folder):
        folder.validation_folder.mkdir(exist_ok=True)
    rows = told(comparisons)
    write_atomically(folder.validation_folder / "results.json", json.dumps(rows, indent=1) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Comparison.__slots__, *TOLD], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder.validation_folder / "results.csv", text.getvalue())


def read_comparisons(folder: RunFolder) -> list[Comparison]:
    """What the last re-validation wrote; empty where there was none. Raises StoreError where it is damaged."""
    path = folder.validation_folder / "results.json"
    if not path.exists():
        return []
    remedy = "delete it and validate again: nothing is trained twice"
    try:
        written = [dict(row) for row in read_json(path, remedy)]
        rows = [Comparison(**{key: row[key] for key in row if key not in TOLD}) for row in written]
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: is damaged ({error}); {remedy}") from None
    numbers = [getattr(row, name) for row in rows for name in _NUMBERS]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise StoreError(f"{path}: is damaged (a number is none); {remedy}")
    return rows
