"""What the gradient of a loss says on a fixed probe: the name under which candidates are one.

The gradient on the logits is what training sees. ``f``, ``3 * f + 1``, ``f + 0.7 * y_pred`` (softmax sums
to one) and algebraic rewrites of ``f`` have one gradient direction, and so one signature; with sign
and scale removed, ``-f`` too.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.codegen import compile_expression
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    from torch import Tensor

_VERSION = "1"
_SHAPES = ((48, 10), (16, 3), (16, 2))
"""Samples and classes of the probe's parts: what holds for one number of classes need not for another."""
_DIGITS = 6
"""Significant digits of a projection that count; float64 rounding reaches the ninth or so."""
_PROJECTIONS = 12


@lru_cache(maxsize=2)
def _probe(soft_targets: bool) -> tuple[tuple[tuple[Tensor, Tensor], ...], Tensor]:
    """Parts ``(logits (N, C), y_true (N, C))`` in float64, and projections ``(P, total size)``."""
    import numpy
    import torch

    generator = numpy.random.Generator(numpy.random.PCG64(20240412))
    parts = []
    for samples, classes in _SHAPES:
        logits = torch.from_numpy(generator.normal(size=(samples, classes)) * 2.0)
        indices = torch.from_numpy(generator.integers(classes, size=samples))
        y_true = torch.nn.functional.one_hot(indices, classes).double()
        if soft_targets:
            y_true[::4] = y_true[::4] * 0.8 + 0.2 / classes
        parts.append((logits, y_true))
    total = sum(samples * classes for samples, classes in _SHAPES)
    return tuple(parts), torch.from_numpy(generator.normal(size=(_PROJECTIONS, total)))


def probe_gradient(expression: Expression, soft_targets: bool = False) -> Tensor:
    """Gradient on the logits over the probe, flat, float64; zero or not finite where the loss is."""
    import torch

    function = compile_expression(expression)
    gradients = []
    for logits, y_true in _probe(soft_targets)[0]:
        z = logits.detach().requires_grad_()
        log_y_pred = torch.log_softmax(z, 1)
        loss = function(log_y_pred.exp(), y_true, log_y_pred).sum()
        if loss.requires_grad:
            (gradient,) = torch.autograd.grad(loss, z, allow_unused=True)
        else:
            gradient = None
        gradients.append(torch.zeros(logits.numel(), dtype=logits.dtype) if gradient is None else gradient.flatten())
    return torch.cat(gradients)


def signature(expression: Expression, *, keep_scale: bool = False, soft_targets: bool = False) -> str | None:
    """Hexadecimal key of a candidate, or None where the gradient is zero or not finite.

    With ``keep_scale`` sign and scale stay in the key: for spaces that do not match gradients. Targets
    are one-hot, so ``abs(y_true - y_pred)`` and ``-y_true * y_pred``, which train alike on them, are one;
    with ``soft_targets`` a quarter of them is smoothed, and losses that differ only there differ.
    """
    import torch

    gradient = probe_gradient(expression, soft_targets)
    norm = float(torch.linalg.vector_norm(gradient))
    if not 1e-9 < norm < float("inf"):
        return None
    projected = (_probe(soft_targets)[1] @ (gradient / norm)).tolist()
    if keep_scale:
        projected.append(norm)
    elif projected[0] < 0:
        projected = [-value for value in projected]
    text = " ".join(f"{value:.{_DIGITS - 1}e}" for value in projected)
    return hashlib.sha256(f"{_VERSION} {text}".encode()).hexdigest()[:32]
