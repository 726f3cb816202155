"""The screens for losses that are no formulas, such as Dice, or a sum with it: the same questions, by autograd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.losses.compiled import LossSpec
from lossforge.screening.descent import free_logits, free_targets
from lossforge.screening.probes import MODERATE, screen_probe
from lossforge.screening.settings import Certain, Screen, ScreenSettings

if TYPE_CHECKING:
    from torch import Tensor


def screen_term(spec: LossSpec, settings: ScreenSettings) -> tuple[Screen | None, str]:
    """Which screen rejects a term, and why; None and nothing where it passes."""
    for classes in settings.classes:
        if reason := _probe_reason(spec, classes, settings):
            return Screen.PROBE, reason
    reached = min(_descend(spec, classes, settings) for classes in settings.classes)
    if reached < settings.descent_accuracy:
        return (
            Screen.DESCENT,
            f"descent reaches {reached:.0%} of the targets (needed: {settings.descent_accuracy:.0%})",
        )
    return None, ""


def _gradient(spec: LossSpec, logits: Tensor, targets: Tensor, head: str) -> tuple[Tensor, Tensor]:
    """Value of a batch and gradient on logits ``(N, C)``, of which the difference of two is one neuron's.

    The batch's mean: what a term weighs against a formula depends on the reduction. Behind sigmoids the batch is an
    image of N pixels, for which all terms are.
    """
    import torch

    z = logits.detach().requires_grad_()
    share = torch.full((logits.shape[1],), 1 / logits.shape[1], dtype=torch.float64)
    criterion = spec.build(head=head, class_share=share)
    criterion.progress = 0.5
    if head == "sigmoid":
        value = criterion(z.T[None], targets.T[None])
    else:
        value = criterion(z[:, 1:] - z[:, :1] if head == "binary" else z, targets)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient


def _probe_reason(spec: LossSpec, classes: int, settings: ScreenSettings) -> str:
    import torch

    limit, head = settings.max_gradient, settings.head
    data = screen_probe(classes)
    logits, labels = torch.from_numpy(data.logits), torch.from_numpy(data.targets(head))
    # The moderate part is a batch of its own: it says what the gradient's usual size is.
    parts = [_gradient(spec, logits[rows], labels[rows], head) for rows in (slice(0, MODERATE), slice(MODERATE, None))]
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
    several = settings.head == "sigmoid"
    targets = torch.from_numpy(free_targets(classes, several) if several else marks)
    z = torch.from_numpy(start[0]).clone()
    for index in range(settings.descent_steps):
        _, gradient = _gradient(spec, z, targets, settings.head)
        scale = float(gradient.square().mean().sqrt())
        if not 0 < scale < float("inf"):
            break
        z = z - gradient * (settings.step * 2 * (1 - index / settings.descent_steps) / scale)
    return float(((z > 0) == (targets > 0) if several else z.argmax(1) == targets).float().mean())
