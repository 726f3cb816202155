"""The descent screen: does following the gradient bring free logits, or a small network, to their targets?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import signatures
from lossforge.screening.probes import probe_reasons
from lossforge.screening.settings import ScreenSettings

if TYPE_CHECKING:
    from pathlib import Path

    import numpy
    from numpy.typing import NDArray

SURE = 0.95
"""Share of free logits that settles it: no network is asked."""
HOPELESS = 0.2
"""Share of free logits below which no network is asked either."""
_INPUTS, _HIDDEN, _RATE = 32, 16, 0.01
_SMALL = 0.06
"""Size of the last weights: a network starts from a uniform prediction, as those that are searched on do."""
_CLUSTERS = 8
_NETWORKS = (2, 3)
"""Seeds of the data and weights of the small networks."""


@dataclass(frozen=True, slots=True)
class Descent:
    """Whether a loss learns, whether only with its sign turned, and why not."""

    passed: bool
    flipped: bool = False
    reason: str = ""


@lru_cache(maxsize=16)
def free_logits(classes: int) -> tuple[NDArray[numpy.float32], NDArray[numpy.int64]]:
    """Start ``(1, 64, C)`` and labels ``(64,)`` of the descent on free logits."""
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(2000 + classes))
    labels = generator.integers(classes, size=64)
    return generator.normal(size=(1, 64, classes)).astype(numpy.float32), labels


@lru_cache(maxsize=64)
def network(classes: int, seed: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Data ``(D, N)`` of overlapping clusters, two a class, labels ``(N,)``, and first weights (H, D) and (C, H).

    The inputs' mean is as large as their deviation: pixels are not centred, and what all samples share is what a
    network without normalisation follows first. A loss that is stuck once all answers are one class shows it here.
    """
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(seed))
    samples = max(80, 2 * classes)
    cluster = numpy.arange(samples) % (2 * classes)
    labels = cluster % classes
    centres, shared = generator.normal(size=(2 * classes, _INPUTS)), generator.normal(size=(classes, _INPUTS))
    x = 0.7 * centres[cluster] + 0.7 * shared[labels] + generator.normal(size=(samples, _INPUTS))
    w1 = generator.normal(size=(_HIDDEN, _INPUTS)) * (2 / _INPUTS) ** 0.5
    w2 = generator.normal(size=(classes, _HIDDEN)) * _SMALL / _HIDDEN**0.5
    data = numpy.ascontiguousarray((x / x.std() + generator.normal(size=_INPUTS)).T, numpy.float32)
    return data, labels, w1.astype(numpy.float32), w2.astype(numpy.float32)


@lru_cache(maxsize=16)
def free_targets(classes: int, several: bool) -> NDArray[numpy.float32]:
    """Targets ``(64, C)`` of the descent on free logits: 1 at the label; of several labels any half of them."""
    import numpy

    labels = free_logits(classes)[1]
    if several:
        generator = numpy.random.Generator(numpy.random.PCG64(2500 + classes))
        return (generator.random((len(labels), classes)) < 0.5).astype(numpy.float32)
    return numpy.eye(classes, dtype=numpy.float32)[labels]


@lru_cache(maxsize=64)
def labelled_network(
    classes: int, seed: int, several: bool
) -> tuple[NDArray[Any], NDArray[numpy.float32], NDArray[Any], NDArray[Any]]:
    """`network`'s data, targets ``(N, C)``, and first weights.

    Of several labels: each is of half of eight clusters, whatever their number, so that none is rare.
    """
    import numpy

    if not several:
        x, labels, w1, w2 = network(classes, seed)
        return x, numpy.eye(classes, dtype=numpy.float32)[labels], w1, w2
    x, labels, w1, _ = network(_CLUSTERS // 2, seed)
    generator = numpy.random.Generator(numpy.random.PCG64(3000 + seed))
    halves = generator.permuted(numpy.arange(_CLUSTERS)[:, None].repeat(classes, 1), axis=0) % 2
    w2 = generator.normal(size=(classes, _HIDDEN)) * _SMALL / _HIDDEN**0.5
    rows = halves[numpy.arange(len(labels)) % _CLUSTERS]
    return x, rows.astype(numpy.float32), w1, w2.astype(numpy.float32)


def kernels_are_compiled() -> bool:
    """Whether this machine has compiled the screens' kernels, so that the first verdict comes at once."""
    from lossforge.expression.jit import is_kept
    from lossforge.screening import descent_kernel

    return is_kept(descent_kernel.train_network)


def kernels_folder() -> Path | None:
    """Where this machine keeps the compiled kernels; None where nothing can be written."""
    from lossforge.expression.jit import folder_of
    from lossforge.screening import descent_kernel

    return folder_of(descent_kernel.train_network)


def compile_kernels() -> None:
    """Compile the kernels of all screens, or load them: half a minute the first time on a machine."""
    import numpy

    losses = Interpreter([parse_formula("-y_true * log(y_pred)")])
    settings = ScreenSettings()
    signatures(losses)
    probe_reasons(losses, settings)
    for measure in (descend, train_network):
        measure(losses, 10, settings, numpy.ones(1))


def descend(losses: Interpreter, classes: int, settings: ScreenSettings, sign: NDArray[Any]) -> NDArray[numpy.float64]:
    """Share ``(K,)`` of free logits whose largest is the target's after descending ``sign`` (K,) times each loss.

    Behind independent sigmoids: of logits on the right side of 0.
    """
    import numpy

    from lossforge.screening import descent_kernel

    reached = numpy.empty(len(losses))
    start, _ = free_logits(classes)
    descent_kernel.descend(
        *losses.tables["float32"],
        start,
        free_targets(classes, losses.of_one),
        settings.descent_steps,
        settings.step,
        sign.astype(numpy.float32),
        losses.of_one,
        reached,
    )
    return reached


def train_network(
    losses: Interpreter, classes: int, settings: ScreenSettings, sign: NDArray[Any]
) -> NDArray[numpy.float64]:
    """Accuracy ``(K,)`` of small networks trained with ``sign`` (K,) times each loss, in their mean.

    Once the mean cannot become what is needed, it is that of the networks so far.
    """
    import numpy

    from lossforge.screening import descent_kernel

    total, trained = numpy.zeros(len(losses)), numpy.zeros(len(losses))
    for seed in _NETWORKS:
        able = numpy.flatnonzero(total + len(_NETWORKS) - trained >= settings.descent_accuracy * len(_NETWORKS))
        x, y_true, w1, w2 = labelled_network(classes, seed, losses.of_one)
        one = numpy.empty(len(able))
        norm = float(numpy.sqrt(y_true.size))
        descent_kernel.train_network(
            *losses.take(able.tolist()).tables["float32"],
            x,
            y_true,
            w1,
            w2,
            settings.network_steps,
            _RATE,
            norm,
            sign[able].astype(numpy.float32),
            losses.of_one,
            one,
        )
        total[able] += one
        trained[able] += 1
    return total / trained


def _worst(measure: Any, losses: Interpreter, settings: ScreenSettings, sign: NDArray[Any]) -> NDArray[numpy.float64]:
    import numpy

    shares: NDArray[numpy.float64] = numpy.min(
        [measure(losses, classes, settings, sign) for classes in settings.classes], axis=0
    )
    return shares


def descents(losses: Interpreter, settings: ScreenSettings) -> list[Descent]:
    """How each loss fares. Each alone decides its own: how many are asked at once changes nothing."""
    import numpy

    if not len(losses):
        return []
    ones = numpy.ones(len(losses))
    reached = _worst(descend, losses, settings, ones)
    turned = numpy.zeros(len(losses))
    if settings.repair_sign:
        open_ = [k for k in range(len(losses)) if reached[k] < SURE]
        if open_:
            turned[open_] = _worst(descend, losses.take(open_), settings, -ones[open_])
    flipped = turned > reached
    best = numpy.maximum(reached, turned)
    accuracy = best.copy()
    unsure = [k for k in range(len(losses)) if HOPELESS <= best[k] < SURE and settings.network_steps > 0]
    if unsure:
        sign = numpy.where(flipped[unsure], -1.0, 1.0)
        accuracy[unsure] = _worst(train_network, losses.take(unsure), settings, sign)
    needed = settings.descent_accuracy
    return [
        Descent(True, bool(flipped[k]))
        if accuracy[k] >= needed
        else Descent(False, bool(flipped[k]), _reason(best[k], accuracy[k] if k in set(unsure) else None, needed))
        for k in range(len(losses))
    ]


def _reason(free: float, network_accuracy: float | None, needed: float) -> str:
    if network_accuracy is None:
        return f"descent reaches {free:.0%} of the targets (needed: {needed:.0%})"
    learns = f"a small network learns {network_accuracy:.0%}"
    return f"descent reaches {free:.0%} of the targets, and {learns} (needed: {needed:.0%})"
