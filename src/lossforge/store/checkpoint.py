"""The checkpoint: the state at the end of a generation, as JSON, with the previous one kept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lossforge.errors import StoreError
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import read_json

_FORMAT = 1


def previous_file(path: Path) -> Path:
    """Where the checkpoint before the newest lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write the state; the present file becomes the previous one. At every moment one of them is whole."""
    if path.exists():
        with told_as_store_error(path):
            draft = path.with_name(f".{path.name}.{os.getpid()}.previous")
            draft.unlink(missing_ok=True)
            try:
                _second_name(path, draft)
                draft.replace(previous_file(path))
            finally:
                draft.unlink(missing_ok=True)
    write_atomically(path, json.dumps({"format": _FORMAT, **state}) + "\n")


def _second_name(path: Path, draft: Path) -> None:
    """A second name for the same file, so that the newest is never missing; a copy where there are no links."""
    try:
        os.link(path, draft)
    except OSError:
        shutil.copyfile(path, draft)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The newest state: of ``path``, or of the previous file where ``path`` is missing; None where both are.

    Raises StoreError for a damaged file. Nothing is lost with it: the ledger has every training.
    """
    for file, remedy in (
        (path, f"delete it and resume: the search goes on from {previous_file(path).name} and the ledger"),
        (previous_file(path), "delete it and resume: the search is replayed from the ledger, nothing is trained again"),
    ):
        if not file.exists():
            continue
        state = read_json(file, remedy)
        if not isinstance(state, dict) or not all(isinstance(state.get(key), int) for key in ("format", "generation")):
            raise StoreError(f"{file}: is not a checkpoint; {remedy}")
        if state["format"] > _FORMAT:
            raise StoreError(
                f"{file}: was written by a newer lossforge (checkpoint {state['format']}); update lossforge"
            )
        return state
    return None
