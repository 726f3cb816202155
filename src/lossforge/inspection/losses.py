"""What there is to know of a loss, by its name or formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossforge.expression.tree import Expression
    from lossforge.losses.compiled import LossSpec
    from lossforge.screening.screener import Screener
    from lossforge.screening.settings import ScreenSettings

SYMPY_SECONDS = 10.0
"""Seconds that sympy may spend on all losses of one call."""
_SYMPY_LIMIT = 3.0
"""Seconds that it may spend on one of them."""
_READABLE = 300
"""Nodes above which nobody reads a derivative."""


def explain(name_or_formula: str) -> dict[str, Any]:
    """What `explain_all` finds of one loss."""
    return explain_all([name_or_formula])[0]


def explain_all(
    names_or_formulas: Sequence[str], seconds: float = SYMPY_SECONDS, head: str | None = None
) -> list[dict[str, Any]]:
    """Head, forms, functions of p, LaTeX, derivative, size, signature, verdict, minimiser, gradient, nearest relative.

    ``simplified`` is the shortest form known that is equal for any labels; ``final`` is the form that is validated
    and exported, which for hard labels may be another one. ``true_class`` and ``wrong_class`` are the final form's
    two functions of one probability p, with their slopes; None where labels are smoothed. ``seconds`` is what sympy
    may spend on all losses, in the order given. ``derivative`` is None where it is too long to read, and of a
    loss that mixes classes, which has no functions of one probability either; and, as a slope is, where no form of it
    is found that is the loss's own slope as it reads. A term that is
    no formula has none of these, and no LaTeX, size or signature. Of one without a gradient, minimiser, ratio and
    relative are None: it asks for nothing. Raises LossError or FormulaError.
    """
    from lossforge.expression.formula import parse_formula
    from lossforge.expression.heads import check_head
    from lossforge.expression.simplify import simplified
    from lossforge.losses.analysis import CLASSES, gradient_ratio, minimiser, nearest
    from lossforge.losses.library import ALIASES, head_of, loss_spec
    from lossforge.screening.screener import Screener

    heads = [head_of(name) if head is None else check_head(head) for name in names_or_formulas]
    specs = [loss_spec(name, head=head, table=True) for name in names_or_formulas]
    expressions = [None if spec.is_term else parse_formula(spec.formula) for spec in specs]
    shorter = iter(simplified([tree for tree in expressions if tree is not None], _SYMPY_LIMIT, seconds))
    screeners = {name: Screener(_settings(name)) for name in dict.fromkeys(heads)}
    found = []
    for name, behind, spec, expression in zip(names_or_formulas, heads, specs, expressions, strict=True):
        called, counts = name.split("(")[0], CLASSES[:1] if behind == "binary" else CLASSES
        told = (
            _of_term(spec, behind)
            if expression is None
            else _of_formula(spec, expression, next(shorter), screeners[behind])
        )
        moves = expression is None or told["signature"] is not None
        relative, similarity = nearest(spec, but=ALIASES.get(called, called), head=behind)
        asked: dict[str, Any] = {
            "minimiser": {str(classes): minimiser(spec, classes, behind) for classes in counts},
            "gradient_ratio": {str(classes): gradient_ratio(spec, classes, behind) for classes in counts},
            "nearest": {"name": relative, "similarity": similarity},
        }
        answers = asked if moves else dict.fromkeys(asked)
        parts = _parts(name, counts, behind)
        found.append({"loss": name, "head": behind, "formula": spec.formula, "parts": parts, **told, **answers})
    return found


def _settings(head: str) -> ScreenSettings:
    from lossforge.screening.settings import ScreenSettings

    return ScreenSettings(head=head, classes=(2,)) if head == "binary" else ScreenSettings(head=head)


def _of_formula(spec: LossSpec, expression: Expression, shorter: Expression, screener: Screener) -> dict[str, Any]:
    """What is told of formulas alone."""
    from lossforge.export.latex import latex
    from lossforge.expression.canonical import fold_constants
    from lossforge.expression.final_form import final_form
    from lossforge.expression.interpreter import Interpreter
    from lossforge.expression.meaning import view_for
    from lossforge.expression.signature import signatures
    from lossforge.expression.tree import format_formula

    head = screener.settings.head
    (signature,) = signatures(Interpreter([expression], [spec.label_smoothing], head=head))
    alone = not expression.crosses_classes
    forms = (final_form(form, soft_targets=True) for form in (expression, shorter))
    shorter = min(forms, key=view_for(True).cost if alone else lambda form: (form.size, len(format_formula(form))))
    final = final_form(expression, soft_targets=spec.label_smoothing > 0)
    change = _derivative(expression) if alone else None
    verdict = screener(expression)
    return {
        "simplified": format_formula(shorter),
        "final": format_formula(final),
        **(_by_class(final) if alone and not spec.label_smoothing else _by_class(None)),
        "latex": latex(expression),
        "mixes_classes": not alone,
        "derivative": None if change is None else format_formula(change),
        "derivative_latex": None if change is None else latex(change),
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


def _derivative(expression: Expression) -> Expression | None:
    """df/dp of a loss, as short as it is found; None where nobody could read it, or it would read wrong."""
    from lossforge.expression.equivalence import SOFT
    from lossforge.expression.final_form import final_form
    from lossforge.expression.plain import is_slope
    from lossforge.expression.symbolic_derivative import derivatives

    for change in derivatives(expression):
        if change.size <= _READABLE:
            for form in (final_form(change, soft_targets=True), change):
                if is_slope(form, expression, SOFT):
                    return form
    return None


def _by_class(final: Expression | None) -> dict[str, Any]:
    """The two functions of p and their slopes, as text, and both as one LaTeX; None of an expression that is None."""
    from lossforge.export.latex import latex_by_class
    from lossforge.expression.branches import class_functions, in_p, slope

    if final is None:
        return dict.fromkeys(("true_class", "wrong_class", "class_latex"))
    functions = class_functions(final)

    def told(function: Expression) -> dict[str, str | None]:
        change = slope(function)
        return {"value": in_p(function), "slope": None if change is None else in_p(change)}

    return {
        "true_class": told(functions.true),
        "wrong_class": told(functions.wrong),
        "class_latex": latex_by_class(functions),
    }


def _parts(text: str, classes: Sequence[int], head: str) -> list[dict[str, Any]] | None:
    """The losses of a sum, each with its weight and, for numbers of classes, its share of the gradient at the start.

    None for a loss that is no sum of named ones, or of which a part has no gradient there.
    """
    from lossforge.errors import LossError
    from lossforge.losses.shares import shares_of

    try:
        by_classes = {str(count): shares_of(text, count, head) for count in classes}
    except LossError:
        return None
    first = by_classes[str(classes[0])]
    if not first:
        return None
    return [
        {
            "loss": part.loss,
            "weight": part.weight,
            "share": {count: round(found[place].share, 6) for count, found in by_classes.items()},
            "matched_weight": {count: found[place].matched for count, found in by_classes.items()},
        }
        for place, part in enumerate(first)
    ]


def _of_term(spec: LossSpec, head: str) -> dict[str, Any]:
    """The same keys for a term, or a sum with one, which is no formula."""
    from lossforge.evaluation.space_trainings import loss_key

    key = loss_key(spec, keep_scale=False, head=head)
    return {
        "simplified": spec.formula,
        "final": spec.formula,
        **_by_class(None),
        "latex": "",
        "mixes_classes": False,
        "derivative": None,
        "derivative_latex": None,
        "size": None,
        "label_smoothing": spec.label_smoothing,
        "signature": None if "(" in key else key,
        "screen": _term_screen(spec, head),
    }


def _term_screen(spec: LossSpec, head: str) -> dict[str, Any]:
    """The verdict on a term."""
    from lossforge.screening.terms import screen_term

    rejected_by, reason = screen_term(spec, _settings(head))
    return {
        "passed": rejected_by is None,
        "rejected_by": None if rejected_by is None else str(rejected_by),
        "reason": reason,
        "sign_repaired": False,
    }
