from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.sweep_cache import cache_file, keep_sweep, restore_sweep

ROW = TrainingRow(
    fingerprint="f",
    seed=2**63 - 1,
    replicate=0,
    stage="sweep digits",
    generation=0,
    key="k",
    formula="-y_true * log(y_pred)",
    task="digits",
    part="validation",
    learning_rate=0.1,
    epochs=3,
    outcome="trained",
    accuracy=1 / 3,
    reason="",
    seconds=1.5,
)
ROWS = [replace(ROW, fingerprint=f"f{number}") for number in range(4)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / "cache"))
    path = cache_file("recipe", "machine")
    assert path is not None
    return path


def test_a_kept_sweep_is_restored_row_for_row(file: Path, ledger: Ledger) -> None:
    keep_sweep(file, ROWS)
    assert restore_sweep(file, ledger) == 4
    assert ledger.trainings("sweep digits") == ROWS


def test_what_the_ledger_has_is_not_restored_again(file: Path, ledger: Ledger) -> None:
    keep_sweep(file, ROWS)
    ledger.add_trainings(ROWS[1:2])
    assert restore_sweep(file, ledger) == 3
    assert restore_sweep(file, ledger) == 0
    assert ledger.training_count() == 4


def test_recipe_and_machine_name_the_file(file: Path) -> None:
    assert cache_file("recipe", "machine") == file
    assert len({file, cache_file("recipe 2", "machine"), cache_file("recipe", "machine 2")}) == 3


def test_the_cache_lies_in_the_folder_for_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOSSFORGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = cache_file("recipe", "machine")
    assert found is not None
    assert found.parent == tmp_path / "lossforge" / "sweeps"


def test_the_cache_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    monkeypatch.setenv("LOSSFORGE_CACHE", "off")
    assert cache_file("recipe", "machine") is None
    keep_sweep(None, ROWS)
    assert restore_sweep(None, ledger) == 0


def test_without_a_file_nothing_is_restored(file: Path, ledger: Ledger) -> None:
    assert restore_sweep(file, ledger) == 0


def test_a_sweep_cut_anywhere_is_as_none(file: Path, ledger: Ledger) -> None:
    keep_sweep(file, ROWS)
    whole = file.read_bytes()
    for length in range(0, len(whole), 13):
        file.write_bytes(whole[:length])
        assert restore_sweep(file, ledger) == 0
    assert ledger.training_count() == 0


FIELDS = asdict(ROW)
DAMAGED: dict[str, bytes] = {
    "zeros": b"\x00" * 100,
    "not text": b"\xff\xfe\x80",
    "not rows": b'{"a": 1}',
    "number": b"3",
    "null": b"null",
    "missing column": json.dumps([{name: value for name, value in FIELDS.items() if name != "seed"}]).encode(),
    "unknown column": json.dumps([{**FIELDS, "other": 1}]).encode(),
    "column without value": json.dumps([{**FIELDS, "learning_rate": None}]).encode(),
    "list in a column": json.dumps([{**FIELDS, "formula": ["y_pred"]}]).encode(),
    "words as a seed": json.dumps([{**FIELDS, "seed": "many"}]).encode(),
    "words as an accuracy": json.dumps([{**FIELDS, "accuracy": "high"}]).encode(),
    "accuracy out of range": json.dumps([{**FIELDS, "accuracy": 97.5}]).encode(),
    "one row twice": json.dumps([FIELDS, FIELDS]).encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_sweep_is_as_none(file: Path, ledger: Ledger, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert restore_sweep(file, ledger) == 0
    assert ledger.trainings() == []


def test_a_folder_in_the_files_place_is_as_none(file: Path, ledger: Ledger) -> None:
    file.mkdir(parents=True)
    assert restore_sweep(file, ledger) == 0


def test_a_cache_that_cannot_be_written_costs_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        keep_sweep(file, ROWS)
    assert list(file.parent.iterdir()) == []


def test_a_cache_below_a_file_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / "file" / "cache"))
    path = cache_file("recipe", "machine")
    keep_sweep(path, ROWS)
    assert restore_sweep(path, ledger) == 0


def test_a_cache_that_cannot_be_looked_into_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    # As with a folder of another user, the system refuses the path itself.
    monkeypatch.setenv("LOSSFORGE_CACHE", str(tmp_path / ("x" * 300)))
    path = cache_file("recipe", "machine")
    keep_sweep(path, ROWS)
    assert restore_sweep(path, ledger) == 0


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    monkeypatch.delenv("LOSSFORGE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert restore_sweep(cache_file("recipe", "machine"), ledger) == 0
