"""Sweeps of cross-entropy's learning rate, kept between runs: one recipe is swept once on a machine.

A sweep's seeds do not depend on the run, so the cached trainings are those that would be done again.
The rows go into each run's ledger all the same. ``LOSSFORGE_CACHE`` names the folder; "off" is no cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lossforge.cache_folders import cache_folder
from lossforge.errors import StoreError
from lossforge.store.files import write_atomically
from lossforge.store.ledger import Ledger, TrainingRow


def cache_file(recipe_key: str, machine: str) -> Path | None:
    """Where a recipe's sweep is kept, or None where the cache is off.

    ``machine`` names what can change a result besides the recipe: versions, processor, device.
    """
    folder = os.environ.get("LOSSFORGE_CACHE", "")
    if folder == "off":
        return None
    base = Path(folder) if folder else cache_folder()
    if base is None:
        return None
    name = hashlib.sha256(f"{recipe_key} {machine}".encode()).hexdigest()[:32]
    return base / "sweeps" / f"{name}.json"


def restore_sweep(file: Path | None, ledger: Ledger) -> int:
    """Put a cached sweep's trainings into the ledger; returns how many. A damaged file is as none."""
    try:
        if file is None or not file.is_file():
            return 0
        rows = [TrainingRow(**fields) for fields in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, RecursionError):
        return 0
    if not all(map(_is_sound, rows)) or len({(row.fingerprint, row.seed) for row in rows}) < len(rows):
        return 0
    fresh = [row for row in rows if ledger.find(row.fingerprint, row.seed) is None]
    if fresh:
        ledger.add_trainings(fresh)
    return len(fresh)


def _is_sound(row: TrainingRow) -> bool:
    texts = (row.fingerprint, row.stage, row.key, row.formula, row.task, row.part, row.outcome, row.reason)
    whole = (row.seed, row.replicate, row.generation, row.epochs)
    return (
        all(isinstance(value, str) for value in texts)
        and all(isinstance(value, int) for value in whole)
        and all(isinstance(value, (int, float)) for value in (row.learning_rate, row.seconds))
        and (row.accuracy is None or (isinstance(row.accuracy, (int, float)) and 0 <= row.accuracy <= 1))
    )


def keep_sweep(file: Path | None, rows: list[TrainingRow]) -> None:
    """Write a sweep's trainings to the cache. A cache that cannot be written costs nothing but the next sweep."""
    if file is None:
        return
    with suppress(OSError, StoreError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps([asdict(row) for row in rows]))
