"""How alike two losses are: the angle between their gradients on the probe, whatever their sign and scale.

A training sees a loss's gradient on the logits and nothing else, and starts every loss at one norm; so the direction
of the probe gradient says what a loss will do before it is trained. Distance is 1 - |cosine|: 0 for one loss in two
forms, 1 for two that have nothing in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import MOMENTS, SMALLEST, probed, signature_probe
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_DIGITS = 9
"""Decimals of a direction that count: what another order of additions changes is far below."""
_AT_ONCE = 64
"""Losses probed at a time; more of them would only take memory."""


@lru_cache(maxsize=12)
def _towards_targets(head: str, soft_targets: bool, moments: int) -> NDArray[numpy.float64]:
    """Cross-entropy's gradient on the probe, ``y_pred - y_true``: what a direction is oriented by."""
    import numpy

    parts = []
    for logits, y_true in signature_probe(soft_targets, head)[0]:
        if head == "sigmoid":
            y_pred = 1 / (1 + numpy.exp(-logits))
        else:
            # The head binary has the logits 0 and z.
            z = numpy.stack([numpy.zeros(len(logits)), logits[:, 1]], axis=1) if head == "binary" else logits
            powers = numpy.exp(z - z.max(axis=1, keepdims=True))
            y_pred = powers / powers.sum(axis=1, keepdims=True)
        parts.append((y_pred - y_true).ravel())
    return numpy.tile(numpy.concatenate(parts), moments)


def directions(
    losses: Sequence[Expression], head: str = "softmax", *, soft_targets: bool = False, changing: bool = False
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]]:
    """Directions ``(K, D)`` of the losses' probe gradients, of norm 1, and the norms ``(K,)`` that they had.

    Losses are in canonical form, so that one loss gives the same bits however it is written. Of f and -f the one is
    taken that goes with cross-entropy's gradient. A loss without a gradient, or with one that is not finite, has a
    direction of zeros and norm 0. With ``changing`` the probe is asked at several moments of a training and shares of
    the classes, for losses that depend on either.
    """
    import numpy

    moments = MOMENTS if changing else MOMENTS[:1]
    towards = _towards_targets(head, soft_targets, len(moments))
    found = numpy.zeros((len(losses), len(towards)))
    norms = numpy.zeros(len(losses))
    for start in range(0, len(losses), _AT_ONCE):
        some = Interpreter(losses[start : start + _AT_ONCE], head=head)
        asked = [probed(some, soft_targets, *(moment if changing else (0.5, 0.0))) for moment in moments]
        sizes = numpy.max([size for _, size in asked], axis=0)
        for place, gradient in enumerate(numpy.concatenate([one for one, _ in asked], axis=1)):
            with numpy.errstate(over="ignore", invalid="ignore"):
                norm = float(numpy.sqrt(numpy.square(gradient).sum()))
            if SMALLEST * min(1.0, float(sizes[place])) < norm < float("inf"):
                direction = gradient / norm
                turned = -1.0 if float((direction * towards).sum()) < 0 else 1.0
                found[start + place] = numpy.round(turned * direction, _DIGITS)
                norms[start + place] = norm
    return found, norms


def cosines(some: NDArray[numpy.float64], others: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """|cosine| of each pair of directions, ``(K, D)`` and ``(L, D)`` to ``(K, L)``."""
    import numpy

    # Matrix products may differ in their last bits from one number of threads to the next.
    return numpy.abs(some @ others.T).round(9)
