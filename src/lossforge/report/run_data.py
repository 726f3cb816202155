"""What a report tells of a run: read once from its folder, which is only read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lossforge.errors import LossforgeError, StoreError
from lossforge.search.budget import used_up
from lossforge.search.control import control_key
from lossforge.search.hall_of_fame import Entry, read_hall_of_fame
from lossforge.search.scores import is_score
from lossforge.spaces.schema import SearchSpace
from lossforge.store.checkpoint import load_checkpoint
from lossforge.store.ledger import CandidateRow, Ledger, Score, TrainingRow
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage
from lossforge.validation.comparison import Comparison
from lossforge.validation.results import comparisons_by_plan, read_comparisons
from lossforge.validation.statistics import t_quantile

_LINE = re.compile(r"^(\S+Z) (.*)$")
_GENERATION = re.compile(r"^generation (\d+): .* gain ([+-]\d+\.\d+)\b")
_CURVES = 8
"""Trainings of one loss whose curves are read."""


@dataclass(slots=True)
class Judged:
    """A loss that was trained: its gains over cross-entropy in points, a replicate each (empty: it failed).

    ``generation`` is counted from 1.
    """

    key: str
    formula: str
    generation: int
    gains: list[float]
    size: int = 0
    origin: str = ""

    @property
    def gain(self) -> float:
        """Their mean."""
        return fmean(self.gains)

    @property
    def half(self) -> float | None:
        """Half of the 95 % interval of the mean, by Student's t; None of fewer than three replicates."""
        count = len(self.gains)
        return None if count < 3 else t_quantile(0.975, count - 1) * stdev(self.gains) / count**0.5


@dataclass(frozen=True, slots=True)
class Moment:
    """A generation's end: its number from 1, seconds since the run began, and the leader's gain of then."""

    generation: int
    seconds: float
    gain: float


@dataclass(slots=True)
class RunData:
    """All of it. ``judged`` is by key, in the order trained, without cross-entropy; what failed has no gains.

    ``comparisons`` are a re-validation's under "", and plans' under their names. ``tally`` counts candidates by
    outcome, rejected ones by screen. ``finished``: the budget is used up. ``work`` is the workers' seconds by stage.
    ``trouble`` says what could not be read. ``known`` is the best known loss where the search trained those, and
    ``known_gain`` its gain over cross-entropy in points; ``measures`` are what generations (from 1) were like, by name.
    """

    path: Path
    manifest: dict[str, Any]
    space: SearchSpace
    generations_done: int = 0
    finished: bool = False
    entries: list[Entry] = field(default_factory=list)
    judged: dict[str, Judged] = field(default_factory=dict)
    tally: dict[str, int] = field(default_factory=dict)
    trainings: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    moments: list[Moment] = field(default_factory=list)
    began: str = ""
    ended: str = ""
    learning_rates: dict[str, float] = field(default_factory=dict)
    comparisons: dict[str, list[Comparison]] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    control_key: str = ""
    control: float | None = None
    known: str = ""
    known_key: str = ""
    known_gain: float | None = None
    measures: dict[int, dict[str, float]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        """From logits to probabilities."""
        return self.space.head

    def trained(self) -> list[Judged]:
        """Losses with a gain."""
        return [one for one in self.judged.values() if one.gains]


def read_run(path: Path) -> RunData:
    """Read a run. Raises LossforgeError where it is none; what is missing or damaged in it is told in ``trouble``."""
    folder = RunFolder.open(path)
    data = RunData(path, folder.manifest, folder.space())
    data.control_key = control_key(data.space)
    state: dict[str, Any] = {}
    with _Told(data):
        state = load_checkpoint(folder.checkpoint_file) or {}
        data.generations_done = int(state.get("generation", -1)) + 1
        data.learning_rates = dict(state.get("learning_rates") or {})
        known = state.get("known")
        if isinstance(known, dict):
            data.known, data.known_key = str(known.get("name", "")), str(known.get("key", ""))
    if folder.hall_of_fame_file.exists():
        with _Told(data):
            data.entries = read_hall_of_fame(folder.hall_of_fame_file)
    if folder.ledger_file.exists():
        with _Told(data):
            _read_ledger(data, folder.ledger_file, state)
    with _Told(data):
        data.comparisons = {
            name: rows for name, rows in {"": read_comparisons(folder), **comparisons_by_plan(folder)}.items() if rows
        }
    with _Told(data):
        _read_log(data, folder.log_file)
    return data


class _Told:
    """Within it a part that cannot be read is told of, and left out."""

    def __init__(self, data: RunData) -> None:
        self._data = data

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, LossforgeError):
            self._data.trouble.append(str(error))
        return isinstance(error, LossforgeError)


def _read_ledger(data: RunData, path: Path, state: Mapping[str, object]) -> None:
    ledger = Ledger(path, read_only=True)
    try:
        data.finished = used_up(data.space, state or None, ledger) != ""
        scores = ledger.scores()
        candidates = ledger.candidates()
        _read_scores(data, scores)
        _read_candidates(data, candidates)
        data.known_gain = _known_gain(scores, data.known_key, data.control_key)
        data.measures = {number + 1: named for number, named in ledger.measures().items()}
        chosen = [entry.signature for entry in data.entries[:3]]
        for stage, keys in ((Stage.SEARCH, chosen), (Stage.CONTROL, [data.control_key])):
            for key in keys:
                curves = [_curve(row) for row in ledger.trainings_of(key, stage, _CURVES)]
                if found := [curve for curve in curves if len(curve) > 1]:
                    data.curves[key] = found
    finally:
        ledger.close()


def _curve(row: TrainingRow) -> list[float]:
    import json

    try:
        found = json.loads(row.metrics).get("curve")
    except ValueError:
        return []
    return [float(value) for value in found] if isinstance(found, list) else []


def _read_scores(data: RunData, scores: Sequence[Score]) -> None:
    control: dict[tuple[str, int], float] = {}
    for row in scores:
        if row.stage == Stage.CONTROL and is_score(row.accuracy):
            control[row.task, row.replicate] = float(row.accuracy or 0.0)
    data.control = fmean(control.values()) if control else None
    by_key: dict[str, dict[str, dict[int, float | None]]] = {}
    for row in scores:
        if row.stage != Stage.SEARCH or row.key == data.control_key:
            continue
        if row.key not in data.judged:
            data.judged[row.key] = Judged(row.key, row.formula, row.generation + 1, [])
        base = control.get((row.task, row.replicate))
        known = base is not None and is_score(row.accuracy)
        gain = 100 * (float(row.accuracy or 0.0) - base) if known and base is not None else None
        by_key.setdefault(row.key, {}).setdefault(row.task, {})[row.replicate] = gain
    for key, tasks in by_key.items():
        if all(gain is not None for gains in tasks.values() for gain in gains.values()):
            both = sorted(set.intersection(*map(set, tasks.values())))
            data.judged[key].gains = [fmean(gains[one] or 0.0 for gains in tasks.values()) for one in both]
    data.trainings = len(scores)
    data.failures = dict(Counter(row.outcome for row in scores if row.outcome != "trained"))
    # A cohort's trainings share one measured time, to the nanosecond: it counts once.
    for stage, _ in dict.fromkeys((row.stage, row.seconds) for row in scores):
        data.work.setdefault(stage, 0.0)
    for stage, seconds in {(row.stage, row.seconds) for row in scores}:
        data.work[stage] += seconds


def _known_gain(scores: Sequence[Score], key: str, control: str) -> float | None:
    """The known loss's mean gain, in points, over the replicates that both were measured on beside each other."""
    found: dict[str, dict[tuple[str, int], float]] = {key: {}, control: {}}
    for row in scores:
        if row.stage == Stage.REFERENCE and row.key in found and is_score(row.accuracy):
            found[row.key][row.task, row.replicate] = float(row.accuracy or 0.0)
    both = found[key].keys() & found[control].keys()
    return 100 * fmean(found[key][one] - found[control][one] for one in both) if both else None


def _read_candidates(data: RunData, candidates: Iterable[CandidateRow]) -> None:
    tally: Counter[str] = Counter()
    for row in candidates:
        tally[f"{row.outcome}:{row.rejected_by}" if row.rejected_by else row.outcome] += 1
        judged = data.judged.get(row.signature or "")
        if judged is not None and not judged.origin:
            judged.size, judged.origin = row.size, row.origin
    data.tally = dict(tally)


def _read_log(data: RunData, path: Path) -> None:
    data.began = str(data.manifest.get("created") or "")
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from None
    start = _seconds(data.began)
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found:
            continue
        data.ended = found[1]
        told = _GENERATION.match(found[2])
        if told and start is not None:
            data.moments.append(Moment(int(told[1]), (_seconds(found[1]) or start) - start, float(told[2])))
    data.log = text.splitlines()


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
