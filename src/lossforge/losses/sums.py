"""A weighted sum of losses as one description: what is elementwise becomes one formula, terms stay beside it."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.errors import LossError
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import Expression, call, constant, format_formula, leaf
from lossforge.losses.compiled import LossSpec
from lossforge.losses.fusions import Part
from lossforge.losses.terms import added, sum_of
from lossforge.losses.weighting_rules import MOST_TERMS, Weighting


def summed(parts: Sequence[tuple[float, LossSpec]], head: str) -> LossSpec:
    """The description of w_1 L_1 + w_2 L_2 + ... behind a head; its value and gradient are the sums of the parts'.

    Formulas are added to one. A mean over classes is written as a division by ``n_classes``, smoothed labels of one
    loss alone into its formula, and beside a loss of one number a sample, such as ``true_c(...)``, the others stand in
    ``sum_c``. Raises LossError where nothing is left.
    """
    terms = [Part(weight * inner, term) for weight, spec in parts for inner, term in spec.terms]
    formulas = [(weight, spec.elementwise) for weight, spec in parts]
    left = [(weight, spec) for weight, spec in formulas if spec is not None and weight != 0]
    smoothing = {spec.label_smoothing for _, spec in parts}
    means = not terms and bool(left) and all(spec.class_mean for _, spec in left)
    trees = [
        (weight, _in_full(spec, head, smooth=len(smoothing) > 1, mean=spec.class_mean and not means))
        for weight, spec in left
    ]
    if len({tree.of_sample for _, tree in trees}) > 1:
        trees = [(weight, tree if tree.of_sample else call("sum_c", tree)) for weight, tree in trees]
    formula: Expression | None = None
    for weight, tree in trees:
        formula = added(formula, weight, tree)
    shared = smoothing.pop() if len(smoothing) == 1 else 0.0
    if formula is not None and not terms:
        return LossSpec(format_formula(formula), shared, means)
    return LossSpec(str(sum_of(formula, terms)), shared)


def weighted_sum(parts: Sequence[tuple[float, LossSpec]], head: str, rule: Weighting) -> LossSpec:
    """The description of a sum whose weights a rule changes; the weights given are where it begins.

    Raises LossError for what no rule can weigh: a weight below 0, operations of the user's own, too many losses.
    """
    if len(parts) > MOST_TERMS:
        raise LossError(f"{rule.method} weighs at most {MOST_TERMS} losses, and the sum has {len(parts)}")
    smoothing = {spec.label_smoothing for _, spec in parts}
    texts = []
    for weight, spec in parts:
        if weight < 0:
            raise LossError(f"{rule.method} weighs losses that are added; one of the sum is subtracted")
        formula = spec.elementwise
        tree = None if formula is None else _in_full(formula, head, smooth=len(smoothing) > 1, mean=spec.class_mean)
        if tree is not None and tree.definitions():
            raise LossError(f"{rule.method} is for losses without operations of your own; write them out")
        terms = [Part(weight * inner, term) for inner, term in spec.terms]
        texts.append(str(sum_of(None if tree is None else added(None, weight, tree), terms)))
    return LossSpec(rule.around(texts), smoothing.pop() if len(smoothing) == 1 else 0.0)


def _in_full(spec: LossSpec, head: str, *, smooth: bool, mean: bool) -> Expression:
    """The formula with what its description says besides written out."""
    tree = parse_formula(spec.formula)
    if smooth and spec.label_smoothing:
        tree = _smoothed(tree, spec.label_smoothing, head)
    return call("div", tree, leaf("n_classes")) if mean and not tree.of_sample else tree


def _smoothed(tree: Expression, share: float, head: str) -> Expression:
    """The formula with ``y_true`` mixed with that of one who knows nothing; see `Head.smoothed`."""
    spread = constant(share / 2) if head == "sigmoid" else call("div", constant(share), leaf("n_classes"))
    mixed = call("add", call("mul", constant(1 - share), leaf("y_true")), spread)

    def visit(node: Expression) -> Expression:
        return mixed if node.op == "y_true" else node.with_args(tuple(map(visit, node.args)))

    return visit(tree.plain)
