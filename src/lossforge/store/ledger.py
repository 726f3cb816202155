"""The ledger: one row a candidate and one a training, in SQLite. It is only ever added to."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lossforge.errors import StoreError

_FORMAT = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS candidates (
    generation INTEGER NOT NULL, position INTEGER NOT NULL, origin TEXT NOT NULL, formula TEXT NOT NULL,
    size INTEGER NOT NULL, signature TEXT, outcome TEXT NOT NULL, rejected_by TEXT, reason TEXT NOT NULL,
    PRIMARY KEY (generation, position)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS candidates_signature ON candidates (signature);
CREATE TABLE IF NOT EXISTS trainings (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, seed TEXT NOT NULL, replicate INTEGER NOT NULL,
    stage TEXT NOT NULL, generation INTEGER NOT NULL, key TEXT NOT NULL, formula TEXT NOT NULL,
    task TEXT NOT NULL, part TEXT NOT NULL, learning_rate REAL NOT NULL, epochs INTEGER NOT NULL,
    outcome TEXT NOT NULL, accuracy REAL, reason TEXT NOT NULL, seconds REAL NOT NULL,
    metrics TEXT NOT NULL DEFAULT '{}',
    UNIQUE (fingerprint, seed)
);
"""
_MEASURES = """
CREATE TABLE IF NOT EXISTS measures (
    generation INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, PRIMARY KEY (generation, name)
) WITHOUT ROWID;
"""
"""What generations were like, by name; of a ledger from before there is none, and it is made when it is written to."""


_AT_ONCE = 500
"""Fingerprints in one question; old SQLites take 999 at most."""


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One generated candidate: where it came from and why it stands where it stands."""

    generation: int
    position: int
    origin: str
    formula: str
    size: int
    signature: str | None
    outcome: str
    rejected_by: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One training of one replicate. ``accuracy`` in [0, 1], or None where it failed; ``seconds`` of its cohort.

    ``metrics`` is JSON; see `lossforge.training.metrics`.
    """

    fingerprint: str
    seed: int
    replicate: int
    stage: str
    generation: int
    key: str
    formula: str
    task: str
    part: str
    learning_rate: float
    epochs: int
    outcome: str
    accuracy: float | None
    reason: str
    seconds: float
    metrics: str = "{}"


class Score(NamedTuple):
    """One training without its text and metrics, of which there may be hundreds of thousands; see `TrainingRow`."""

    stage: str
    generation: int
    key: str
    formula: str
    task: str
    replicate: int
    outcome: str
    accuracy: float | None
    seconds: float


class Ledger:
    """An open ledger. Every call is one transaction; raises StoreError where the file or the disk is at fault."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.exists():
            raise StoreError(f"{path}: there is no ledger yet; the run has not got that far")
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        with self._told():
            self._db = _connected(path)
        try:
            with self._told():
                if read_only and not _can_be_read(self._db):
                    self._open_beside()
                self._open(read_only)
        except BaseException:
            self.close()
            raise

    def _open_beside(self) -> None:
        """Read where no file can be made, as in another's folder: the file as it stands, or a copy with its log."""
        self._db.close()
        log = self.path.with_name(self.path.name + "-wal")
        if not log.exists() or not log.stat().st_size:
            # Nothing is written meanwhile: a writer would have its log there.
            self._db = _connected(f"{self.path.resolve().as_uri()}?mode=ro&immutable=1")
            return
        self._copy = tempfile.TemporaryDirectory(prefix="lossforge-")
        copy = Path(self._copy.name) / self.path.name
        try:
            for source in (self.path, log):
                shutil.copyfile(source, copy.with_name(source.name))
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror or type(error).__name__})") from None
        self._db = _connected(copy)

    def _open(self, read_only: bool) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > _FORMAT:
            raise StoreError(f"{self.path}: was written by a newer lossforge (ledger {version}); update lossforge")
        self._columns = ", ".join(TrainingRow.__slots__)
        if read_only:
            if version == 1:
                self._columns = self._columns.replace("metrics", "'{}'")
            self._db.execute("PRAGMA query_only = ON")
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        answer = self._db.execute("PRAGMA quick_check").fetchone()[0]
        if answer != "ok":
            raise sqlite3.DatabaseError(answer)
        if version < _FORMAT:
            change = "ALTER TABLE trainings ADD COLUMN metrics TEXT NOT NULL DEFAULT '{}';" if version == 1 else _SCHEMA
            self._db.executescript(f"BEGIN; {change} PRAGMA user_version = {_FORMAT}; COMMIT;")
        self._db.execute(_MEASURES)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if any(word in str(error) for word in ("malformed", "no such table", "no such column")):
                raise self._damaged(error) from None
            raise StoreError(
                f"{self.path}: cannot be read or written ({error}); free or repair the disk, then resume: nothing "
                "finished is lost"
            ) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> StoreError:
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("***")]
        told = lines[0] if lines else "its pages do not fit together"
        return StoreError(
            f"{self.path}: is damaged ({told}); restore it from a copy of the run, or recover "
            "what can be read with 'sqlite3 ledger.sqlite .recover'; it was left as it is"
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def add_candidates(self, rows: Iterable[CandidateRow]) -> None:
        """Record candidates; a replay of a generation writes the same rows again."""
        values = [tuple(getattr(row, name) for name in CandidateRow.__slots__) for row in rows]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def add_trainings(self, rows: Sequence[TrainingRow], *, replacing: Sequence[TrainingRow] = ()) -> None:
        """Record trainings, all or none.

        Raises StoreError for one that is there already, but for those in ``replacing``: a limit had cut them short.
        """
        names = TrainingRow.__slots__
        marks = ", ".join("?" * len(names))
        try:
            with self._transaction() as db:
                for verb, chosen in (("INSERT", rows), ("INSERT OR REPLACE", replacing)):
                    values = [
                        tuple(str(row.seed) if name == "seed" else getattr(row, name) for name in names)
                        for row in chosen
                    ]
                    db.executemany(f"{verb} INTO trainings ({', '.join(names)}) VALUES ({marks})", values)
        except StoreError as error:
            if "UNIQUE" in str(error):
                raise StoreError(f"{self.path}: a training was finished twice; this is a defect of lossforge") from None
            raise

    def add_measures(self, generation: int, measures: Mapping[str, float]) -> None:
        """Record what a generation was like; a replay writes the same again."""
        values = [(generation, name, value) for name, value in measures.items()]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO measures VALUES (?, ?, ?)", values)

    def measures(self) -> dict[int, dict[str, float]]:
        """What generations were like, by number and name; none in a ledger from before they were kept."""
        with self._told():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'measures'").fetchone():
                return {}
            rows = self._db.execute("SELECT generation, name, value FROM measures ORDER BY generation, name")
            found: dict[int, dict[str, float]] = {}
            for generation, name, value in rows:
                found.setdefault(generation, {})[name] = value
            return found

    def find(self, fingerprint: str, seed: int) -> TrainingRow | None:
        """The recorded training with this fingerprint and seed, or None."""
        with self._told():
            rows = self._select("WHERE fingerprint = ? AND seed = ?", (fingerprint, str(seed)))
        return rows[0] if rows else None

    def find_all(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], TrainingRow]:
        """Those of the trainings, by fingerprint and seed, that are recorded."""
        sought = set(wanted)
        fingerprints = list(dict.fromkeys(fingerprint for fingerprint, _ in sought))
        found: dict[tuple[str, int], TrainingRow] = {}
        for start in range(0, len(fingerprints), _AT_ONCE):
            some = fingerprints[start : start + _AT_ONCE]
            with self._told():
                rows = self._select(f"WHERE fingerprint IN ({', '.join('?' * len(some))})", some)
            found.update({(row.fingerprint, row.seed): row for row in rows if (row.fingerprint, row.seed) in sought})
        return found

    def trainings(self, stage: str | None = None, up_to_generation: int | None = None) -> list[TrainingRow]:
        """Trainings in the order recorded, of one stage, asked for in a generation up to the one given."""
        clauses, values = [], []
        if stage is not None:
            clauses.append("stage = ?")
            values.append(stage)
        if up_to_generation is not None:
            clauses.append("generation <= ?")
            values.append(str(up_to_generation))
        where = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        with self._told():
            return self._select(f"{where} ORDER BY id", values)

    def _select(self, clause: str, values: Sequence[str]) -> list[TrainingRow]:
        rows = self._db.execute(f"SELECT {self._columns} FROM trainings {clause}", values)
        return [TrainingRow(row[0], int(row[1]), *row[2:]) for row in rows]

    def scores(self) -> list[Score]:
        """Every training in the order recorded, in short."""
        with self._told():
            rows = self._db.execute(f"SELECT {', '.join(Score._fields)} FROM trainings ORDER BY id")
            return [Score(*row) for row in rows]

    def trainings_of(self, key: str, stage: str, most: int) -> list[TrainingRow]:
        """The first ``most`` trainings of a loss in a stage, in the order of their replicates."""
        with self._told():
            return self._select("WHERE key = ? AND stage = ? ORDER BY replicate, id LIMIT ?", (key, stage, str(most)))

    def candidates(self, outcome: str | None = None, up_to_generation: int | None = None) -> list[CandidateRow]:
        """Candidates in the order generated."""
        clauses, values = ["generation <= ?"], [2**62 if up_to_generation is None else up_to_generation]
        if outcome is not None:
            clauses.append("outcome = ?")
            values.append(outcome)  # type: ignore[arg-type]
        with self._told():
            rows = self._db.execute(
                f"SELECT {', '.join(CandidateRow.__slots__)} FROM candidates WHERE {' AND '.join(clauses)} "
                "ORDER BY generation, position",
                values,
            )
            return [CandidateRow(*row) for row in rows]

    def tally(self) -> dict[str, int]:
        """Number of candidates by outcome; rejected ones by screen as ``rejected:SCREEN``."""
        with self._told():
            rows = self._db.execute("SELECT outcome, rejected_by, count(*) FROM candidates GROUP BY 1, 2")
            return {f"{outcome}:{screen}" if screen else outcome: count for outcome, screen, count in rows}

    def last_generation(self) -> int:
        """The last generation whose candidates are recorded, or -1."""
        with self._told():
            return int(self._db.execute("SELECT coalesce(max(generation), -1) FROM candidates").fetchone()[0])

    def training_count(self, stage: str | None = None, up_to_generation: int = 2**62) -> int:
        """Number of trainings recorded: of all stages, or of one, asked for in a generation up to the one given."""
        clause = "" if stage is None else "AND stage = ?"
        values = [up_to_generation, *([] if stage is None else [stage])]
        with self._told():
            return int(
                self._db.execute(f"SELECT count(*) FROM trainings WHERE generation <= ? {clause}", values).fetchone()[0]
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        if self._copy is not None:
            self._copy.cleanup()


def _connected(file: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(file, isolation_level=None, timeout=30, uri=isinstance(file, str))


def _can_be_read(db: sqlite3.Connection) -> bool:
    """False where sqlite cannot make the files that it keeps beside a database, not even to read."""
    try:
        db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        return not any(word in str(error) for word in ("unable to open", "readonly"))
    return True
