"""Export the leaders of a run."""

from __future__ import annotations

from pathlib import Path

from lossforge.errors import LossforgeError
from lossforge.export.torch_module import Export, module_source
from lossforge.expression.formula import parse_formula
from lossforge.expression.simplify import simplified
from lossforge.expression.tree import format_formula
from lossforge.search.hall_of_fame import Entry, checked_entries
from lossforge.spaces.task_section import metric_title
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder
from lossforge.validation.protocol import read_comparisons


def export_run(run: Path, output: Path | None, number: int) -> Path:
    """Write the best ``number`` losses of a run as one module, and return its path. Raises LossforgeError."""
    folder = RunFolder.open(run)
    space = folder.space()
    entries = checked_entries(folder.hall_of_fame_file, keep_scale=not space.recipe.match_gradient)[:number]
    if not entries:
        raise LossforgeError(f"{run}: the search found no loss that trains, so there is nothing to export")
    path = folder.export_folder / "losses.py" if output is None else output
    with told_as_store_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    shorter = simplified([parse_formula(entry.formula) for entry in entries])
    losses = [
        Export(
            name=f"Discovered{entry.rank}",
            formula=entry.formula,
            provenance=_provenance(entry, folder),
            simplified=format_formula(form),
        )
        for entry, form in zip(entries, shorter, strict=True)
    ]
    versions = folder.manifest.get("packages") or {}
    origin = (
        f"Run {folder.path.name} of space '{space.name}', seed {space.seed}, begun {folder.manifest.get('created')};\n"
        f"lossforge {versions.get('lossforge')}, torch {versions.get('torch')}, commit {folder.manifest.get('commit')}."
    )
    write_atomically(path, module_source(losses, origin))
    return path


def _provenance(entry: Entry, folder: RunFolder) -> tuple[str, ...]:
    lines = [
        f"Found in generation {entry.generation} by {entry.origin}, rank {entry.rank}, signature {entry.signature}.",
        f"In the search: {entry.gain:+.2f} points of validation {metric_title(entry.metric)} over cross-entropy, "
        f"{entry.seeds} seeds.",
    ]
    results = [row for row in read_comparisons(folder) if row.formula == entry.formula]
    lines += [
        f"Re-validated on the test part of {row.task}: {row.gain:+.2f} points of {metric_title(row.metric)} "
        f"[{row.low:+.2f}, {row.high:+.2f}] against {row.rival}, {row.seeds} paired seeds, learning rates "
        f"{row.learning_rate:g} and {row.rival_learning_rate:g}."
        for row in results
    ]
    return tuple(lines if results else [*lines, "Not re-validated: the gain in the search may be luck."])
