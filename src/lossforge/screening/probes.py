"""The probe screen: is the gradient finite, not zero and not spiked, in every precision that the space trains in?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lossforge.expression.interpreter import Interpreter
from lossforge.losses.heads import HEADS
from lossforge.screening.settings import Certain, ScreenSettings

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

MODERATE = 48
"""Rows of moderate logits at the head of a probe: they say what the gradient's usual size is."""
_MORE = 0.3
"""How many of the other labels a sample has, where it has several."""
_SMALLEST = 1e-30
"""Root mean square of a gradient below which it is zero; whether a larger one is rounding, the signature tells."""
_HALF_SMALLEST, _HALF_LARGEST = 6e-8, 65504.0
"""Least and largest magnitude that float16 has."""
_CHUNK = 2**24
"""Numbers in the gradients of the losses that are probed at a time."""


@dataclass(frozen=True)
class Probe:
    """Logits ``(N, C)`` in float32 and labels ``(N,)``; ``rows`` ``(N, C)`` are several labels, each 0 or 1."""

    logits: NDArray[numpy.float32]
    labels: NDArray[numpy.int64]
    rows: NDArray[numpy.float32]

    def targets(self, head: str) -> NDArray[Any]:
        """What a head's targets are: rows where labels are independent, else labels."""
        return self.rows if head == "sigmoid" else self.labels


@lru_cache(maxsize=16)
def screen_probe(classes: int) -> Probe:
    """Moderate logits; extreme ones (±50, and exact probabilities 0 and 1); and the way between.

    The last are sweeps of the true class's logit, and of one wrong class's, over the others from -30 to 30, on
    which a gradient with a narrow spike shows it.
    """
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(1000 + classes))
    few = min(classes, 32)
    gaps = numpy.linspace(-30, 30, 61)
    true, wrong = numpy.zeros((61, classes)), numpy.zeros((61, classes))
    true[:, 0] = wrong[:, 1] = gaps
    logits = numpy.concatenate(
        [
            generator.normal(size=(MODERATE, classes)),
            (generator.normal(size=(16, classes)) * 20).clip(-50, 50),
            numpy.sign(generator.normal(size=(16, classes))) * 50,
            numpy.eye(few, classes) * 200,
            true,
            wrong,
        ]
    )
    labels = numpy.concatenate([generator.integers(classes, size=MODERATE + 32 + few), numpy.zeros(122, numpy.int64)])
    rows = numpy.eye(classes)[labels]
    several = MODERATE + 32  # a sweep is of one label against the rest
    rows[:several] = numpy.maximum(rows[:several], generator.random((several, classes)) < _MORE)
    rows[:several:4] = 0
    return Probe(logits.astype(numpy.float32), labels, rows.astype(numpy.float32))


@lru_cache(maxsize=64)
def _rounded(classes: int, precision: str) -> NDArray[numpy.float32]:
    """The probe's logits as a network that computes in this precision gives them."""
    return round_to(screen_probe(classes).logits, precision)


def round_to(values: NDArray[Any], precision: str) -> NDArray[numpy.float32]:
    """Values rounded to a type and back; what that type cannot hold is infinite."""
    import numpy

    if precision == "float32":
        return values
    if precision == "float16":
        with numpy.errstate(over="ignore"):
            return values.astype(numpy.float16).astype(numpy.float32)
    import torch

    rounded: NDArray[numpy.float32] = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    return rounded


def run(losses: Interpreter, logits: NDArray[Any], targets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Losses ``(K, N)`` and gradients ``(K, N, C)`` on shared logits, against labels ``(N,)`` or rows ``(N, C)``."""
    import numpy

    gradient = numpy.empty((len(losses), *logits.shape), logits.dtype)
    values = numpy.empty((len(losses), len(logits)), logits.dtype)
    losses.run_arrays(logits[None], targets[None], values, gradient, numpy.empty((0, *logits.shape), logits.dtype))
    return values, gradient


@lru_cache(maxsize=16)
def _usual_size(classes: int, head: str) -> float:
    """Root mean square of cross-entropy's gradient on the moderate logits: what matching gives every loss."""
    import numpy

    data = screen_probe(classes)
    targets = data.rows if head == "sigmoid" else numpy.eye(classes)[data.labels]
    return float(numpy.sqrt(numpy.square(moderate(classes, head) - targets[:MODERATE]).mean()))


def moderate(classes: int, head: str) -> NDArray[numpy.float64]:
    """Probabilities of the moderate logits."""
    import torch

    columns = HEADS[HEADS[head].program]
    logits = torch.from_numpy(screen_probe(classes).logits[:MODERATE]).double()
    found: NDArray[numpy.float64] = columns.probabilities(logits, 1).numpy()
    return found


def probe_reasons(losses: Interpreter, settings: ScreenSettings) -> list[str]:
    """Why each loss is rejected, or nothing."""
    reasons: list[str] = []
    rows = len(screen_probe(max(settings.classes)).labels) * max(settings.classes)
    size = max(1, _CHUNK // rows)
    for start in range(0, len(losses), size):
        places = range(start, min(len(losses), start + size))
        part = losses.take(places)
        found = [""] * len(part)
        for classes in settings.classes:
            for precision in settings.precisions:
                for place, reason in enumerate(_reasons(part, classes, precision, settings)):
                    found[place] = found[place] or reason
        reasons += found
    return reasons


def _reasons(losses: Interpreter, classes: int, precision: str, settings: ScreenSettings) -> list[str]:
    import numpy

    values, gradient = run(losses, _rounded(classes, precision), screen_probe(classes).targets(losses.head))
    finite_value = numpy.isfinite(values).all(1)
    peak = numpy.abs(gradient).max((1, 2))
    with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
        scale = numpy.sqrt(numpy.square(gradient[:, :MODERATE].astype(numpy.float64)).mean((1, 2)))
        # Training scales gradients to cross-entropy's size, unless the space says otherwise.
        matching = numpy.ones_like(scale) if settings.keep_scale else _usual_size(classes, losses.head) / scale
        trained_peak, trained_scale = peak * matching, scale * matching
    limit, half = settings.max_gradient, precision == "float16"
    reasons = []
    for k in range(len(losses)):
        if not finite_value[k]:
            reasons.append("the value is not finite")
        elif not numpy.isfinite(peak[k]):
            reasons.append("the gradient is not finite")
        elif scale[k] < _SMALLEST:
            reasons.append(Certain.NO_GRADIENT)
        elif peak[k] / scale[k] > limit:
            reasons.append(f"the gradient reaches {peak[k] / scale[k]:.2g} times its usual size (limit {limit:g})")
        elif half and trained_peak[k] > _HALF_LARGEST:
            reasons.append(f"the gradient reaches {trained_peak[k]:.2g}, which {precision} cannot hold")
        elif half and trained_scale[k] < _HALF_SMALLEST:
            reasons.append(f"the gradient's usual size is {trained_scale[k]:.2g}, which {precision} takes for zero")
        else:
            reasons.append("")
    return reasons
