"""The one form of a loss that is shown, validated and exported.

`final_form(expression, soft_targets=...) -> Expression`: parts of the label folded, simplified, constants of three
to four digits. What is searched may be written in a thousand ways; this is the shortest of them that is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy

from lossforge.expression.branches import TOLERANCE, branch
from lossforge.expression.canonical import canonical_form
from lossforge.expression.elementwise import value_and_slope
from lossforge.expression.equivalence import (
    HARD,
    alike_behind_sigmoids,
    classes_alike,
    element_grid,
    trains_alike,
)
from lossforge.expression.folding import at_target, depends_on, fold_targets, linear
from lossforge.expression.meaning import View, view_for
from lossforge.expression.primitives import EPS
from lossforge.expression.rounding import rounded_forms
from lossforge.expression.shrink import LARGEST, shrunk
from lossforge.expression.tree import Expression, call, format_formula
from lossforge.expression.unify import unified

_STEEP = 1e3
"""Ratio of a line's two values from which its reciprocal is tried: ``1 / (0.000001 + y_true)``."""


def form_behind(expression: Expression, *, soft_targets: bool, head: str) -> Expression:
    """`final_form` of a loss behind a head: the expression itself where it would be another loss there.

    Behind sigmoids ``log(1 - y_pred)`` is exact, which what is equal to it elsewhere need not be.
    """
    form = final_form(expression, soft_targets=soft_targets)
    alike = head != "sigmoid" or form == expression or alike_behind_sigmoids(expression, form, soft_targets, TOLERANCE)
    return form if alike else expression


@lru_cache(maxsize=4096)
def final_form(expression: Expression, *, soft_targets: bool) -> Expression:
    """The form of a loss that people read, and that is trained again and exported.

    With hard labels (``soft_targets=False``) every part of the label alone is ``a + b * y_true``; where labels are
    soft in training nothing is folded. The result has no more nodes than the expression, but for what folding adds
    (``sqrt(y_true)`` is ``0.001 + 0.999 * y_true``); its gradient on the logits is that of the expression to 1e-3 in
    size and direction, also at ±50 and at probabilities 0 and 1; and its own final form is itself. The same every
    time, in milliseconds. An expression for which nothing better is found comes back as it is.
    """
    if expression.definitions():
        return _named_form(expression, soft_targets)
    if expression.crosses_classes:
        return _crossing_form(expression, soft_targets)
    seen = view_for(soft_targets)
    cost = seen.cost(expression)
    for form in _forms(expression, seen):
        # The final form of a simpler form is its own final form, and so is what is returned here.
        if seen.cost(form) < cost:
            found = final_form(form, soft_targets=soft_targets)
            if _may_replace(expression, found, soft_targets):
                return found
    return expression


def _named_form(expression: Expression, soft_targets: bool) -> Expression:
    """By its names, with constants rounded, unless a form without them is as short."""
    plain = final_form(expression.plain, soft_targets=soft_targets)
    if plain.size <= expression.size and trains_alike(expression, plain, soft_targets, TOLERANCE):
        return plain
    forms = rounded_forms(expression, lambda form: trains_alike(expression, form, soft_targets, TOLERANCE))
    return next(forms, expression)


def _crossing_form(expression: Expression, soft_targets: bool) -> Expression:
    """The canonical form or the expression, the shorter, with constants of as few digits as it can do with.

    Where classes are mixed no element can be looked at alone, so only what is checked on whole samples is done.
    """

    def alike(form: Expression) -> bool:
        return trains_alike(expression, form, soft_targets, TOLERANCE)

    forms = [expression, canonical_form(expression)]
    for form in sorted(dict.fromkeys(forms), key=lambda form: (form.size, len(format_formula(form)))):
        if form == expression or alike(form):
            return next(rounded_forms(form, alike), form)
    return expression


def _may_replace(expression: Expression, form: Expression, soft_targets: bool) -> bool:
    return (
        classes_alike(expression, form, view_for(soft_targets).targets, TOLERANCE)
        and trains_alike(expression, form, soft_targets, TOLERANCE)
        and _as_accurate(expression, form, soft_targets)
    )


def _forms(expression: Expression, seen: View) -> Iterator[Expression]:
    """Equal forms, the simplest first: with rounded constants, then without."""
    equal = _equal_forms(expression, seen)
    soft_targets = seen.targets != HARD
    starts = equal[:1] + [steep for form in equal[:1] for steep in _with_reciprocals(form, seen)]
    roundings = [rounded_forms(form, lambda other: _may_replace(expression, other, soft_targets)) for form in starts]
    first = [shrunk(next(forms, form), seen) for form, forms in zip(starts, roundings, strict=True)]
    yield from sorted(dict.fromkeys(first), key=seen.cost)
    for forms in roundings:
        yield from (shrunk(form, seen) for form in forms)
    yield from equal


def _equal_forms(expression: Expression, seen: View) -> list[Expression]:
    """Forms with the same value and gradient, the simplest first."""
    hard = seen.targets == HARD
    plain = [expression, fold_targets(expression) if hard else canonical_form(expression)]
    found: list[Expression] = []
    if expression.size <= LARGEST:
        found = [shrunk(start, seen) for start in plain]
        # What is short for soft labels too is not folded: exp(y_pred - y_true).
        found += [shrunk(expression, view_for(True))] if hard else []
        if hard and {"y_pred", "y_true"} <= depends_on(expression):
            one = unified(*(branch(found[0], target) for target in seen.targets))
            found += [] if one is None else [shrunk(one, seen)]
    forms = [form for form in dict.fromkeys(found + plain) if seen.same(expression, form)]
    return sorted(forms, key=seen.cost)


def _with_reciprocals(tree: Expression, seen: View) -> list[Expression]:
    """The tree with steep factors of the label as divisors, if there are any and labels are hard."""
    changed = _reciprocals(tree) if seen.targets == HARD else tree
    return [shrunk(changed, seen)] if changed != tree else []


def _reciprocals(node: Expression) -> Expression:
    args = tuple(map(_reciprocals, node.args))
    if node.op == "mul":
        for factor, rest in (args, args[::-1]):
            if "y_pred" in depends_on(rest) and "y_pred" not in depends_on(factor):
                ends = [at_target(factor, target) for target in HARD]
                if min(ends) * max(ends) > 0 and not 1 / _STEEP < ends[0] / ends[1] < _STEEP:
                    divisor = linear(*(max(abs(1 / end), EPS) for end in ends))
                    return call("div", rest if ends[0] > 0 else call("neg", rest), divisor)
    return node if args == node.args else Expression(node.op, args)


def _as_accurate(expression: Expression, form: Expression, soft_targets: bool) -> bool:
    """Whether a form's gradient in float32 is about as exact as the expression's."""
    return form == expression or _error(form, soft_targets) <= max(1e-5, 2 * _error(expression, soft_targets))


@lru_cache(maxsize=4096)
def _error(expression: Expression, soft_targets: bool) -> float:
    """Largest error of the gradient in float32 at ordinary probabilities, relative to the label's largest one."""
    p, y, log_p = (array[:, :60] for array in element_grid(view_for(soft_targets).targets))
    exact = value_and_slope(expression, p, y, log_p)[1]
    narrow = [array.astype(numpy.float32) for array in (p, y, log_p)]
    rough = value_and_slope(expression, narrow[0], narrow[1], narrow[2])[1].astype(numpy.float64)
    largest = numpy.abs(exact).max(axis=1, keepdims=True)
    error = numpy.abs(rough - exact) / numpy.where(largest > 0, largest, 1.0)
    # A kink between two neighbouring floats is no error: the median of the worst tenth.
    return float(numpy.nan_to_num(numpy.quantile(error, 0.95), nan=1e9))
