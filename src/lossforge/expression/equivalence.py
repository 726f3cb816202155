"""Do two expressions have the same value and gradient? Asked on a grid that includes the extremes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from lossforge.expression.codegen import compile_expression
from lossforge.expression.tree import Expression

if TYPE_CHECKING:
    from typing import Any

    import numpy
    from numpy.typing import NDArray
    from torch import Tensor


@lru_cache(maxsize=1)
def probe_grid() -> tuple[Tensor, Tensor]:
    """Logits and targets ``(N, C)`` in float64: moderate and large logits, ±50, and probabilities 0 and 1."""
    import numpy
    import torch

    generator = numpy.random.Generator(numpy.random.PCG64(7))
    classes = 10
    logits = torch.from_numpy(
        numpy.concatenate(
            [
                generator.normal(size=(64, classes)),
                generator.normal(size=(32, classes)) * 8,
                numpy.sign(generator.normal(size=(16, classes))) * 50,
                numpy.eye(classes) * 2000 - 1000,  # softmax gives exact 0 and 1
                numpy.zeros((1, classes)),
            ]
        )
    )
    indices = torch.from_numpy(generator.integers(classes, size=len(logits)))
    y_true = torch.nn.functional.one_hot(indices, classes).double()
    y_true[::5] = y_true[::5] * 0.9 + 0.1 / classes
    return logits, y_true


def value_and_gradient(expression: Expression, logits: Tensor, y_true: Tensor) -> tuple[Tensor, Tensor]:
    """Elementwise value ``(N, C)`` and the gradient ``(N, C)`` of its sum on the logits."""
    import torch

    z = logits.detach().clone().requires_grad_()
    log_y_pred = torch.log_softmax(z, 1)
    loss = compile_expression(expression)(log_y_pred.exp(), y_true, log_y_pred)
    if not loss.requires_grad:
        return loss, torch.zeros_like(logits)
    (gradient,) = torch.autograd.grad(loss.sum(), z, allow_unused=True)
    return loss.detach(), torch.zeros_like(logits) if gradient is None else gradient


def same_value_and_gradient(first: Expression, second: Expression, tolerance: float = 1e-7) -> bool:
    """Whether value and gradient agree everywhere on the grid, relative to their size there (at least 1)."""
    import torch

    logits, y_true = probe_grid()
    for a, b in zip(value_and_gradient(first, logits, y_true), value_and_gradient(second, logits, y_true), strict=True):
        if not (a.isfinite().all() and b.isfinite().all()):
            return False
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance):
            return False
    return True


@lru_cache(maxsize=2)
def element_grid(soft_targets: bool) -> tuple[NDArray[numpy.float64], ...]:
    """``y_pred``, ``y_true`` and ``log(y_pred)``, each ``(T, P)`` in float64: T targets, P predictions.

    Targets are 0 and 1, and with ``soft_targets`` some between. Predictions are ordinary, next to 0 and 1 and 0
    itself; none is a round number, where a kink would be.
    """
    import numpy

    ordinary = (numpy.arange(40) + 0.3719) / 40
    low = numpy.array([0.0, -0.4321, -3.337, -7.77, -16.1, -31.3, -49.3, -97.7])
    log_y_pred = numpy.concatenate(
        [numpy.log(ordinary), low * 0.73 - 4.123, low * 9.7 - 111.1, [-9.9e4], -(10.0 ** (low[2:6] / 3 - 2.17))]
    )
    targets = numpy.array([0.0, 1.0, *([0.0101, 0.0933, 0.31, 0.5017, 0.7311, 0.9091, 0.987] if soft_targets else [])])
    log_y_pred, y_true = (array.copy() for array in numpy.broadcast_arrays(log_y_pred, targets[:, None]))
    return numpy.exp(log_y_pred), y_true, log_y_pred


def same_elements(first: Expression, second: Expression, soft_targets: bool, tolerance: float = 1e-9) -> bool:
    """Whether two losses have the same value and gradient element by element, and so on any logits.

    Relative to their size, or for a target to the largest size up to 1. Asked on `element_grid`, in a fraction of a
    millisecond; without ``soft_targets`` for labels of 0 and 1 alone.
    """
    return all(
        _close(a, b, tolerance)
        for a, b in zip(_elements(first, soft_targets), _elements(second, soft_targets), strict=True)
    )


@lru_cache(maxsize=4096)
def _elements(expression: Expression, soft_targets: bool) -> tuple[NDArray[Any], ...]:
    from lossforge.expression.elementwise import value_and_slope

    return value_and_slope(expression, *element_grid(soft_targets))


def _close(a: NDArray[Any], b: NDArray[Any], tolerance: float) -> bool:
    import numpy

    largest = numpy.minimum(1.0, numpy.abs(a).max(axis=1, keepdims=True))
    with numpy.errstate(all="ignore"):
        return bool((numpy.abs(a - b) <= tolerance * numpy.maximum(numpy.abs(a), largest)).all())
