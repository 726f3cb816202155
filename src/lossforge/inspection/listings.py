"""What there is to choose from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lossforge.errors import LossforgeError, probably_meant

LISTS = ("losses", "primitives", "datasets", "models", "activations", "spaces", "plans")


def listing(what: str) -> list[dict[str, Any]]:
    """Rows of one of ``LISTS``."""
    if what == "losses":
        return _losses()
    if what == "primitives":
        from lossforge.expression.vocabulary import EVERY_LEAF, OPERATIONS

        leaves = [{"name": leaf.name, "arity": 0, "meaning": leaf.meaning} for leaf in EVERY_LEAF.values()]
        return leaves + [{"name": one.name, "arity": one.arity, "meaning": one.meaning} for one in OPERATIONS.values()]
    if what == "datasets":
        from lossforge.data.datasets import DATASETS, FORMATS

        return [{"name": source.name, "summary": source.summary} for source in (*DATASETS.values(), *FORMATS.values())]
    if what == "models":
        from lossforge.models.registry import MODELS

        return [
            {
                "name": model.name,
                "takes": model.takes,
                "weights": model.weights,
                "width": "scales it" if model.scales else "fixed",
                "activation": "relu, or another" if model.takes_activation else model.activation,
                "summary": model.summary,
                "source": model.source,
            }
            for model in MODELS.values()
        ]
    if what == "activations":
        return _activations()
    return _spaces() if what == "spaces" else _plans()


def _activations() -> list[dict[str, Any]]:
    """Activations, with what a special function's module says of itself."""
    from lossforge.models.activations.registry import ACTIVATIONS, make_activation

    rows = []
    for one in ACTIVATIONS.values():
        module = make_activation(one.name)
        rows.append(
            {
                "name": one.name,
                "parameters": {each.name: each.default for each in getattr(module, "PARAMETERS", ())},
                "domain": getattr(module, "DOMAIN", "all real x"),
                "map": getattr(module, "MAP", "none: x itself"),
                "summary": one.summary,
                "source": one.source,
            }
        )
    return rows


def _losses() -> list[dict[str, Any]]:
    from lossforge.losses.library import GROUPS

    return [
        {
            "name": entry.name,
            "group": group,
            "aliases": list(entry.aliases),
            "formula": entry.spec().formula,
            "parameters": dict(entry.parameters),
            "settings": {f"{classes} classes": dict(setting) for classes, setting in entry.settings.items()},
            "head": entry.head,
            "needs": list(entry.needs),
            "reduction": entry.reduction,
            "control": entry.control,
            "summary": entry.summary,
            "source": entry.source,
            "note": entry.note,
        }
        for group, entries in GROUPS.items()
        for entry in entries
    ]


def losses_of_file(path: Path) -> list[dict[str, Any]]:
    """Losses of a hall-of-fame file, or of a run's folder. Raises StoreError where it is none, or damaged."""
    from lossforge.search.hall_of_fame import read_hall_of_fame
    from lossforge.store.run_folder import RunFolder

    file = RunFolder.open(path).hall_of_fame_file if path.is_dir() else path
    return [
        {
            "rank": entry.rank,
            "formula": entry.formula,
            "gain": None if entry.gain is None else round(entry.gain, 2),
            "metric": entry.metric,
            "seeds": entry.seeds,
            "generation": entry.generation,
            "origin": entry.origin,
        }
        for entry in read_hall_of_fame(file)
    ]


def matching(rows: list[dict[str, Any]], words: Sequence[str], what: str) -> list[dict[str, Any]]:
    """The rows that have every one of the words, in any column: one that is a name alone, else those that have them.

    A word of three letters or more may be the beginning of one; shorter ones, such as a parameter, are whole. Raises
    LossforgeError, with what was probably meant, where there is none.
    """
    wanted = [part for word in words for part in _words(word)]
    named = [row for row in rows if _words(" ".join(words)) in [_words(name) for name in _names(row)]]
    found = named or [row for row in rows if all(_has(row, word) for word in wanted)]
    if not found:
        meant = probably_meant(" ".join(words), [name for row in rows for name in _names(row)])
        others = f"did you mean {' or '.join(map(repr, meant))}?" if meant else f"'lossforge list {what}' shows all"
        raise LossforgeError(f"none of the {what} has '{' '.join(words)}'; {others}")
    return found if wanted else rows


def _names(row: dict[str, Any]) -> list[str]:
    return [str(next(iter(row.values()))), *row.get("aliases", ())]


def _has(row: dict[str, Any], word: str) -> bool:
    own = _words(" ".join(_texts(row)))
    return any(one.startswith(word) for one in own) if len(word) > 2 else word in own


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _texts(value: object) -> Iterator[str]:
    """Every text and every name in a row but the formula, whose names are those of operations."""
    if isinstance(value, dict):
        for key, inside in value.items():
            if key != "formula":
                yield from (str(key) if not isinstance(inside, (str, list, dict)) else "", *_texts(inside))
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(inside)
    else:
        yield str(value)


def _plans() -> list[dict[str, Any]]:
    """Shipped plans by name."""
    from lossforge.spaces.load import read_toml
    from lossforge.spaces.shipped import shipped_plans

    rows = []
    for name, path in shipped_plans().items():
        tables = read_toml(path)
        description = " ".join(str(tables.get("description", "")).split())
        rows.append(
            {"plan": name, "studies": len(tables.get("study", ())), "description": description, "file": str(path)}
        )
    return rows


def _spaces() -> list[dict[str, Any]]:
    """Shipped spaces by name, and the files in ``search_spaces/`` below the current folder."""
    from lossforge.spaces.load import read_toml
    from lossforge.spaces.shipped import shipped_spaces

    files = shipped_spaces()
    own = [path for path in sorted(Path("search_spaces").glob("*.toml")) if path.resolve() not in files.values()]
    rows = []
    for name, path in [*files.items(), *((str(path), path) for path in own)]:
        description = " ".join(str(read_toml(path).get("description", "")).split())
        rows.append({"space": name, "description": description, "file": str(path)})
    return rows
