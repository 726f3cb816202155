"""All that a formula may be made of, by name: operations and leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lossforge.expression.class_operations import CLASS_OPERATIONS, MOST_CLASSES
from lossforge.expression.primitives import LEAVES, LOG_Y_PRED, PRIMITIVES, Primitive, guarded_by
from lossforge.expression.protection import GUARDS, Guards, Interval


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a formula begins with: meaning, bounds, how it is printed, and whether it differs from class to class.

    ``needs``: what has to be told besides logits and target, "progress" or "class_share".
    """

    name: str
    meaning: str
    interval: Interval
    latex: str
    words: str
    result: Literal["elementwise", "sample"] = "elementwise"
    needs: Literal["", "progress", "class_share"] = ""


_LARGEST_LOGIT = -LOG_Y_PRED[0]

_LEAVES = (
    Leaf("y_pred", *LEAVES["y_pred"], latex=r"\hat{y}", words="the predicted probability"),
    Leaf("y_true", *LEAVES["y_true"], latex="y", words="the target"),
    Leaf(
        "logit",
        "logit of the class, less the mean over classes where the head is softmax",
        (-_LARGEST_LOGIT, _LARGEST_LOGIT),
        latex="z",
        words="the logit",
    ),
    Leaf(
        "n_classes", "number of classes", (1.0, MOST_CLASSES), latex="C", words="the number of classes", result="sample"
    ),
    Leaf(
        "class_share",
        "the class's share of the training labels as they are given, wrong ones included",
        (0.0, 1.0),
        latex=r"\pi",
        words="the class's share of the labels",
        needs="class_share",
    ),
    Leaf(
        "progress",
        "how far the training is: 0 at the first step, 1 at the last",
        (0.0, 1.0),
        latex=r"\tau",
        words="the training's progress",
        result="sample",
        needs="progress",
    ),
)

EVERY_LEAF: dict[str, Leaf] = {leaf.name: leaf for leaf in _LEAVES}
"""Every leaf by name; `lossforge.expression.primitives.LEAVES` are those that every space has."""

OPERATIONS: dict[str, Primitive] = {**PRIMITIVES, **CLASS_OPERATIONS}
"""Every operation by name."""


@lru_cache(maxsize=8)
def operations_guarded_by(guards: Guards) -> dict[str, Primitive]:
    """Every operation as it would be with guards of other sizes."""
    return OPERATIONS if guards == GUARDS else {**guarded_by(guards), **CLASS_OPERATIONS}
