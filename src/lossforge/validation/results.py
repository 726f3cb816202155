"""The comparisons of a run's last re-validation, in its folder."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lossforge.errors import StoreError
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder, read_json
from lossforge.validation.coarse import Tried
from lossforge.validation.comparison import TOLD, Comparison, told
from lossforge.validation.measures import Measured
from lossforge.validation.sentences import verdicts_by_formula

_NUMBERS = ("gain", "low", "high", "p", "p_adjusted", "seeds", "learning_rate", "rival_learning_rate")


def write_comparisons(
    folder: Path,
    comparisons: Sequence[Comparison],
    tried: Sequence[tuple[str, Tried]] = (),
    measures: Sequence[Measured] = (),
) -> None:
    """Write the comparisons and what they say into a folder, as JSON and as a table.

    ``tried.csv`` has all rates that were tried, and ``measures.csv`` further figures of the trainings for the test.

    Raises StoreError where that cannot be.
    """
    with told_as_store_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    rows = told(comparisons)
    write_atomically(folder / "results.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(folder / "results.csv", _table([*Comparison.__slots__, *TOLD], rows))
    if tried:
        names = ["study", *Tried.__slots__]
        write_atomically(folder / "tried.csv", _table(names, [{"study": study, **asdict(one)} for study, one in tried]))
    if measures:
        write_atomically(folder / "measures.csv", _table([*Measured.__slots__], [asdict(one) for one in measures]))


def _table(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_comparisons(folder: RunFolder) -> list[Comparison]:
    """What the last re-validation wrote; empty where there was none. Raises StoreError where it is damaged."""
    return comparisons_in(folder.validation_folder)


def comparisons_by_plan(folder: RunFolder) -> dict[str, list[Comparison]]:
    """What was compared by plans, by the plan's name, sorted; see `lossforge validate RUN --plan`."""
    places = sorted(folder.validation_folder.glob("*/results.json"))
    return {place.parent.name: comparisons_in(place.parent) for place in places}


def verdicts_of_run(folder: RunFolder) -> dict[str, str]:
    """What the last re-validation, and plans, say of each loss, by formula; empty where there was none."""
    found = verdicts_by_formula(read_comparisons(folder))
    for plan, rows in comparisons_by_plan(folder).items():
        for formula, said in verdicts_by_formula(rows).items():
            before = f"{found[formula]}; " if formula in found else ""
            found[formula] = f"{before}by the plan {plan}, {said}"
    return found


def comparisons_in(folder: Path) -> list[Comparison]:
    """The same of the folder that it is written in."""
    path = folder / "results.json"
    if not path.exists():
        return []
    remedy = "delete it and validate again: nothing is trained twice"
    try:
        written = [dict(row) for row in read_json(path, remedy)]
        rows = [_comparison({key: row[key] for key in row if key not in TOLD}) for row in written]
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: is damaged ({error}); {remedy}") from None
    numbers = [getattr(row, name) for row in rows for name in _NUMBERS]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise StoreError(f"{path}: is damaged (a number is none); {remedy}")
    return rows


def _comparison(fields: dict[str, Any]) -> Comparison:
    return Comparison(**{**fields, "looks": tuple(fields.get("looks", ()))})
