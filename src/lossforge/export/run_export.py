"""Export the leaders of a run."""

from __future__ import annotations

from pathlib import Path

from lossforge.data.places import using_data_folder
from lossforge.errors import LossforgeError, StoreError
from lossforge.evaluation.feasibility import class_count
from lossforge.export.formats import FORMATS, exported
from lossforge.export.recipe import gain_lines, limits, recipe_lines
from lossforge.export.torch_module import Export
from lossforge.losses.candidates import candidate_spec
from lossforge.losses.heads import HEADS
from lossforge.losses.matching import matched_scales
from lossforge.search.hall_of_fame import Entry
from lossforge.search.standing import checked_leaders
from lossforge.spaces.base_folder import working_from
from lossforge.spaces.schema import SearchSpace
from lossforge.spaces.task_section import searched_title
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder
from lossforge.validation.comparison import Comparison
from lossforge.validation.results import read_comparisons, verdicts_of_run

_AGAIN = "export again"
_ELSEWHERE = "name another file with -o"


def export_run(run: Path, output: Path | None, number: int, format: str = "torch") -> Path:
    """Write the best ``number`` losses of a run as one file of a format, and return its path. Raises LossforgeError."""
    folder = RunFolder.open(run)
    losses, origin = exports_of(folder, number)
    content = exported(losses, origin, format)
    path = folder.export_folder / FORMATS[format] if output is None else output
    if path.is_dir():
        raise StoreError(f"{path}: is a folder; {_ELSEWHERE}")
    with told_as_store_error(path, _AGAIN, _ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content, _AGAIN, _ELSEWHERE)
    return path


def exports_of(folder: RunFolder, number: int) -> tuple[list[Export], str]:
    """The best ``number`` losses of a run, with what is known of them, and their origin. Raises LossforgeError."""
    space = folder.space()
    entries = checked_leaders(folder, space)[:number]
    if not entries:
        raise LossforgeError(f"{folder.path}: the search found no loss that trains, so there is nothing to export")
    comparisons, verdicts = read_comparisons(folder), verdicts_of_run(folder)
    with working_from(folder.base_folder(space)), using_data_folder(space.execution.data_dir):
        losses = [_export(entry, space, comparisons, verdicts) for entry in entries]
    versions = folder.manifest.get("packages") or {}
    name = folder.path.resolve().name
    origin = (
        f"Run {name} of space '{space.name}', seed {space.seed}, begun {folder.manifest.get('created')};\n"
        f"lossforge {versions.get('lossforge')}, torch {versions.get('torch')}, commit {folder.manifest.get('commit')}."
    )
    return losses, origin


def _export(entry: Entry, space: SearchSpace, comparisons: list[Comparison], verdicts: dict[str, str]) -> Export:
    """An entry, with what its re-validation found."""
    loss = candidate_spec(entry.formula, space.head, space.recipe.label_smoothing)
    rows = [row for row in comparisons if row.formula in (entry.formula, loss.formula)]
    classes = rows[0].classes if rows and rows[0].classes else _classes(space)
    head = HEADS[space.head]
    scale = matched_scales([loss], classes, head)[0] if classes and space.recipe.match_gradient else None
    recipe: list[str] = []
    if rows and rows[0].classes:
        most = max(rows, key=lambda row: row.seeds)
        said = _verdict(rows, verdicts)
        recipe = [*recipe_lines(space, most), *gain_lines(rows), *said, limits(rows[0])]
    return Export(
        name=f"Discovered{entry.rank}",
        formula=loss.formula,
        class_mean=loss.class_mean,
        provenance=_provenance(entry, rows, loss.formula),
        recipe=tuple(recipe),
        scale=scale or 1.0,
        classes=classes if scale else 0,
        smoothing=loss.label_smoothing,
        head=head.name,
    )


def _verdict(rows: list[Comparison], verdicts: dict[str, str]) -> list[str]:
    said = verdicts.get(rows[0].formula)
    return [f"verdict: {said}"] if said else []


def _classes(space: SearchSpace) -> int:
    """Classes of the first task's data; 0 where they cannot be read any more."""
    try:
        return class_count(space.task[0])
    except LossforgeError:
        return 0


def _gain_line(entry: Entry) -> str:
    """What the search measured."""
    points = f"points of {searched_title(entry.metric)} over cross-entropy"
    if entry.gain is None or entry.low is None or entry.high is None:
        return f"In the search: {entry.search_gain:+.2f} {points}, on {entry.seeds} seeds that chose it."
    known = "" if entry.gain_over_known is None else f", and {entry.gain_over_known:+.2f} over {entry.known}"
    return (
        f"In the search: {entry.gain:+.2f} [{entry.low:+.2f}, {entry.high:+.2f}] {points}{known}, on {entry.seeds} "
        "fresh seeds that had no part in choosing it."
    )


def _provenance(entry: Entry, rows: list[Comparison], written: str) -> tuple[str, ...]:
    lines = [
        f"Found in generation {entry.generation} by {entry.origin}, rank {entry.rank}, signature {entry.signature}.",
        _gain_line(entry),
    ]
    if entry.formula != written:
        lines.append(f"It is the sum {entry.formula}.")
    if entry.searched != entry.formula:
        lines.append(f"The search trained {entry.searched}, which is the same loss written in another way.")
    return tuple(lines if rows else [*lines, "Not re-validated: the gain in the search may be luck."])
