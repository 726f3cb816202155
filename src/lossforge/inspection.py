"""Read-only questions: about a run, about a loss, and what there is to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossforge.errors import StoreError
from lossforge.store.run_folder import RunFolder

if TYPE_CHECKING:
    from lossforge.hall_of_fame import Entry

LISTS = ("losses", "primitives", "datasets", "models", "spaces")


def run_status(path: Path) -> dict[str, Any]:
    """How far a run is. Raises StoreError where it is missing or damaged."""
    from lossforge.hall_of_fame import read_hall_of_fame
    from lossforge.store.checkpoint import load_checkpoint
    from lossforge.store.ledger import Ledger

    folder = RunFolder.open(path)
    space = folder.space()
    state = load_checkpoint(folder.checkpoint_file)
    done = 0 if state is None else int(state["generation"]) + 1
    tally: dict[str, int] = {}
    trainings = 0
    if folder.ledger_file.exists():
        ledger = Ledger(folder.ledger_file, read_only=True)
        try:
            tally, trainings = ledger.tally(), ledger.training_count()
        except StoreError:
            if done:
                raise
        finally:
            ledger.close()
    best = read_hall_of_fame(folder.hall_of_fame_file)[:1] if folder.hall_of_fame_file.exists() else []
    return {
        "run": str(path),
        "space": space.name,
        "seed": space.seed,
        "generations_done": done,
        "generations": space.budget.generations,
        "finished": done >= space.budget.generations,
        "candidates": tally,
        "trainings": trainings,
        "learning_rates": {} if state is None else state.get("learning_rates", {}),
        "best_formula": best[0].formula if best else None,
        "best_gain": best[0].gain if best else None,
    }


def run_top(path: Path, number: int) -> list[Entry]:
    """The leaders of a run. Raises StoreError where there is none yet."""
    from lossforge.hall_of_fame import read_hall_of_fame

    return read_hall_of_fame(RunFolder.open(path).hall_of_fame_file)[:number]


def explain(name_or_formula: str) -> dict[str, Any]:
    """Formula, LaTeX, size, signature, verdict, minimiser, gradient and nearest relative of a loss.

    Raises LossError or FormulaError.
    """
    from lossforge.export.latex import latex
    from lossforge.expression.canonical import fold_constants
    from lossforge.expression.formula import parse_formula
    from lossforge.expression.signature import signature
    from lossforge.losses.analysis import CLASSES, gradient_ratio, minimiser, nearest
    from lossforge.losses.library import loss_spec
    from lossforge.screening.funnel import ScreenSettings
    from lossforge.screening.screener import Screener

    spec = loss_spec(name_or_formula)
    expression = parse_formula(spec.formula)
    verdict = Screener(ScreenSettings())(expression)
    relative, similarity = nearest(spec)
    return {
        "loss": name_or_formula,
        "formula": spec.formula,
        "latex": latex(expression),
        "size": expression.size,
        "signature": signature(expression),
        "screen": {
            "passed": verdict.rejected_by is None,
            "rejected_by": None if verdict.rejected_by is None else str(verdict.rejected_by),
            "reason": verdict.reason,
            "sign_repaired": verdict.expression != fold_constants(expression),
        },
        "minimiser": {str(classes): minimiser(spec, classes) for classes in CLASSES},
        "gradient_ratio": {str(classes): gradient_ratio(spec, classes) for classes in CLASSES},
        "nearest": {"name": relative, "similarity": similarity},
    }


def listing(what: str) -> list[dict[str, Any]]:
    """Rows of one of ``LISTS``."""
    if what == "losses":
        from lossforge.losses.library import LIBRARY

        return [
            {
                "name": entry.name,
                "formula": entry.spec().formula,
                "parameters": dict(entry.parameters),
                "summary": entry.summary,
                "source": entry.source,
            }
            for entry in LIBRARY.values()
        ]
    if what == "primitives":
        from lossforge.expression.primitives import LEAVES, PRIMITIVES

        leaves = [{"name": name, "arity": 0, "meaning": meaning} for name, (meaning, _) in LEAVES.items()]
        return leaves + [{"name": p.name, "arity": p.arity, "meaning": p.meaning} for p in PRIMITIVES.values()]
    if what == "datasets":
        from lossforge.data.datasets import DATASETS

        return [{"name": source.name, "summary": source.summary} for source in DATASETS.values()]
    if what == "models":
        from lossforge.models.registry import MODELS

        return [{"name": model.name, "summary": model.summary} for model in MODELS.values()]
    return _spaces()


def _spaces() -> list[dict[str, Any]]:
    """Spaces in ``search_spaces/`` below the current folder."""
    from lossforge.spaces.load import read_toml

    rows = []
    for path in sorted(Path("search_spaces").glob("*.toml")):
        description = " ".join(str(read_toml(path).get("description", "")).split())
        rows.append({"space": str(path), "description": description})
    return rows
