"""Read-only questions: about a run, about a loss, and what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossforge.errors import StoreError
from lossforge.store.run_folder import RunFolder

if TYPE_CHECKING:
    from lossforge.expression.tree import Expression
    from lossforge.hall_of_fame import Entry
    from lossforge.losses.compiled import LossSpec
    from lossforge.screening.screener import Screener

LISTS = ("losses", "primitives", "datasets", "models", "spaces")


def run_status(path: Path) -> dict[str, Any]:
    """How far a run is. Raises StoreError where it is missing or damaged."""
    from lossforge.audit import STAGE as AUDIT
    from lossforge.audit import audit_report
    from lossforge.hall_of_fame import read_hall_of_fame
    from lossforge.store.checkpoint import load_checkpoint
    from lossforge.store.ledger import Ledger

    folder = RunFolder.open(path)
    space = folder.space()
    state = load_checkpoint(folder.checkpoint_file)
    done = 0 if state is None else int(state["generation"]) + 1
    tally: dict[str, int] = {}
    trainings, audit = 0, None
    if folder.ledger_file.exists():
        ledger = Ledger(folder.ledger_file, read_only=True)
        try:
            tally, trainings = ledger.tally(), ledger.training_count()
            audit = audit_report(ledger.candidates(), ledger.trainings(AUDIT), ledger.trainings("control"))
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
        "audit": None if audit is None else asdict(audit),
        "learning_rates": {} if state is None else state.get("learning_rates", {}),
        "best_formula": best[0].formula if best else None,
        "best_gain": best[0].gain if best else None,
        "metric": space.measure,
    }


def run_top(path: Path, number: int) -> list[Entry]:
    """The leaders of a run. Raises StoreError where there is none yet."""
    from lossforge.hall_of_fame import read_hall_of_fame

    return read_hall_of_fame(RunFolder.open(path).hall_of_fame_file)[:number]


SYMPY_SECONDS = 10.0
"""Seconds that sympy may spend on all losses of one call."""
_SYMPY_LIMIT = 3.0
"""Seconds that it may spend on one of them."""
_READABLE = 300
"""Nodes above which nobody reads a derivative."""


def explain(name_or_formula: str) -> dict[str, Any]:
    """What `explain_all` finds of one loss."""
    return explain_all([name_or_formula])[0]


def explain_all(names_or_formulas: Sequence[str], seconds: float = SYMPY_SECONDS) -> list[dict[str, Any]]:
    """Formula, simplified form, LaTeX, derivative, size, signature, verdict, minimiser, gradient, nearest relative.

    ``seconds`` is what sympy may spend on all losses, in the order given; those that come too late are shown in
    the shorter of their own and their canonical form. ``derivative`` is None where it is too long to read. A term
    that is no formula has no simplified form, LaTeX, derivative, size or signature. Raises LossError or FormulaError.
    """
    from lossforge.expression.formula import parse_formula
    from lossforge.expression.simplify import simplified
    from lossforge.losses.analysis import CLASSES, gradient_ratio, minimiser, nearest
    from lossforge.losses.library import loss_spec
    from lossforge.screening.screener import Screener
    from lossforge.screening.settings import ScreenSettings

    specs = [loss_spec(name) for name in names_or_formulas]
    expressions = [None if spec.is_term else parse_formula(spec.formula) for spec in specs]
    shorter = iter(simplified([tree for tree in expressions if tree is not None], _SYMPY_LIMIT, seconds))
    screener = Screener(ScreenSettings())
    found = []
    for name, spec, expression in zip(names_or_formulas, specs, expressions, strict=True):
        relative, similarity = nearest(spec, but=name.split("(")[0])
        found.append(
            {
                "loss": name,
                "formula": spec.formula,
                **(_of_term(spec) if expression is None else _of_formula(spec, expression, next(shorter), screener)),
                "minimiser": {str(classes): minimiser(spec, classes) for classes in CLASSES},
                "gradient_ratio": {str(classes): gradient_ratio(spec, classes) for classes in CLASSES},
                "nearest": {"name": relative, "similarity": similarity},
            }
        )
    return found


def _of_formula(spec: LossSpec, expression: Expression, shorter: Expression, screener: Screener) -> dict[str, Any]:
    """What is told of formulas alone."""
    from lossforge.export.latex import latex
    from lossforge.expression.canonical import fold_constants
    from lossforge.expression.differentiate import derivative
    from lossforge.expression.formula import format_formula
    from lossforge.expression.interpreter import Interpreter
    from lossforge.expression.signature import signatures

    (signature,) = signatures(Interpreter([expression], [spec.label_smoothing]))
    change = derivative(expression)
    readable = change.size <= _READABLE
    verdict = screener(expression)
    return {
        "simplified": format_formula(shorter),
        "latex": latex(expression),
        "derivative": format_formula(change) if readable else None,
        "derivative_latex": latex(change) if readable else None,
        "size": expression.size,
        "label_smoothing": spec.label_smoothing,
        "signature": None if signature is None else signature.key,
        "screen": {
            "passed": verdict.rejected_by is None,
            "rejected_by": None if verdict.rejected_by is None else str(verdict.rejected_by),
            "reason": verdict.reason,
            "sign_repaired": verdict.rejected_by is None and verdict.expression != fold_constants(expression),
        },
    }


def _of_term(spec: LossSpec) -> dict[str, Any]:
    """The same keys for a term, which is no formula."""
    return {
        "simplified": spec.formula,
        "latex": "",
        "derivative": None,
        "derivative_latex": None,
        "size": None,
        "label_smoothing": spec.label_smoothing,
        "signature": None,
        "screen": _term_screen(spec),
    }


def _term_screen(spec: LossSpec) -> dict[str, Any]:
    """The verdict on a term."""
    from lossforge.screening.settings import ScreenSettings
    from lossforge.screening.terms import screen_term

    rejected_by, reason = screen_term(spec, ScreenSettings())
    return {
        "passed": rejected_by is None,
        "rejected_by": None if rejected_by is None else str(rejected_by),
        "reason": reason,
        "sign_repaired": False,
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
                "reduction": entry.reduction,
                "control": entry.control,
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
    """Spaces in ``search_spaces/`` below the current folder."""
    from lossforge.spaces.load import read_toml

    rows = []
    for path in sorted(Path("search_spaces").glob("*.toml")):
        description = " ".join(str(read_toml(path).get("description", "")).split())
        rows.append({"space": str(path), "description": description})
    return rows
