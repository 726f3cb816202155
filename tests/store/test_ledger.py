from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.errors import StoreError
from lossforge.store import ledger as ledger_module
from lossforge.store.ledger import CandidateRow, Ledger, TrainingRow

TRAINING = TrainingRow(
    fingerprint="f",
    seed=1,
    replicate=0,
    stage="search",
    generation=0,
    key="k",
    formula="y_pred",
    task="digits",
    part="validation",
    learning_rate=0.1,
    epochs=3,
    outcome="trained",
    accuracy=0.5,
    reason="",
    seconds=1.5,
)
CANDIDATE = CandidateRow(
    generation=0,
    position=0,
    origin="seed",
    formula="y_pred",
    size=1,
    signature="k",
    outcome="trained",
    rejected_by=None,
    reason="",
)
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from lossforge.store.ledger import Ledger, TrainingRow
row = TrainingRow("f", 0, 0, "search", 0, "k", "y_pred", "digits", "validation", 0.1, 3, "trained", 0.5, "", 1.5)
ledger = Ledger(Path(sys.argv[1]))
for number in range(10**9):
    ledger.add_trainings([replace(row, seed=2 * number), replace(row, seed=2 * number + 1)])
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(path)
    yield opened
    opened.close()


def filled(path: Path, count: int = 100) -> bytes:
    opened = Ledger(path)
    opened.add_candidates(replace(CANDIDATE, position=number) for number in range(count))
    opened.add_trainings([replace(TRAINING, fingerprint=f"f{number}" * 10) for number in range(count)])
    opened.close()
    return path.read_bytes()


def refusal(path: Path, *, read_only: bool = False) -> str:
    with pytest.raises(StoreError) as caught:
        Ledger(path, read_only=read_only)
    return str(caught.value)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ROWS = st.builds(
    TrainingRow,
    fingerprint=TEXT,
    seed=st.integers(0, 2**63 - 1),
    replicate=st.integers(0, 10_000),
    stage=TEXT,
    generation=st.integers(0, 2**31),
    key=TEXT,
    formula=TEXT,
    task=TEXT,
    part=st.sampled_from(["validation", "test"]),
    learning_rate=st.floats(allow_nan=False, allow_infinity=False),
    epochs=st.integers(1, 10_000),
    outcome=TEXT,
    accuracy=st.one_of(st.none(), st.floats(0, 1)),
    reason=TEXT,
    seconds=st.floats(0, 1e9),
)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(ROWS, max_size=6, unique_by=lambda row: (row.fingerprint, row.seed)))
def test_trainings_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[TrainingRow]) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.add_trainings(rows)
    ledger.close()
    again = Ledger(path, read_only=True)
    assert again.trainings() == rows
    assert all(again.find(row.fingerprint, row.seed) == row for row in rows)
    again.close()


def test_seeds_of_63_bits_are_kept_apart(ledger: Ledger) -> None:
    seeds = [2**63 - 1, 2**63 - 2, 2**53, 2**53 + 1]
    ledger.add_trainings([replace(TRAINING, seed=seed, accuracy=seed / 2**63) for seed in seeds])
    found = [ledger.find("f", seed) for seed in seeds]
    assert [(row.seed, row.accuracy) for row in found if row] == [(seed, seed / 2**63) for seed in seeds]


def test_only_what_is_there_is_found(ledger: Ledger) -> None:
    ledger.add_trainings([TRAINING])
    assert ledger.find("f", 2) is None
    assert ledger.find("g", 1) is None
    assert ledger.find("f", 1) == TRAINING


def test_many_are_found_at_once_and_no_others(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_AT_ONCE", 3)
    rows = [replace(TRAINING, fingerprint=f"f{number % 7}", seed=2**63 - 1 - number) for number in range(14)]
    ledger.add_trainings(rows)
    wanted = [(row.fingerprint, row.seed) for row in rows[:10]]
    found = ledger.find_all([*wanted, ("f1", 5), ("g", rows[0].seed)])
    assert found == dict(zip(wanted, rows[:10], strict=True))
    assert ledger.find_all([]) == {}


def test_a_failed_training_is_found_too(ledger: Ledger) -> None:
    failed = replace(TRAINING, outcome="timed_out", accuracy=None, reason="passed its limit of 1 s")
    ledger.add_trainings([failed])
    assert ledger.find("f", 1) == failed


def test_no_training_is_recorded_twice(ledger: Ledger) -> None:
    ledger.add_trainings([TRAINING])
    with pytest.raises(StoreError, match="a training was finished twice; this is a defect of lossforge") as caught:
        ledger.add_trainings([replace(TRAINING, accuracy=0.9)])
    assert str(ledger.path) in str(caught.value)
    assert ledger.trainings() == [TRAINING]


def test_what_a_limit_cut_short_is_replaced_where_that_is_said(ledger: Ledger) -> None:
    ledger.add_trainings([TRAINING])
    better, new = replace(TRAINING, accuracy=0.9), replace(TRAINING, seed=2)
    ledger.add_trainings([new], replacing=[better])
    assert ledger.find("f", 1) == better
    assert ledger.find("f", 2) == new


def test_a_cohort_is_recorded_whole_or_not_at_all(ledger: Ledger) -> None:
    ledger.add_trainings([replace(TRAINING, seed=5)])
    with pytest.raises(StoreError):
        ledger.add_trainings([replace(TRAINING, seed=4), replace(TRAINING, seed=5)])
    assert [row.seed for row in ledger.trainings()] == [5]
    ledger.add_trainings([replace(TRAINING, seed=4)])
    assert [row.seed for row in ledger.trainings()] == [5, 4]


def test_trainings_are_chosen_by_stage_and_generation(ledger: Ledger) -> None:
    rows = [replace(TRAINING, seed=number, generation=number) for number in range(12)]
    ledger.add_trainings(rows)
    ledger.add_trainings([replace(TRAINING, seed=99, stage="control", generation=3)])
    assert ledger.trainings("search") == rows
    # As numbers: "10" is not below "9".
    assert ledger.trainings("search", up_to_generation=9) == rows[:10]
    assert [row.seed for row in ledger.trainings(up_to_generation=3)] == [0, 1, 2, 3, 99]
    assert ledger.trainings("none") == []
    assert ledger.training_count() == 13


def test_candidates_come_back_in_the_order_generated(ledger: Ledger) -> None:
    rows = [
        replace(CANDIDATE, generation=10),
        replace(CANDIDATE, generation=2, position=10, outcome="rejected", rejected_by="static", signature=None),
        replace(CANDIDATE, generation=2, position=9, reason="a 'quoted' reason"),
    ]
    ledger.add_candidates(rows)
    assert ledger.candidates() == rows[::-1]
    assert ledger.candidates(up_to_generation=9) == [rows[2], rows[1]]
    assert ledger.candidates("rejected") == [rows[1]]


def test_what_a_generation_was_like_is_kept_and_an_older_ledger_has_nothing(path: Path, ledger: Ledger) -> None:
    ledger.add_measures(0, {"diversity": 0.5})
    ledger.add_measures(1, {"diversity": 0.25, "surrogate_correlation": -0.1})
    ledger.add_measures(0, {"diversity": 0.4})
    assert ledger.measures() == {0: {"diversity": 0.4}, 1: {"diversity": 0.25, "surrogate_correlation": -0.1}}
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE measures")
    db.close()
    older = Ledger(path, read_only=True)
    assert older.measures() == {}
    older.close()


def test_a_replayed_generation_leaves_the_same_rows(ledger: Ledger) -> None:
    rows = [replace(CANDIDATE, position=number) for number in range(3)]
    for _ in range(2):
        ledger.add_candidates(rows)
    assert ledger.candidates() == rows


def test_the_tally_counts_outcomes_and_screens(ledger: Ledger) -> None:
    ledger.add_candidates(
        [
            replace(CANDIDATE, position=0),
            replace(CANDIDATE, position=1),
            replace(CANDIDATE, position=2, outcome="rejected", rejected_by="static"),
            replace(CANDIDATE, position=3, outcome="rejected", rejected_by="probe"),
        ]
    )
    assert ledger.tally() == {"trained": 2, "rejected:static": 1, "rejected:probe": 1}


def test_nothing_is_lost_between_two_openings(path: Path) -> None:
    filled(path)
    again = Ledger(path)
    assert again.training_count() == 100
    assert len(again.candidates()) == 100
    again.close()


def test_a_closed_ledger_is_one_file(path: Path) -> None:
    filled(path)
    assert [item.name for item in path.parent.iterdir()] == ["ledger.sqlite"]


def test_reading_a_ledger_that_is_not_there_makes_none(path: Path) -> None:
    assert f"{path}: there is no ledger yet" in refusal(path, read_only=True)
    assert not path.exists()


def test_a_reader_cannot_write(path: Path) -> None:
    whole = filled(path)
    reader = Ledger(path, read_only=True)
    with pytest.raises(StoreError, match="cannot be read or written"):
        reader.add_trainings([TRAINING])
    reader.close()
    assert path.read_bytes() == whole


@pytest.fixture
def no_file_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another's folder, where sqlite cannot make the files that it keeps beside a database."""
    monkeypatch.setattr(ledger_module, "_can_be_read", lambda db: False)


@pytest.mark.usefixtures("no_file_can_be_made")
def test_a_closed_ledger_is_read_as_it_stands_where_no_file_can_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "run 50% #1?"
    folder.mkdir()
    whole = filled(folder / "ledger.sqlite")
    reader = Ledger(folder / "ledger.sqlite", read_only=True)
    assert reader.training_count() == 100
    assert [item.name for item in folder.iterdir()] == ["ledger.sqlite"]
    with pytest.raises(StoreError):
        reader.add_trainings([TRAINING])
    reader.close()
    assert (folder / "ledger.sqlite").read_bytes() == whole


@pytest.mark.usefixtures("no_file_can_be_made")
def test_a_ledger_with_a_log_is_read_from_a_copy_where_no_file_can_be_made(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_trainings([TRAINING])
    folder = tmp_path / "killed"
    folder.mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        shutil.copyfile(tmp_path / name, folder / name)
    reader = Ledger(folder / "ledger.sqlite", read_only=True)
    assert reader._copy is not None
    copies = Path(reader._copy.name)
    assert reader.trainings() == [TRAINING]
    assert sorted(item.name for item in folder.iterdir()) == ["ledger.sqlite", "ledger.sqlite-wal"]
    reader.close()
    assert not copies.exists()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("attempt to write a readonly database", False),
        ("unable to open database file", False),
        ("database is locked", True),
        ("disk I/O error", True),
    ],
)
def test_only_a_folder_without_leave_to_write_is_read_another_way(message: str, answer: bool) -> None:
    class Refusing:
        def execute(self, statement: str) -> None:
            raise sqlite3.OperationalError(message)

    assert ledger_module._can_be_read(Refusing()) is answer  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_in_a_folder_without_leave_to_write_is_read(path: Path) -> None:
    filled(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        reader = Ledger(path, read_only=True)
        assert reader.training_count() == 100
        reader.close()
    finally:
        path.parent.chmod(0o755)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none" / "ledger.sqlite"
    message = refusal(path)
    assert message.startswith(f"{path}: cannot be read or written (unable to open database file)")


def test_a_ledger_from_before_the_metrics_is_read_and_goes_on(path: Path) -> None:
    opened = Ledger(path)
    opened.add_trainings([TRAINING])
    opened.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE trainings DROP COLUMN metrics")
        db.execute("PRAGMA user_version = 1")
    db.close()
    reader = Ledger(path, read_only=True)
    assert reader.trainings() == [TRAINING]
    reader.close()
    again = Ledger(path)
    more = replace(TRAINING, fingerprint="other", metrics='{"f1": 0.5}')
    again.add_trainings([more])
    assert again.trainings() == [TRAINING, more]
    again.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_ledger_is_refused_and_left_as_it_is(path: Path, read_only: bool) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 3")
    db.close()
    content = path.read_bytes()
    message = refusal(path, read_only=read_only)
    assert message == f"{path}: was written by a newer lossforge (ledger 3); update lossforge"
    assert path.read_bytes() == content


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("size", [100, 5_000, 100_000])
def test_bytes_that_are_no_ledger_are_refused_and_left(path: Path, size: int, read_only: bool) -> None:
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    message = refusal(path, read_only=read_only)
    assert message.startswith(f"{path}: is damaged (file is not a database); restore it from a copy of the run")
    assert "it was left as it is" in message
    assert path.read_bytes() == content


def test_a_ledger_cut_short_is_refused_and_left(path: Path) -> None:
    whole = filled(path)
    # 0 and 1 byte are what a kill before the first transaction leaves: an empty ledger.
    for length in [2, 15, 16, 50, 99, 100, 101, 511, *range(512, len(whole) - 511, 512)]:
        path.write_bytes(whole[:length])
        message = refusal(path)
        assert message.startswith(f"{path}: is damaged (")
        assert "restore it from a copy of the run" in message
        assert "\n" not in message
        assert path.read_bytes() == whole[:length]


def test_a_damaged_ledger_says_what_is_damaged(path: Path) -> None:
    whole = filled(path)
    path.write_bytes(whole[:-1024])
    assert "***" not in refusal(path)


def test_damage_anywhere_is_a_store_error_or_does_no_harm(path: Path) -> None:
    whole = filled(path)
    draw = random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        start = draw.randrange(len(whole) - 64)
        damaged[start : start + 64] = draw.randbytes(64)
        path.write_bytes(damaged)
        count, message = 0, ""
        try:
            ledger = Ledger(path)
            count = ledger.training_count()
            ledger.close()
        except StoreError as error:
            message = str(error)
        assert count == 100 or str(path) in message
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_schema_is_a_store_error(path: Path, read_only: bool) -> None:
    whole = filled(path)
    start = whole.index(b"generation INTEGER", whole.index(b"CREATE TABLE candidates"))
    # What sqlite quotes in its message is then no text.
    path.write_bytes(whole[:start] + b"$\xb2\xfb" + whole[start + 3 :])
    with pytest.raises(StoreError) as caught:
        Ledger(path, read_only=read_only).training_count()
    assert str(path) in str(caught.value)


def test_damage_behind_the_check_is_told_when_it_is_met(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE trainings")
    db.close()
    ledger = Ledger(path, read_only=True)
    with pytest.raises(StoreError, match=r"is damaged \(no such table: trainings\); restore it") as caught:
        ledger.training_count()
    ledger.close()
    assert str(path) in str(caught.value)


def test_a_full_disk_loses_the_new_rows_only(path: Path) -> None:
    ledger = Ledger(path)
    ledger.add_trainings([TRAINING])
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [replace(TRAINING, seed=seed, reason="x" * 500) for seed in range(2, 60)]
    with pytest.raises(StoreError, match="database or disk is full") as caught:
        ledger.add_trainings(many)
    assert str(path) in str(caught.value)
    assert "free or repair the disk, then resume: nothing finished is lost" in str(caught.value)
    with pytest.raises(StoreError, match="database or disk is full"):
        ledger.add_candidates(replace(CANDIDATE, position=n, reason="x" * 500) for n in range(60))
    assert ledger.trainings() == [TRAINING]
    assert ledger.candidates() == []
    ledger._db.execute("PRAGMA max_page_count = 100000")
    ledger.add_trainings(many)
    assert ledger.training_count() == 59
    ledger.close()


def test_a_reader_sees_whole_cohorts_while_another_writes(path: Path) -> None:
    ledger = Ledger(path)
    over = threading.Event()
    counts: list[int] = []

    def read() -> None:
        reader = Ledger(path, read_only=True)
        while not over.is_set():
            counts.append(reader.training_count())
        counts.append(reader.training_count())
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(100):
            ledger.add_trainings([replace(TRAINING, seed=3 * number + extra) for extra in range(3)])
    finally:
        over.set()
        thread.join()
        ledger.close()
    assert counts[-1] == 300
    assert counts == sorted(counts)
    assert all(count % 3 == 0 for count in counts)


def test_what_was_added_before_a_kill_is_there(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(20)][-1]
        process.kill()
        told = max([told, *(int(line) for line in process.stdout if line.endswith("\n"))])
    ledger = Ledger(path)
    count = ledger.training_count()
    ledger.close()
    assert count % 2 == 0
    assert count >= 2 * (told + 1)
