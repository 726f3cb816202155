"""The funnel: reject what cannot train, before it costs a training. Cheapest screen first.

static: both leaves must occur. probe: value and gradient finite, the gradient not zero and not spiked.
descent: gradient descent on free logits must reach the targets, with the sign repaired where only -f
does. All screens look at the gradient's shape, never at its scale, which training matches anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.canonical import canonical_form
from lossforge.expression.equivalence import value_and_gradient
from lossforge.expression.signature import signature
from lossforge.expression.tree import Expression, call

if TYPE_CHECKING:
    from torch import Tensor

Batch = tuple["Tensor", "Tensor"]
"""Logits ``(N, C)`` and one-hot targets ``(N, C)``."""


class Screen(StrEnum):
    """What can reject a candidate."""

    STATIC = "static"
    PROBE = "probe"
    DESCENT = "descent"


@dataclass(frozen=True, slots=True)
class ScreenSettings:
    """Thresholds of the screens.

    ``max_gradient``: largest component of the gradient, in units of its root mean square at moderate
    logits. ``descent_steps`` of ``step`` (in logits, root mean square) must bring at least
    ``descent_accuracy`` (0 to 1) of the free logits to their targets.
    """

    max_gradient: float = 1e4
    descent_steps: int = 40
    descent_accuracy: float = 0.9
    repair_sign: bool = True
    keep_scale: bool = False
    classes: tuple[int, ...] = (10,)
    step: float = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The funnel's answer: the expression to train (its sign repaired), its key, or why it was rejected."""

    expression: Expression
    signature: str | None
    rejected_by: Screen | None = None
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether no screen rejected."""
        return self.rejected_by is None


@lru_cache(maxsize=16)
def _batches(classes: int) -> tuple[Batch, Batch, Batch]:
    """Moderate logits, extreme logits (±50, and exact probabilities 0 and 1), and the start of the descent."""
    import torch

    generator = torch.Generator().manual_seed(1000 + classes)

    def targets(count: int) -> Tensor:
        indices = torch.randint(classes, (count,), generator=generator)
        return torch.nn.functional.one_hot(indices, classes).float()

    def normal(count: int, scale: float) -> Tensor:
        return torch.randn(count, classes, generator=generator) * scale

    extreme = torch.cat([normal(16, 20.0).clamp(-50, 50), torch.sign(normal(16, 1.0)) * 50, torch.eye(classes) * 200])
    return (
        (normal(48, 1.0), targets(48)),
        (extreme, targets(len(extreme))),
        (normal(64, 1.0), targets(64)),
    )


def loss_and_gradient(expression: Expression, batch: Batch) -> tuple[Tensor, Tensor]:
    """Elementwise loss ``(N, C)`` and the gradient ``(N, C)`` of its sum on the logits."""
    return value_and_gradient(expression, *batch)


def _rms(gradient: Tensor) -> float:
    return float(gradient.square().mean().sqrt())


def _static(expression: Expression) -> str:
    form = canonical_form(expression)
    missing = [name for name in ("y_pred", "y_true") if not form.uses(name)]
    return f"{' and '.join(missing)} does not occur" if missing else ""


def _probe(expression: Expression, settings: ScreenSettings) -> str:
    for classes in settings.classes:
        moderate, extreme, _ = _batches(classes)
        loss, gradient = loss_and_gradient(expression, moderate)
        peak_loss, peak_gradient = loss_and_gradient(expression, extreme)
        if not (loss.isfinite().all() and peak_loss.isfinite().all()):
            return "the value is not finite"
        if not (gradient.isfinite().all() and peak_gradient.isfinite().all()):
            return "the gradient is not finite"
        scale = _rms(gradient)
        if scale < 1e-12:
            return "the gradient is zero"
        peak = max(float(gradient.abs().max()), float(peak_gradient.abs().max())) / scale
        if peak > settings.max_gradient:
            return f"the gradient reaches {peak:.2g} times its usual size (limit {settings.max_gradient:g})"
    return ""


def descent_accuracy(expression: Expression, classes: int, settings: ScreenSettings) -> float:
    """Share (0 to 1) of free logits whose largest is the target's after descending the loss."""
    logits, y_true = _batches(classes)[2]
    z = logits.clone()
    for index in range(settings.descent_steps):
        _, gradient = loss_and_gradient(expression, (z, y_true))
        scale = _rms(gradient)
        if not 1e-12 < scale < float("inf"):
            break
        # The step shrinks, or a loss whose minimum is not one-hot (NGL) would circle around it.
        z = z - gradient * (settings.step / scale * 2 * (1 - index / settings.descent_steps))
    return float((z.argmax(1) == y_true.argmax(1)).float().mean())


def _descent(expression: Expression, settings: ScreenSettings) -> tuple[Expression, str]:
    def worst(candidate: Expression) -> float:
        return min(descent_accuracy(candidate, classes, settings) for classes in settings.classes)

    reached = worst(expression)
    if reached >= settings.descent_accuracy:
        return expression, ""
    if settings.repair_sign:
        repaired = negated(expression)
        reached = max(reached, other := worst(repaired))
        if other >= settings.descent_accuracy:
            return repaired, ""
    return expression, f"descent reaches {reached:.0%} of the targets (needed: {settings.descent_accuracy:.0%})"


def negated(expression: Expression) -> Expression:
    """-f, written without a double negation."""
    if expression.op == "neg":
        return expression.args[0]
    if expression.op == "sub":
        return call("sub", expression.args[1], expression.args[0])
    return call("neg", expression)


def screen(expression: Expression, settings: ScreenSettings) -> Verdict:
    """Run the screens in order, and stop at the first that rejects."""
    reason = _static(expression)
    if reason:
        return Verdict(expression, None, Screen.STATIC, reason)
    reason = _probe(expression, settings)
    key = None if reason else signature(expression, keep_scale=settings.keep_scale)
    if reason or key is None:
        return Verdict(expression, None, Screen.PROBE, reason or "the gradient is zero")
    expression, reason = _descent(expression, settings)
    if reason:
        return Verdict(expression, key, Screen.DESCENT, reason)
    if settings.keep_scale:
        # The repaired sign is part of the key here.
        key = signature(expression, keep_scale=True)
    return Verdict(expression, key)
