"""The funnel's thresholds and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lossforge.expression.tree import Expression


class Screen(StrEnum):
    """What can reject a candidate."""

    STATIC = "static"
    PROBE = "probe"
    GUARDS = "guards"
    DESCENT = "descent"

    def judges(self, reason: str) -> bool:
        """Whether a rejection is a judgement of what a loss can learn, which may be wrong.

        That a leaf does not occur, or that there is no gradient, is certain; what the guards decide is another matter.
        """
        return self in (Screen.PROBE, Screen.DESCENT) and reason not in set(Certain)


class Certain(StrEnum):
    """Reasons of the probe's that are no judgement, as the ledger has them."""

    NO_GRADIENT = "the gradient is zero"


@dataclass(frozen=True, slots=True)
class ScreenSettings:
    """Thresholds of the screens.

    ``max_gradient``: largest component of the gradient, in units of its root mean square at moderate logits; at the
    default Adam's squares of it still fit in float32. ``guards``: reject what is what it is only by the sizes of its
    guards, with targets smoothed by ``label_smoothing``. ``descent_steps`` of ``step`` (in logits, root mean square)
    must bring ``descent_accuracy`` (0 to 1) of the free logits to their targets; where they bring some, but not
    enough, the losses train a small network for ``network_steps``, which must learn as much. ``precisions``: the types
    in which the space trains. ``classes``: the numbers of classes of its tasks;
    ``head``: what makes probabilities of their logits; of one neuron the screens see both classes' logits, 0 and z.
    """

    max_gradient: float = 1e18
    descent_steps: int = 40
    descent_accuracy: float = 0.8
    network_steps: int = 80
    repair_sign: bool = True
    keep_scale: bool = False
    classes: tuple[int, ...] = (10,)
    precisions: tuple[str, ...] = ("float32",)
    step: float = 0.1
    guards: bool = True
    label_smoothing: float = 0.0
    head: str = "softmax"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The funnel's answer: the expression to train, its key, and which screen rejected it and why.

    Of a loss and its negative the one that descends better is returned, of a rejected loss too; ``flipped`` says
    that it is the negative of what was asked.
    """

    expression: Expression
    signature: str | None
    rejected_by: Screen | None = None
    reason: str = ""
    flipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether no screen rejected."""
        return self.rejected_by is None
