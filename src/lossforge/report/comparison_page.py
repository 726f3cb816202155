"""The page of a comparison or a league: who is better than whom, in which studies, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from lossforge.errors import StoreError
from lossforge.report.comparison_sections import comparison_body
from lossforge.report.loss_card import card, portrait
from lossforge.report.page import facts, page, paragraph, section, table
from lossforge.report.verdict_text import evidence, judged, measured
from lossforge.store.run_folder import read_json
from lossforge.validation.comparison import Comparison
from lossforge.validation.results import comparisons_in
from lossforge.validation.standings import loss_of

_PORTRAITS = 6
_EVIDENCE = 12


def is_comparison(path: Path) -> bool:
    """Whether a folder is one of ``lossforge compare``."""
    file = path / "manifest.json"
    if not file.is_file():
        return False
    found = read_json(file, "restore it from a copy")
    return isinstance(found, dict) and "plan" in found


def comparison_page(path: Path) -> str:
    """The page of a comparison's folder as HTML. Raises StoreError where it cannot be read."""
    manifest = read_json(path / "manifest.json", "restore it from a copy")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("plan"), dict):
        raise StoreError(f"{path}: is no folder of a comparison; give the one of 'lossforge compare --output'")
    rows, plan = comparisons_in(path), manifest["plan"]
    sections = [
        section("results", "Each loss beside its rivals", comparison_body(rows, "forest") if rows else ""),
        section("losses", "The losses", _portraits(rows)),
        section("repeat", "To repeat it", _repeat(path, manifest)),
    ]
    name = str(plan.get("name") or path.name)
    return page(f"{name} · lossforge", _header(name, plan, rows), sections)


def _header(name: str, plan: dict[str, Any], rows: Sequence[Comparison]) -> str:
    studies = [str(one.get("name") or "") for one in plan.get("study") or ()]
    eyebrow = f"lossforge comparison · {len(studies)} {'study' if len(studies) == 1 else 'studies'}"
    if rows:
        said = evidence(rows)
        lines = "".join(f"<li>{escape(one)}</li>" for one in said[:_EVIDENCE])
        rest = "".join(f"<li>{escape(one)}</li>" for one in said[_EVIDENCE:])
        more = f"<details><summary>{len(said) - _EVIDENCE} more</summary><ul>{rest}</ul></details>" if rest else ""
        told = (
            f'<p>{escape(judged(rows, "of the losses"))}</p><ul class="note">{lines}</ul>{more}'
            f'<p class="note">{escape(measured(rows))}</p>'
        )
        figures = facts(
            {
                "losses": f"{len({loss_of(row) for row in rows}):,}",
                "rivals": f"{len({row.rival for row in rows}):,}",
                "studies": f"{len({row.title for row in rows}):,}",
                "pairs": f"{len(rows):,}",
                "most seeds of a pair": f"{max(row.seeds for row in rows):,}",
            }
        )
    else:
        told, figures = paragraph("Nothing has been compared to the end yet; the same command goes on."), ""
    return (
        f'<p class="eyebrow">{escape(eyebrow)}</p><h1>{escape(name)}</h1>'
        f'<p class="lead">{escape(str(plan.get("description") or ""))}</p><div class="verdict">{told}</div>{figures}'
    )


def best_losses(rows: Sequence[Comparison]) -> list[tuple[str, float, int]]:
    """Losses of the highest mean gain over their rivals: name or formula, that gain in points, number of classes."""
    gains: dict[str, list[float]] = {}
    classes: dict[str, int] = {}
    for row in rows:
        gains.setdefault(loss_of(row), []).append(row.gain)
        classes[loss_of(row)] = min(max(row.classes, classes.get(loss_of(row), 2)), 1000)
    means = {name: fmean(values) for name, values in gains.items()}
    best = sorted(means, key=lambda name: (-means[name], name))[:_PORTRAITS]
    return [(name, means[name], classes[name]) for name in best]


def _portraits(rows: Sequence[Comparison]) -> str:
    cards = []
    for place, (name, mean, classes) in enumerate(best_losses(rows), 1):
        shown = portrait(name, "softmax", classes, f"loss-{place}")
        told = [f"Mean of its gains over rivals and studies: {mean:+.2f} points."]
        cards.append(card(f"No. {place} by that mean", name, shown, told))
    return "".join(cards)


def _repeat(path: Path, manifest: dict[str, Any]) -> str:
    command = manifest.get("command")
    typed = shlex.join(map(str, command)) if isinstance(command, list) else ""
    packages = manifest.get("packages") or {}
    rows = [
        ("commit", str(manifest.get("commit") or "not known")),
        ("Python", str(manifest.get("python") or "")),
        ("packages", ", ".join(f"{name} {number}" for name, number in packages.items())),
        ("machine", ", ".join(str(value) for value in (manifest.get("hardware") or {}).values())),
        ("begun", str(manifest.get("created") or "")),
        ("folder", str(path)),
    ]
    file = path / "plan.toml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    plan = f"<details><summary>plan.toml</summary><pre>{escape(text)}</pre></details>" if text else ""
    return (
        "<p>From this folder, with the plan that it keeps:</p>"
        "<pre>lossforge compare --plan plan.toml --output NEW_FOLDER</pre>"
        + (f'<p class="note">It was begun by <code>{escape(typed)}</code>.</p>' if typed else "")
        + table(("", ""), [row for row in rows if row[1]])
        + plan
    )
