"""The best candidates of a run, and the table ``hall_of_fame.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lossforge.errors import FormulaError, LossError, StoreError
from lossforge.evaluation.space_trainings import key_in
from lossforge.expression.final_form import form_behind
from lossforge.expression.tree import Expression
from lossforge.losses.candidates import Candidate, candidate_spec, parse_candidate
from lossforge.search.likeness import families, nearest_known
from lossforge.search.scores import Scores
from lossforge.search.statistics import PairedDifference
from lossforge.spaces.schema import SearchSpace
from lossforge.store.files import write_atomically

LENGTH = 20
"""Losses that the table holds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One loss of the hall of fame.

    ``formula`` is the loss in the form that people read, and that is re-validated and exported (`final_form`);
    ``searched`` is what the search trained, and ``signature`` its key. ``fitness`` (-1 to 1) is what the search
    selected by, and ``search_gain`` the mean gain over cross-entropy, in percentage points, on the replicates that it
    selected on: of the best of many it is too high. ``gain`` is the same on fresh replicates, which had no part in
    that, with the 95 % interval from ``low`` to ``high``, and ``gain_over_known`` that over ``known``, the best known
    loss; all are None where a loss was not measured so. ``accuracy`` and ``control`` (cross-entropy's) are means over
    the ``seeds`` replicates: the fresh ones where there are any, or those of the search. ``metric`` says what these
    are of: a ``task.metric``, or several with
    a plus between where tasks differ. ``generation`` is counted from 1. ``relatives`` are judged losses, ranked after
    it, that are like it for all a training can tell; ``nearest_known`` is the library's loss that is most like it, and
    ``cosine`` (0 to 1) how much.
    """

    rank: int
    formula: str
    fitness: float
    gain: float | None
    size: int
    seeds: int
    accuracy: float
    control: float
    generation: int
    origin: str
    signature: str
    metric: str = "accuracy"
    searched: str = ""
    low: float | None = None
    high: float | None = None
    gain_over_known: float | None = None
    known: str = ""
    search_gain: float = 0.0
    relatives: int = 0
    nearest_known: str = ""
    cosine: float = 0.0

    @property
    def told_gain(self) -> str:
        """The gain as a line says it: measured, with its interval, or as the search had it.

        >>> Entry(1, "-y_pred", 0.025, None, 1, 8, 0.95, 0.925, 3, "random", "k", search_gain=2.5).told_gain
        '+2.50 in the search'
        """
        if self.gain is None or self.low is None or self.high is None:
            return f"{self.search_gain:+.2f} in the search"
        told = f"{self.gain:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"
        return told if self.gain_over_known is None else f"{told}, {self.gain_over_known:+.2f} over {self.known}"


@dataclass(frozen=True, slots=True)
class Measured:
    """What fresh replicates say of a loss, in percentage points of the task's metric, averaged over tasks.

    ``gain`` is over cross-entropy, ``over_known`` over the best known loss (None: none is known). ``accuracy`` and
    ``control``, cross-entropy's, are means in [0, 1].
    """

    gain: PairedDifference
    over_known: PairedDifference | None
    accuracy: float
    control: float


_SINCE = ("low", "high", "gain_over_known", "known", "search_gain", "relatives", "nearest_known", "cosine")
_BEFORE_FRESH = [name for name in Entry.__slots__ if name not in _SINCE]
"""Columns of a table from before gains were measured on fresh replicates, and likeness was told."""
_BEFORE_FORMS = [name for name in _BEFORE_FRESH if name != "searched"]
"""Columns of a table from before formulas had a final form, and generations were counted from 1."""
_BEFORE_METRICS = [name for name in _BEFORE_FORMS if name != "metric"]
"""Columns of a table from before there was a choice of metrics."""
_KNOWN_COLUMNS = [list(Entry.__slots__), _BEFORE_FRESH, _BEFORE_FORMS, _BEFORE_METRICS]


def hall_of_fame(
    scores: Scores,
    space: SearchSpace,
    control_key: str,
    fresh: Mapping[str, Measured] | None = None,
    known: str = "",
) -> list[Entry]:
    """The leaders, best first; those judged on all of a finalist's seeds come before all others.

    ``fresh`` is what fresh replicates say of some, by key. They change no rank: to choose by them would be to choose by
    luck again. ``known`` names the best known loss. One of a family stands for it.
    """
    entries = []
    for rank, family in enumerate(families(scores, space, control_key, LENGTH), start=1):
        key = family.key
        nearest, cosine = nearest_known(scores.judged[key].formula, space.head)
        judged, fitness = scores.judged[key], scores.fitness(key)
        form = _form(parse_candidate(judged.formula), space)
        measured = (fresh or {}).get(key)
        over = None if measured is None else measured.over_known
        entries.append(
            Entry(
                rank=rank,
                formula=str(form),
                fitness=fitness,
                gain=None if measured is None else round(measured.gain.mean, 9),
                size=form.size,
                seeds=scores.replicates(key) if measured is None else measured.gain.count,
                accuracy=scores.accuracy(key) if measured is None else measured.accuracy,
                control=scores.control_accuracy(key) if measured is None else measured.control,
                generation=judged.generation + 1,
                origin=judged.origin,
                signature=key,
                metric=space.measure,
                searched=judged.formula,
                low=None if measured is None else round(measured.gain.low, 9),
                high=None if measured is None else round(measured.gain.high, 9),
                gain_over_known=None if over is None else round(over.mean, 9),
                known="" if over is None else known,
                search_gain=round(100 * scores.gain(key), 9),
                relatives=len(family.relatives),
                nearest_known=nearest,
                cosine=cosine,
            )
        )
    return entries


def write_hall_of_fame(path: Path, entries: list[Entry]) -> None:
    """Write the table; it holds no time and no place, so equal searches give equal bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Entry.__slots__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    write_atomically(path, text.getvalue())


def read_hall_of_fame(path: Path) -> list[Entry]:
    """Read the table back. Raises StoreError where it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(io.StringIO(text))
        rows = list(reader)
        if list(reader.fieldnames or []) not in _KNOWN_COLUMNS:
            raise ValueError("its first line is not the table's")
        if not text.endswith("\n"):
            raise ValueError("it is cut off in the middle of a row")
        return [_entry(row) for row in rows]
    except FileNotFoundError:
        raise StoreError(f"{path}: is not there yet; the search has not finished its first generation") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, how: str) -> StoreError:
    """What to say of a table that does not tell what was found."""
    return StoreError(f"{path}: is damaged ({how}); type 'lossforge resume {path.parent}': it is written again")


def checked_entries(path: Path, space: SearchSpace) -> list[Entry]:
    """The table, with every formula checked against its signature and its final form.

    Raises StoreError where one was edited: results are kept by signature, and would be told of another loss.
    """
    entries = read_hall_of_fame(path)
    for entry in entries:
        try:
            tree = parse_candidate(entry.searched)
        except (FormulaError, LossError) as error:
            raise damaged(path, f"the formula of rank {entry.rank} cannot be read: {error}") from None
        form = _form(tree, space)
        same = entry.formula in (str(form), entry.searched)
        if not same or key_in(space, candidate_spec(str(tree), space.head)) != entry.signature:
            raise damaged(path, f"the formula of rank {entry.rank} is not the one that was searched")
    return entries


def _form(expression: Candidate, space: SearchSpace) -> Candidate:
    """What people read, and what is re-validated and exported; a sum of named losses is what it is."""
    if not isinstance(expression, Expression):
        return expression
    return form_behind(expression, soft_targets=space.recipe.label_smoothing > 0, head=space.head)


def _entry(row: dict[str, str]) -> Entry:
    if None in row.values():
        raise ValueError("a row is cut off")
    if None in row:
        raise ValueError("a row is too long")
    return Entry(
        rank=int(row["rank"]),
        formula=row["formula"],
        fitness=float(row["fitness"]),
        gain=_number(row["gain"]) if "low" in row else None,
        size=int(row["size"]),
        seeds=int(row["seeds"]),
        accuracy=float(row["accuracy"]),
        control=float(row["control"]),
        # Tables of before counted from 0, as the ledger does.
        generation=int(row["generation"]) + ("searched" not in row),
        origin=row["origin"],
        signature=row["signature"],
        metric=row.get("metric", "accuracy"),
        searched=row.get("searched", row["formula"]),
        low=_number(row.get("low", "")),
        high=_number(row.get("high", "")),
        gain_over_known=_number(row.get("gain_over_known", "")),
        known=row.get("known", ""),
        # Tables of before had the gain that chose, and no other.
        search_gain=float(row["search_gain"] if "search_gain" in row else row["gain"]),
        relatives=int(row.get("relatives", 0)),
        nearest_known=row.get("nearest_known", ""),
        cosine=float(row.get("cosine", 0.0)),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
