"""The screens for losses that are no formulas, such as Dice: the same questions, asked of the module by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.losses.compiled import LossSpec
from lossforge.screening.descent import free_logits
from lossforge.screening.probes import MODERATE, screen_probe
from lossforge.screening.settings import Certain, Screen, ScreenSettings

if TYPE_CHECKING:
    from torch import Tensor


def screen_term(spec: LossSpec, settings: ScreenSettings) -> tuple[Screen | None, str]:
    """Which screen rejects a term, and why; None and nothing where it passes."""
    for classes in settings.classes:
        if reason := _probe_reason(spec, classes, settings.max_gradient):
            return Screen.PROBE, reason
    reached = min(_descend(spec, classes, settings) for classes in settings.classes)
    if reached < settings.descent_accuracy:
        return (
            Screen.DESCENT,
            f"descent reaches {reached:.0%} of the targets (needed: {settings.descent_accuracy:.0%})",
        )
    return None, ""


def _gradient(spec: LossSpec, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    z = logits.detach().requires_grad_()
    value = spec.build(reduction="sum")(z, labels)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient


def _probe_reason(spec: LossSpec, classes: int, limit: float) -> str:
    import torch

    data = screen_probe(classes)
    logits, labels = torch.from_numpy(data.logits), torch.from_numpy(data.labels)
    # The moderate part is a batch of its own: it says what the gradient's usual size is.
    parts = [_gradient(spec, logits[rows], labels[rows]) for rows in (slice(0, MODERATE), slice(MODERATE, None))]
    if not all(value.isfinite().all() for value, _ in parts):
        return "the value is not finite"
    if not all(gradient.isfinite().all() for _, gradient in parts):
        return "the gradient is not finite"
    scale = float(parts[0][1].square().mean().sqrt())
    peak = max(float(gradient.abs().max()) for _, gradient in parts)
    if scale < 1e-12:
        return Certain.NO_GRADIENT
    if peak / scale > limit:
        return f"the gradient reaches {peak / scale:.2g} times its usual size (limit {limit:g})"
    return ""


def _descend(spec: LossSpec, classes: int, settings: ScreenSettings) -> float:
    """Share of free logits that descent brings to their labels, one batch of them."""
    import torch

    start, marks = free_logits(classes)
    z, labels = torch.from_numpy(start[0]).clone(), torch.from_numpy(marks)
    for index in range(settings.descent_steps):
        _, gradient = _gradient(spec, z, labels)
        scale = float(gradient.square().mean().sqrt())
        if not 0 < scale < float("inf"):
            break
        z = z - gradient * (settings.step * 2 * (1 - index / settings.descent_steps) / scale)
    return float((z.argmax(1) == labels).float().mean())
