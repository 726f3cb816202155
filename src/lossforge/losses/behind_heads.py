"""What losses are behind a head: cross-entropy above all, and what is published for one class a sample."""

from __future__ import annotations

from lossforge.errors import LossError
from lossforge.expression.formula import parse_formula
from lossforge.expression.tree import CONSTANT, Expression, call, constant, leaf
from lossforge.expression.vocabulary import OPERATIONS
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS, SOFTMAX
from lossforge.losses.term_losses.overlap import NO_OVERLAP
from lossforge.losses.terms import OVERLAP, refuse_head

_OF_EACH_LABEL = {"y_pred", "y_true", "progress", CONSTANT}
"""Leaves that a loss may have to be taken of each label apart."""
_OVER_CLASSES = [name for name, operation in OPERATIONS.items() if operation.result != "argument"]


def baseline(head: str) -> LossSpec:
    """Cross-entropy behind a head: what every loss is compared with. Of independent labels it is binary."""
    return LossSpec(HEADS[head].cross_entropy_formula)


def opposite(head: str) -> str:
    """A formula, bounded, that teaches the contrary of cross-entropy: who descends it learns to be wrong."""
    return "(2 * y_true - 1) * y_pred" if head == "sigmoid" else "y_true * y_pred"


def published_behind(name: str, spec: LossSpec, head: str, *, table: bool = False) -> LossSpec:
    """The loss of the library that is called ``name`` behind a head.

    Behind independent sigmoids a loss that is for one class a sample is taken of each label as a problem of two
    classes, there or not: f(y_pred, y_true) + f(1 - y_pred, 1 - y_true). So cross-entropy becomes binary cross-entropy,
    and focal loss what RetinaNet has. Raises LossError for a loss that compares classes, and, of a ``table``, whose
    samples are no masks, for one that counts their overlap.
    """
    if spec.is_term:
        refuse_head(name, head)
    if head != "sigmoid":
        return spec
    if spec.is_term:
        if table and name in OVERLAP:
            raise LossError(f"loss '{name}' cannot have the head 'sigmoid' here: {NO_OVERLAP}")
        return spec
    if spec.formula == SOFTMAX.cross_entropy_formula:
        return LossSpec(HEADS[head].cross_entropy_formula, spec.label_smoothing, spec.class_mean)
    tree = parse_formula(spec.formula)
    strange = [node for node in tree.walk() if not node.args and node.op not in _OF_EACH_LABEL]
    if strange or any(tree.uses(name) for name in _OVER_CLASSES):
        raise LossError(
            f"loss '{name}' cannot have the head 'sigmoid': it compares the classes of a sample or counts them, and "
            "behind sigmoids each label stands alone; write a formula for one label"
        )
    return LossSpec(str(call("add", tree, _of_the_rest(tree))), spec.label_smoothing, spec.class_mean)


def _of_the_rest(node: Expression) -> Expression:
    """The formula for the rest: with 1 - y_pred for y_pred, and 1 - y_true for y_true."""
    if node.op in ("y_pred", "y_true"):
        return call("sub", constant(1), leaf(node.op))
    if node.op == "sub" and node.args[0] == constant(1) and node.args[1].op in ("y_pred", "y_true"):
        return node.args[1]
    return node if not node.args else Expression(node.op, tuple(map(_of_the_rest, node.args)), node.value)
