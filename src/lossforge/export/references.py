"""BibTeX of what was found, of lossforge, and of the losses that it was compared with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lossforge.errors import LossforgeError
from lossforge.export.latex_file import escaped
from lossforge.export.run_export import exports_of
from lossforge.export.torch_module import Export
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import ALIASES, LIBRARY
from lossforge.store.files import told_as_store_error, write_atomically
from lossforge.store.run_folder import RunFolder, package_versions
from lossforge.validation.results import read_comparisons

_YEAR = re.compile(r"\b(19|20)\d\d\b")


def export_references(run: Path, output: Path | None, number: int) -> Path:
    """Write ``losses.bib`` for the best ``number`` losses of a run, and return its path. Raises LossforgeError."""
    folder = RunFolder.open(run)
    losses, origin = exports_of(folder, number)
    path = folder.export_folder / "losses.bib" if output is None else output
    if path.is_dir():
        raise LossforgeError(f"{path}: is a folder; name another file with -o")
    with told_as_store_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    rivals = [row.rival for row in read_comparisons(folder)]
    write_atomically(path, references(losses, origin, rivals, str(folder.manifest.get("created") or "")))
    return path


def references(losses: Sequence[Export], origin: str, rivals: Sequence[str], created: str) -> str:
    """Entries of lossforge, of each loss, and of each known loss that it has in it or was compared with."""
    year = _YEAR.search(created)
    entries = [_entry("lossforge", "software", {**_OWN, "version": str(package_versions().get("lossforge"))})]
    for one in losses:
        fields = {
            "title": f"{{{one.name}: {escaped(one.formula)}}}",
            "howpublished": f"Discovered by lossforge: {escaped(' '.join(origin.split()))}",
            "note": escaped(" ".join(one.provenance)),
            **({"year": year[0]} if year else {}),
        }
        entries.append(_entry(f"lossforge-{one.name.lower()}", "misc", fields))
    within = [term.name for one in losses for _, term in LossSpec(one.formula).terms]
    for name in dict.fromkeys([*rivals, *within]):
        known = LIBRARY.get(ALIASES.get(_name(name), _name(name)))
        if known is not None and known.source:
            found = _YEAR.search(known.source)
            fields = {
                "title": f"{{{escaped(known.name.replace('_', ' '))}: {escaped(known.summary)}}}",
                "note": escaped(known.source),
                **({"year": found[0]} if found else {}),
            }
            entries.append(_entry(f"loss-{known.name.replace('_', '-')}", "misc", fields))
    return "\n\n".join(dict.fromkeys(entries)) + "\n"


_OWN = {
    "title": "{lossforge: a genetic-programming search engine for loss functions whose discoveries can be believed}",
    "author": "{The lossforge authors}",
    "license": "MIT",
}


def _name(rival: str) -> str:
    """The library's name in a rival's: of a call such as ``gce(q=0.7)`` what is called."""
    return rival.partition("(")[0].strip().replace(" ", "_")


def _entry(key: str, kind: str, fields: dict[str, str]) -> str:
    lines = ",\n".join(
        f"  {name} = {value if value.startswith('{') else f'{{{value}}}'}" for name, value in fields.items()
    )
    return f"@{kind}{{{key},\n{lines}\n}}"
