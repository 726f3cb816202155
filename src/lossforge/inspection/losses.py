"""What there is to know of a loss, by its name or formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossforge.expression.tree import Expression
    from lossforge.losses.compiled import LossSpec
    from lossforge.screening.screener import Screener

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
    from lossforge.expression.interpreter import Interpreter
    from lossforge.expression.signature import signatures
    from lossforge.expression.symbolic_derivative import derivative
    from lossforge.expression.tree import format_formula

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
