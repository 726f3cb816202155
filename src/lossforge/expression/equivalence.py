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
    """Value ``(N, C)``, or ``(N, 1)`` of what is one number a sample, and the gradient ``(N, C)`` of its sum."""
    import numpy
    import torch

    z = logits.detach().clone().requires_grad_()
    if expression.crosses_classes:
        # By the closed form: what stands for the classes' shares and for the progress is the same there.
        from lossforge.expression.elementwise import value_and_slope

        log_p = _log_softmax(logits.numpy())
        value, g = value_and_slope(expression, numpy.exp(log_p), y_true.numpy(), log_p)
        slope = g - numpy.exp(log_p) * g.sum(1, keepdims=True)
        value = (value[:, :1] if expression.of_sample else value).copy()  # else it may be one number for all
        return torch.from_numpy(value), torch.from_numpy(slope)
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
        if a.shape != b.shape:
            return False
        if not (a.isfinite().all() and b.isfinite().all()):
            return False
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance):
            return False
    return True


Targets = tuple[float, ...]
HARD: Targets = (0.0, 1.0)
"""Values of ``y_true`` with hard labels."""
SOFT: Targets = (0.0, 1.0, 0.0101, 0.0933, 0.31, 0.5017, 0.7311, 0.9091, 0.987)
"""Some of its values with soft ones."""


@lru_cache(maxsize=4)
def element_grid(targets: Targets) -> tuple[NDArray[numpy.float64], ...]:
    """``y_pred``, ``y_true`` and ``log(y_pred)``, each ``(T, P)`` in float64: T targets, P predictions.

    Predictions are ordinary (the first 60), next to 0 and 1, and 0 and 1 themselves (the last two); no other is a
    round number, where a kink would be.
    """
    import numpy

    ordinary = numpy.log((numpy.arange(60) + 0.3719) / 60)
    small = -numpy.geomspace(4.637, 711.3, 24)
    large = -(10.0 ** -numpy.linspace(2.417, 13.1, 8))
    log_y_pred = numpy.concatenate([ordinary, small, large, [-9.9e4, 0.0]])
    log_y_pred, y_true = (array.copy() for array in numpy.broadcast_arrays(log_y_pred, numpy.array(targets)[:, None]))
    return numpy.exp(log_y_pred), y_true, log_y_pred


def same_elements(first: Expression, second: Expression, targets: Targets) -> bool:
    """Whether two losses have the same value and gradient element by element, and so on any logits.

    Asked on `element_grid`, in a fraction of a millisecond: values to 1e-9, gradients to 1e-8 of their size, and
    down to what rounding leaves of them.
    """
    (value, g), (other, other_g) = _elements(first, targets), _elements(second, targets)
    # Where a probability is 1, a change of its logit does not move it, whatever the slope there.
    return _close(value, other, 1e-9) and _close(g[:, :-1], other_g[:, :-1], 1e-12)


@lru_cache(maxsize=4096)
def _elements(expression: Expression, targets: Targets) -> tuple[NDArray[Any], ...]:
    from lossforge.expression.elementwise import value_and_slope

    y_pred, y_true, log_y_pred = element_grid(targets)
    return value_and_slope(expression, y_pred, y_true, log_y_pred)


def _close(a: NDArray[Any], b: NDArray[Any], least: float) -> bool:
    import numpy

    with numpy.errstate(all="ignore"):
        largest = numpy.minimum(1.0, numpy.abs(a).max(axis=1, keepdims=True))
        return bool((numpy.abs(a - b) <= 1e-8 * numpy.abs(a) + least * largest).all())


@lru_cache(maxsize=2)
def _logits(soft_targets: bool) -> tuple[tuple[NDArray[numpy.float64], ...], ...]:
    """Parts ``(log_y_pred, y_true)``, each ``(N, C)`` in float64: `probe_grid` and others of more and fewer classes."""
    import numpy

    generator = numpy.random.Generator(numpy.random.PCG64(11))
    given = [array.numpy() for array in probe_grid()]
    parts = [(given[0], given[1] if soft_targets else numpy.eye(10)[given[1].argmax(1)])]
    for classes in (2, 3, 100):
        logits = numpy.concatenate(
            [
                generator.normal(size=(24, classes)) * numpy.array([0.1, 1.0, 3.0, 8.0])[:, None].repeat(6, 0),
                numpy.sign(generator.normal(size=(6, classes))) * 50,
                numpy.eye(classes)[:4] * 100 - 50,
                numpy.eye(classes)[:4] * 2000 - 1000,
                numpy.zeros((2, classes)),
            ]
        )
        y_true = numpy.eye(classes)[generator.integers(classes, size=len(logits))]
        y_true[-6:] = numpy.roll(y_true[-6:], 1, axis=1)
        if soft_targets:
            y_true[::3] = y_true[::3] * 0.9 + 0.1 / classes
        parts.append((logits, y_true))
    return tuple((_log_softmax(logits), y_true) for logits, y_true in parts)


def _log_softmax(logits: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    import numpy

    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[numpy.float64] = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
    return found


def trains_alike(first: Expression, second: Expression, soft_targets: bool, tolerance: float = 1e-3) -> bool:
    """Whether value and gradient on the logits agree to ``tolerance`` of the first's, sample by sample.

    The gradient of every sample, down to what rounding leaves of it, as a vector; values relative to their size or
    its mean. Logits are ordinary, ±50, and such that probabilities are 0 and 1, of 2 to 100 classes.
    """
    from itertools import product

    import numpy

    from lossforge.expression.elementwise import value_and_slope

    if first.of_sample != second.of_sample:
        return False
    moments = (0.37, 0.0, 1.0) if first.uses("progress") or second.uses("progress") else (0.37,)
    for (log_y_pred, y_true), moment in product(_logits(soft_targets), moments):
        y_pred = numpy.exp(log_y_pred)
        (value, g), (other, other_g) = (value_and_slope(e, y_pred, y_true, log_y_pred, moment) for e in (first, second))
        with numpy.errstate(all="ignore"):
            size = numpy.maximum(numpy.abs(value), numpy.abs(value).mean())
            error = (g - other_g) - y_pred * (g - other_g).sum(axis=1, keepdims=True)
            gradient = g - y_pred * g.sum(axis=1, keepdims=True)
            rounding = 1e-12 * numpy.maximum(numpy.abs(g), numpy.abs(other_g)).max(axis=1)
            allowed = tolerance * numpy.linalg.norm(gradient, axis=1) + rounding
            if not (numpy.abs(value - other) <= tolerance * size).all():
                return False
            if not (numpy.linalg.norm(error, axis=1) <= allowed).all():
                return False
    return True


def alike_behind_sigmoids(first: Expression, second: Expression, soft_targets: bool, tolerance: float = 1e-3) -> bool:
    """Whether value and gradient on independent logits agree to ``tolerance``: of labels alone, and of five together.

    Logits go to ±60.
    """
    import numpy

    from lossforge.expression.interpreter import Interpreter

    losses = Interpreter([first, second], head="sigmoid")
    generator = numpy.random.Generator(numpy.random.PCG64(13))
    alone = numpy.linspace(-60, 60, 121)[:, None] + 0.013
    together = generator.normal(size=(60, 5)) * numpy.array([0.3, 2.0, 10.0])[:, None].repeat(20, 0)
    several = (generator.random((60, 5)) < 0.4).astype(numpy.float64)
    parts = [(alone, numpy.full_like(alone, target)) for target in (SOFT if soft_targets else HARD)]
    for logits, y_true in [*parts, (together, several)]:
        value, gradient = numpy.empty((2, len(logits))), numpy.empty((2, *logits.shape))
        losses.run_arrays(logits[None], y_true[None], value, gradient, numpy.empty((0, *logits.shape)))
        with numpy.errstate(all="ignore"):
            size = numpy.maximum(numpy.abs(value[0]), numpy.abs(value[0]).mean())
            off, norm = (numpy.linalg.norm(one, axis=1) for one in (gradient[0] - gradient[1], gradient[0]))
            if not (numpy.abs(value[0] - value[1]) <= tolerance * size).all():
                return False
            if not (off <= tolerance * norm + 1e-9 * norm.max()).all():
                return False
    return True


def classes_alike(first: Expression, second: Expression, targets: Targets, tolerance: float = 1e-3) -> bool:
    """Whether value and slope on ``y_pred`` agree to ``tolerance`` for each label on its own.

    Relative to their size or, around a zero, to the label's mean one at ordinary probabilities.
    """
    import numpy

    y_pred = element_grid(targets)[0]
    moving = y_pred > 1e-250  # where a slope of 1 / p is finite
    for index, (a, b) in enumerate(zip(_elements(first, targets), _elements(second, targets), strict=True)):
        with numpy.errstate(all="ignore"):
            shares = moving & (y_pred < 1) if index else numpy.ones_like(moving)
            per = numpy.where(shares, y_pred, 1.0) if index else 1.0
            a, b = a / per, b / per
            mean = numpy.abs(a[:, :60]).mean(axis=1, keepdims=True)
            if (shares & ~(numpy.abs(a - b) <= tolerance * numpy.maximum(numpy.abs(a), mean))).any():
                return False
    return True
