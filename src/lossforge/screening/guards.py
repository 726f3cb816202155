"""The screen for guards: is the loss what it is only by the sizes of its protections?

A divisor, and the argument of log and sqrt, is kept 1e-6 away from zero, values stay within ±1e12, and exp is flat
above 27. Nobody chose these numbers for what they do to a loss. So a gradient whose direction, at ordinary
probabilities, is another one with other numbers is an accident of the implementation, such as that of
``sin(y_pred / y_true)``, which is sin(1e6 y_pred) for every wrong class.

What has a limit passes: the direction of ``y_pred / y_true`` is that of mean absolute error, whatever the size. So do
parts of the target alone, since they are folded to numbers that everybody sees: ``sqrt(y_true)`` is
``0.001 + 0.999 * y_true``. Where targets are smoothed in training, the screen smooths them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log
from typing import TYPE_CHECKING, Any

from lossforge.expression.adjoint import joint_program
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.program import guards_can_act
from lossforge.expression.protection import GUARDS, Guards
from lossforge.expression.tree import Expression
from lossforge.screening.probes import MODERATE, moderate, run, screen_probe
from lossforge.screening.settings import ScreenSettings

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

OTHERS = (
    Guards(GUARDS.eps * 10, GUARDS.bound * 3, GUARDS.exp_limit + log(3)),
    Guards(GUARDS.eps / 10, GUARDS.bound / 3, GUARDS.exp_limit - log(3)),
)
"""The sizes that are tried. No product of small powers of eps and bound stays the same, or a loss that depends on
both could hide; and eps stays so small that at ordinary probabilities no divisor or logarithm of one is near it."""
TOLERANCE = 0.1
"""Change of a sample's gradient that counts, as a share of it."""
CHANGED = 0.1
"""Share of samples that may change. A pole between the probabilities, as of ``log(y_pred - 0.3)``, has a peak that a
guard cuts off; it changes the few samples that happen to be there, and not what the loss is."""
_LIKELIEST = Guards(*(pick(sizes) for pick, sizes in zip((max, min, min), zip(*OTHERS, strict=True), strict=True)))
"""Guards that act wherever one of the others does."""
_CHUNK = 2**22
"""Numbers in the gradients that are compared at a time."""


def guard_reasons(forms: Sequence[Expression], settings: ScreenSettings) -> list[str]:
    """Why each loss is rejected, or nothing."""
    reasons = [""] * len(forms)
    guarded = [place for place, form in enumerate(forms) if joint_program(form, guards=GUARDS).guarded]
    hard = settings.label_smoothing == 0
    for classes in settings.classes:
        asked = [
            place
            for place in guarded
            if guards_can_act(forms[place], _LIKELIEST, _least(classes, settings.head), hard=hard)
        ]
        at_once = max(1, _CHUNK // (MODERATE * classes))
        for start in range(0, len(asked), at_once):
            places = asked[start : start + at_once]
            asked_now = [forms[place] for place in places]
            shares = changed(asked_now, classes, settings.label_smoothing, settings.head)
            for place, found in zip(places, shares, strict=True):
                worst = int(found.argmax())
                if found[worst] > CHANGED and not reasons[place]:
                    reasons[place] = _reason(OTHERS[worst], float(found[worst]))
    return reasons


@lru_cache(maxsize=16)
def _least(classes: int, head: str = "softmax") -> float:
    """Least probability among the moderate samples."""
    return float(moderate(classes, head).min())


def changed(
    forms: Sequence[Expression], classes: int, label_smoothing: float = 0.0, head: str = "softmax"
) -> NDArray[numpy.float64]:
    """Shares ``(K, 2)`` of moderate samples whose gradient is another one with guards of the `OTHERS`' sizes, but for
    one factor for each loss.
    """
    import numpy

    data = screen_probe(classes)
    logits, targets = data.logits[:MODERATE].astype(numpy.float64), data.targets(head)[:MODERATE]
    smoothing = [label_smoothing] * len(forms)
    usual, *others = (
        run(Interpreter(forms, smoothing, guards, head), logits, targets)[1] for guards in (GUARDS, *OTHERS)
    )
    shares = numpy.empty((len(forms), len(others)))
    with numpy.errstate(all="ignore"):
        norms = _norms(usual)
        for column, other in enumerate(others):
            ratios = norms / _norms(other)
            ratios[~(numpy.isfinite(ratios) & (ratios > 0))] = 0  # both are zero, or only one is
            # The median of the samples that have a gradient with either, each loss alone.
            factors = numpy.array([numpy.median(row[row > 0]) if row.any() else 0.0 for row in ratios])
            shares[:, column] = 1 - (_norms(factors[:, None, None] * other - usual) <= TOLERANCE * norms).mean(1)
    return shares


def _norms(gradient: NDArray[Any]) -> NDArray[numpy.float64]:
    """Norm ``(K, N)`` of each sample's gradient ``(K, N, C)``."""
    import numpy

    norms: NDArray[numpy.float64] = numpy.sqrt(numpy.square(gradient).sum(2))
    return norms


def _reason(sizes: Guards, share: float) -> str:
    return (
        f"an accident of its guards: with {sizes.eps:g} and {sizes.bound:.0e} in place of {GUARDS.eps:g} and "
        f"{GUARDS.bound:.0e}, {share:.0%} of the gradients at ordinary probabilities are others"
    )
