"""Sums of losses, n-gram by n-gram: what each reached, with seeds, intervals, and what cannot be told from the best.

Precision, recall and F1 of two classes are those of the second; of more, means over classes. Intersection over union is
always a mean over classes. A class that is neither true nor predicted counts in none of them, and one that is never
predicted, or never true, counts 0. All come from the confusion matrices that the ledger keeps, a seed each.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from lossforge.errors import LossError, LossforgeError
from lossforge.losses.candidates import parse_candidate
from lossforge.losses.fusions import Fusion
from lossforge.losses.library import LIBRARY, loss_spec
from lossforge.search.scores import as_score, is_score
from lossforge.spaces.task_section import metric_title
from lossforge.store.ledger import Ledger, TrainingRow
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage
from lossforge.validation.statistics import holm, paired_difference, t_quantile

COLUMNS = ("accuracy", "precision", "recall", "f1", "iou")
"""What a table tells of a loss, besides its name and the metric of the task."""
_TITLES = {"f1": "F1", "iou": "IoU"}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One sum of losses in a table; all figures are means over ``seeds``, in [0, 1] but for the loss.

    ``half`` is half of the 95 % interval of ``score``, the task's metric (None: of one seed). ``same_as`` names the sum
    with the same signature, whose trainings these are. ``near_best``: its difference to the best of the table cannot
    be told from none (paired by seed, Holm over the table). ``figures`` are None where nothing trained; ``failed``
    counts trainings that did not, whose score counts as 0. ``confusion`` is summed over seeds, a row a true class.
    """

    number: int
    name: str
    formula: str
    seeds: int
    score: float
    half: float | None
    figures: Mapping[str, float] | None
    loss: float | None
    confusion: tuple[tuple[int, ...], ...]
    same_as: str = ""
    near_best: bool = False
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Sums of so many losses (``order``; 0: the re-validated ones, of any number) on a task's ``part``."""

    task: str
    order: int
    part: str
    metric: str
    rows: tuple[TableRow, ...]

    @property
    def title(self) -> str:
        """What it is of."""
        what = "re-validated sums" if self.order == 0 else f"{self.order}-gram"
        return f"{what} on {self.task}, {self.part} data"


def fusion_tables(run: Path) -> list[Table]:
    """The tables of a run, by task and number of losses, and of its re-validation.

    Raises LossforgeError for a run whose candidates are no sums of named losses, StoreError for what is no run.
    """
    folder = RunFolder.open(run)
    space = folder.space()
    if not space.fusion.losses:
        raise LossforgeError(
            f"{run}: its candidates are formulas; tables are of sums of named losses, from a space with fusion.losses "
            "such as fusion_digits"
        )
    ledger = Ledger(folder.ledger_file, read_only=True)
    try:
        candidates = [row for row in ledger.candidates() if row.signature is not None]
        candidates_rows = ledger.trainings(Stage.SEARCH)
        # Cross-entropy may have been trained on more seeds than any sum.
        seeds = {(row.task, row.replicate) for row in candidates_rows}
        control = [row for row in ledger.trainings(Stage.CONTROL) if (row.task, row.replicate) in seeds]
        searched = _by_key([*control, *candidates_rows])
        validated = _by_key(ledger.trainings(Stage.VALIDATION))
    finally:
        ledger.close()
    first: dict[str, str] = {}
    sums: list[tuple[int, str, str, str]] = []
    seen: set[str] = set()
    for row in candidates:
        candidate = parse_candidate(row.formula)
        if isinstance(candidate, Fusion) and row.formula not in seen:
            seen.add(row.formula)
            name = row.origin if space.evolution.strategy == "grid" else row.formula
            sums.append((len(candidate.parts), name, row.formula, str(row.signature)))
            first.setdefault(str(row.signature), name)
    tables = []
    for task in space.task:
        for order in sorted({order for order, *_ in sums}):
            rows = [
                _row(number, name, formula, searched.get((task.title, key), []), first[key])
                for number, (size, name, formula, key) in enumerate(sums, 1)
                if size == order
            ]
            tables.append(_table(task.title, task.measure, order, "validation", rows, searched, sums))
        later = [(name, formula, key) for _, name, formula, key in sums if (task.title, key) in validated]
        known = {key for *_, key in sums}
        rivals = dict.fromkeys(
            (rows[0].formula, key)
            for (title, key), rows in validated.items()
            if title == task.title and key not in known
        )
        known_names = _library(space.head)
        later += [(known_names.get(formula, formula), formula, key) for formula, key in rivals]
        rows = [
            _row(number, name, formula, validated[task.title, key], name)
            for number, (name, formula, key) in enumerate(
                [one for one in later if first.get(one[2], one[0]) == one[0]], 1
            )
        ]
        if rows:
            whole = [(0, name, formula, key) for name, formula, key in later]
            tables.append(_table(task.title, task.measure, 0, "test", rows, validated, whole))
    return tables


def _library(head: str) -> dict[str, str]:
    """Names of the library's losses by what is trained of them."""
    found: dict[str, str] = {}
    for name in LIBRARY:
        try:
            spec = loss_spec(name, head=head)
        except LossError:
            continue
        if not spec.label_smoothing:
            found.setdefault(spec.formula, name)
    return found


_Rows = dict[tuple[str, str], list[TrainingRow]]


def _by_key(rows: Sequence[TrainingRow]) -> _Rows:
    """Trainings by task and key, in the order of their seeds."""
    found: _Rows = {}
    for row in rows:
        found.setdefault((row.task, row.key), []).append(row)
    return {key: sorted(own, key=lambda row: row.replicate) for key, own in found.items()}


def _row(number: int, name: str, formula: str, rows: Sequence[TrainingRow], first: str) -> TableRow:
    scores = [as_score(row.accuracy) for row in rows]
    metrics = [json.loads(row.metrics) for row in rows if is_score(row.accuracy)]
    confusions = [one["confusion_matrix"] for one in metrics if one.get("confusion_matrix")]
    figures = [figures_of(table) for table in confusions]
    losses = [one["curve"][-1] for one in metrics if one.get("curve")]
    half = None
    if len(scores) > 1:
        half = t_quantile(0.975, len(scores) - 1) * stdev(scores) / len(scores) ** 0.5
    return TableRow(
        number=number,
        name=name,
        formula=formula,
        seeds=len(rows),
        score=fmean(scores) if scores else 0.0,
        half=half,
        figures={key: fmean(one[key] for one in figures) for key in COLUMNS} if figures else None,
        loss=fmean(losses) if losses else None,
        confusion=_added(confusions),
        same_as="" if first == name else first,
        failed=sum(not is_score(row.accuracy) for row in rows),
    )


def figures_of(confusion: Sequence[Sequence[int]]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and IoU of counts, a row a true class, a column a predicted one.

    >>> figures_of([[8, 2], [1, 4]])["f1"]
    0.7272727272727273
    """
    hits = [row[place] for place, row in enumerate(confusion)]
    true, predicted = [sum(row) for row in confusion], [sum(column) for column in zip(*confusion, strict=True)]
    total = sum(true)
    occurring = [place for place in range(len(hits)) if true[place] + predicted[place]]
    chosen = [1] if len(hits) == 2 else occurring
    return {
        "accuracy": _share(sum(hits), total),
        "precision": fmean(_share(hits[place], predicted[place]) for place in chosen) if chosen else 0.0,
        "recall": fmean(_share(hits[place], true[place]) for place in chosen) if chosen else 0.0,
        "f1": fmean(_share(2 * hits[place], true[place] + predicted[place]) for place in chosen) if chosen else 0.0,
        "iou": fmean(_share(hits[place], true[place] + predicted[place] - hits[place]) for place in occurring)
        if occurring
        else 0.0,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _added(tables: Sequence[Sequence[Sequence[int]]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sum(cells) for cells in zip(*rows, strict=True)) for rows in zip(*tables, strict=True))


def _table(
    task: str,
    metric: str,
    order: int,
    part: str,
    rows: Sequence[TableRow],
    trainings: _Rows,
    sums: Sequence[tuple[int, str, str, str]],
) -> Table:
    """The rows with marks on those that cannot be told from the best."""
    keys = {name: key for _, name, _, key in sums}
    best = max(rows, key=lambda row: row.score)
    mine = {row.replicate: as_score(row.accuracy) for row in trainings.get((task, keys[best.name]), [])}
    others, p_values = [], []
    finest = _finest(rows, metric)
    for row in rows:
        its = {one.replicate: as_score(one.accuracy) for one in trainings.get((task, keys[row.name]), [])}
        common = sorted(mine.keys() & its.keys())
        differences = [mine[seed] - its[seed] for seed in common]
        if row is not best:
            others.append(row.name)
            p = (
                paired_difference(differences, resolution=finest).p
                if len(differences) > 1 and any(differences)
                else 1.0
            )
            p_values.append(p)
    near = {name for name, p in zip(others, holm(p_values), strict=True) if p >= 0.05}
    marked = [replace(row, near_best=row.name in near) for row in rows]
    return Table(task, order, part, metric, tuple(marked))


def _finest(rows: Sequence[TableRow], metric: str) -> float:
    """What one sample, or pixel, more is worth in the metric: of means over classes one of the rarest class."""
    seen = [row for row in rows if row.confusion and row.seeds > row.failed]
    if not seen:
        return 1e-6
    true = [sum(row) / (seen[0].seeds - seen[0].failed) for row in seen[0].confusion]
    return 1 / (sum(true) if metric == "accuracy" else min((count for count in true if count), default=1.0))


LEGEND = (
    "means over seeds, the metric with half its 95 % interval; ~ its difference to the best of the table cannot be "
    "told from none (paired by seed, Holm); = the same loss as the one named, whose trainings these are"
)


def cells(table: Table, bold: tuple[str, str] = ("", "")) -> Iterator[list[str]]:
    """The head of a table, then its rows as text; ``bold`` stands around the best of each column."""
    scored = metric_title(table.metric)
    columns = [name for name in COLUMNS if _title(name) != scored]
    yield ["", "loss", scored, *map(_title, columns), "loss value", "seeds"]
    tops = {name: max((row.figures[name] for row in table.rows if row.figures), default=2.0) for name in columns}
    best = max(row.score for row in table.rows)

    def told(value: float | None, top: float) -> str:
        if value is None:
            return "-"
        text = f"{value:.4f}"
        return f"{bold[0]}{text}{bold[1]}" if f"{top:.4f}" == text else text

    for row in table.rows:
        half = "" if row.half is None else f" ±{row.half:.4f}"
        mark = " ~" if row.near_best else ""
        failed = f" ({row.failed} failed)" if row.failed else ""
        same = f" (= {row.same_as})" if row.same_as else ""
        yield [
            str(row.number),
            row.name + same,
            told(row.score, best) + half + mark + failed,
            *(told(None if row.figures is None else row.figures[name], tops[name]) for name in columns),
            "-" if row.loss is None else f"{row.loss:.4g}",
            str(row.seeds),
        ]


def _title(name: str) -> str:
    return _TITLES.get(name, name)


def as_csv(tables: Sequence[Table]) -> str:
    """All tables as one CSV, a row a sum, confusion matrices as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["task", "part", "order", "number", "loss", "formula", "metric", "score", "half_interval", *COLUMNS]
    writer.writerow([*head, "loss_value", "seeds", "failed", "same_as", "near_best", "confusion_matrix"])
    for table in tables:
        for row in table.rows:
            figures = ["" if row.figures is None else f"{row.figures[name]:.6f}" for name in COLUMNS]
            half = "" if row.half is None else f"{row.half:.6f}"
            place = [table.task, table.part, table.order, row.number, row.name, row.formula, table.metric]
            last = ["" if row.loss is None else f"{row.loss:.6g}", row.seeds, row.failed, row.same_as, row.near_best]
            confusion = json.dumps(row.confusion) if row.confusion else ""
            writer.writerow([*place, f"{row.score:.6f}", half, *figures, *last, confusion])
    return text.getvalue()


def as_latex(tables: Sequence[Table]) -> str:
    """A LaTeX table each, the best in bold; it needs the package booktabs."""
    return "\n".join(_latex(table) for table in tables)


def _latex(table: Table) -> str:
    head, *rows = ([_escaped(cell) for cell in row] for row in cells(table, ("@b@", "@e@")))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(table.title)}: {_escaped(LEGEND)}.}}"]
    lines += [rf"\begin{{tabular}}{{rl{'r' * (len(head) - 2)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    for character in "&%$#_{}":
        text = text.replace(character, "\\" + character)
    text = text.replace("~", r"$\sim$").replace("±", r"$\pm$")
    return text.replace("@b@", r"\textbf{").replace("@e@", "}")
