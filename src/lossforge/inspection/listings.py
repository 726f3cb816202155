"""What there is to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LISTS = ("losses", "primitives", "datasets", "models", "spaces")


def listing(what: str) -> list[dict[str, Any]]:
    """Rows of one of ``LISTS``."""
    if what == "losses":
        from lossforge.losses.library import LIBRARY

        return [
            {
                "name": entry.name,
                "formula": entry.spec().formula,
                "parameters": dict(entry.parameters),
                "reduction": entry.reduction,
                "control": entry.control,
                "summary": entry.summary,
                "source": entry.source,
            }
            for entry in LIBRARY.values()
        ]
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
                "summary": model.summary,
                "source": model.source,
            }
            for model in MODELS.values()
        ]
    return _spaces()


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
