"""What makes probabilities of logits: the names of the heads, and what each says.

``softmax``: C logits, one class of C. ``sigmoid``: C logits, each a yes or no of its own (several labels, or one
against the rest). ``binary``: one logit, that of class 1; ``y_pred`` has two columns, 1 - p and p, as of a softmax of
(0, z).
"""

from __future__ import annotations

from lossforge.errors import LossError, offered

HEADS: dict[str, str] = {
    "softmax": "one of C classes: C logits, whose probabilities add up to 1",
    "sigmoid": "each of C labels a yes or no of its own: C logits",
    "binary": "one of two classes: one logit, that of class 1",
}
"""Every head by name, with its meaning."""


def check_head(name: str) -> str:
    """The name itself. Raises LossError for one that there is not."""
    if name not in HEADS:
        raise LossError(f"there is no head named '{name}'{offered(name, HEADS)}")
    return name


def outputs_of(head: str, classes: int) -> int:
    """How many logits a network gives for so many classes.

    >>> outputs_of("binary", 2), outputs_of("softmax", 10)
    (1, 10)
    """
    return 1 if head == "binary" else classes
