"""What the gradient of a loss says on a fixed probe: the name under which candidates are one.

The gradient on the logits is what training sees. ``f``, ``3 * f + 1``, ``f + 0.7 * y_pred`` (softmax sums
to one) and algebraic rewrites of ``f`` have one gradient direction, and so one signature; with sign
and scale removed, ``-f`` too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.interpreter import Interpreter
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

_VERSION = "1"
_SHAPES = ((48, 10), (16, 3), (16, 2))
"""Samples and classes of the probe's parts: what holds for one number of classes need not for another."""
_OF_TWO = ((96, 2),)
"""The same where there are two classes and no more."""
_LABELLED = 0.4
"""How many of the labels of a sample it has, where each is there or not."""
_DIGITS = 6
"""Significant digits of a projection that count; float64 rounding reaches the ninth or so."""
_PROJECTIONS = 12
SMALLEST = 1e-9
"""Norm of a gradient below which it is rounding, as a share of the loss's size (at most 1).

Softmax sums to one, so parts of a gradient cancel; what is left of them is not zero but tiny.
"""


@dataclass(frozen=True, slots=True)
class Signature:
    """``key`` in hexadecimal, and the ``sign`` (1 or -1) that was removed: of f and -f one has 1, the other -1."""

    key: str
    sign: int


@lru_cache(maxsize=6)
def signature_probe(
    soft_targets: bool, head: str = "softmax"
) -> tuple[tuple[tuple[NDArray[numpy.float64], NDArray[numpy.float64]], ...], NDArray[numpy.float64]]:
    """Parts ``(logits (N, C), y_true (N, C))`` and projections ``(P, total size)``, all float64.

    A head with one logit has two columns here, as the programs have.
    """
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(20240412))
    parts = []
    shapes = _OF_TWO if head == "binary" else _SHAPES
    for samples, classes in shapes:
        logits = generator.normal(size=(samples, classes)) * 2.0
        y_true = numpy.eye(classes)[generator.integers(classes, size=samples)]
        if head == "sigmoid":
            y_true = (generator.random((samples, classes)) < _LABELLED).astype(numpy.float64)
        if soft_targets:
            y_true[::4] = y_true[::4] * 0.8 + 0.2 / (2 if head == "sigmoid" else classes)
        parts.append((logits, y_true))
    total = sum(samples * classes for samples, classes in shapes)
    return tuple(parts), generator.normal(size=(_PROJECTIONS, total))


def probe_gradients(losses: Interpreter, soft_targets: bool = False) -> NDArray[numpy.float64]:
    """Gradients on the logits over the probe, ``(K, total size)``; zero or not finite where a loss's is.

    Half of a training is done there, and all classes are equally frequent.
    """
    return probed(losses, soft_targets, 0.5, 0.0)[0]


MOMENTS = ((0.0, 0.0), (0.35, 0.6), (1.0, -0.4))
"""Progress, and how far the classes are from equally frequent, of a loss that depends on either."""


def _shares(classes: int, unequal: float) -> NDArray[numpy.float64]:
    import numpy

    sizes = numpy.exp(unequal * numpy.sin(numpy.arange(1, classes + 1) * 2.0))
    shares: NDArray[numpy.float64] = sizes / sizes.sum()
    return shares


def probed(
    losses: Interpreter, soft_targets: bool, progress: float, unequal: float
) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]]:
    """Gradients ``(K, total size)`` and the largest magnitude ``(K,)`` of each loss's elements."""
    import numpy

    gradients, sizes = [], numpy.zeros(len(losses))
    for logits, y_true in signature_probe(soft_targets, losses.head)[0]:
        gradient = numpy.empty((len(losses), *logits.shape))
        values = numpy.empty((len(losses), len(logits)))
        terms = numpy.empty_like(gradient)
        shares = _shares(logits.shape[1], unequal)
        losses.run_arrays(logits[None], y_true[None], values, gradient, terms, progress, shares)
        gradients.append(gradient.reshape(len(losses), -1))
        sizes = numpy.maximum(sizes, numpy.abs(terms).max((1, 2)))
    return numpy.concatenate(gradients, axis=1), sizes


def signatures(losses: Interpreter, *, keep_scale: bool = False, soft_targets: bool = False) -> list[Signature | None]:
    """Signature of each loss, or None where the gradient is zero or not finite.

    With ``keep_scale`` sign and scale stay in the key: for spaces that do not match gradients. Targets
    are one-hot, so ``abs(y_true - y_pred)`` and ``-y_true * y_pred``, which train alike on them, are one;
    with ``soft_targets`` a quarter of them is smoothed, and losses that differ only there differ. Each head has a probe
    of its own: behind sigmoids ``f + 0.7 * y_pred`` is another loss than f. A loss that depends
    on the progress of a training, or on the classes' shares, is asked at several.
    """
    found = _signatures_at(losses, keep_scale, soft_targets, ((0.5, 0.0),))
    changing = [place for place, needs in enumerate(losses.bytecode.needs) if needs]
    if changing:
        several = _signatures_at(losses.take(changing), keep_scale, soft_targets, MOMENTS)
        for place, signature in zip(changing, several, strict=True):
            found[place] = signature
    return found


def _signatures_at(
    losses: Interpreter, keep_scale: bool, soft_targets: bool, moments: tuple[tuple[float, float], ...]
) -> list[Signature | None]:
    """The signatures of gradients at some moments, each with projections of its own."""
    import numpy

    if not len(losses):
        return []
    asked = [probed(losses, soft_targets, *moment) for moment in moments]
    gradients = numpy.concatenate([gradient for gradient, _ in asked], axis=1)
    sizes = numpy.max([size for _, size in asked], axis=0)
    with numpy.errstate(over="ignore", invalid="ignore"):
        norms = numpy.sqrt(numpy.square(gradients).sum(axis=1))
    first = signature_probe(soft_targets, losses.head)[1]
    projections = numpy.concatenate([numpy.roll(first, place, axis=0) for place in range(len(moments))], axis=1)
    # One loss at a time: the products of a matrix of many would round by how many there are.
    return [
        _signature(projections @ (gradient / norm), float(norm), keep_scale)
        if SMALLEST * min(1.0, size) < norm < float("inf")
        else None
        for gradient, norm, size in zip(gradients, norms, sizes, strict=True)
    ]


def _signature(projected: NDArray[numpy.float64], norm: float, keep_scale: bool) -> Signature:
    values = projected.tolist()
    sign = -1 if values[0] < 0 else 1
    values = [*values, norm] if keep_scale else [sign * value for value in values]
    text = " ".join(f"{value:.{_DIGITS - 1}e}" for value in values)
    return Signature(hashlib.sha256(f"{_VERSION} {text}".encode()).hexdigest()[:32], sign)


def signature_of(
    gradient: NDArray[numpy.float64], size: float, *, keep_scale: bool = False, head: str = "softmax"
) -> Signature | None:
    """Signature of what is no formula, from its gradient over the probe, flat; None where it is zero or not finite.

    ``size`` is the loss's largest magnitude there.
    """
    import numpy

    norm = float(numpy.sqrt(numpy.square(gradient).sum()))
    if not SMALLEST * min(1.0, size) < norm < float("inf"):
        return None
    return _signature(signature_probe(False, head)[1] @ (gradient / norm), norm, keep_scale)


def signature(
    expression: Expression, *, keep_scale: bool = False, soft_targets: bool = False, head: str = "softmax"
) -> str | None:
    """Key of one expression; see `signatures`."""
    (found,) = signatures(Interpreter([expression], head=head), keep_scale=keep_scale, soft_targets=soft_targets)
    return None if found is None else found.key
