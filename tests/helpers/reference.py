"""What an expression means, computed without the emitter: node by node from the table of primitives."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from lossforge.expression.codegen import compile_expression, emit
from lossforge.expression.primitives import BOUND, PRIMITIVES, clip
from lossforge.expression.tree import CONSTANT, Expression
from lossforge.losses.drop_in import About

Point = tuple[float, float, float]
"""``y_pred``, ``y_true`` and ``log_y_pred`` of one class of one sample."""


def points() -> list[Point]:
    """A grid of probabilities that includes 0 and 1, and one too small for float64's exp (its log is -2000)."""
    logs = [0.0, math.log1p(-1e-9), math.log(0.83), math.log(0.5), math.log(0.3141), -7.0, -20.0, -2000.0]
    return [(math.exp(log), float(y_true), log) for log in logs for y_true in numpy.array([0.0, 0.037, 0.5, 0.9, 1.0])]


def is_log_of_y_pred(node: Expression) -> bool:
    """Whether a node is ``log(y_pred)``, which means the exact log-softmax."""
    return node.op == "log" and node.args[0].op == "y_pred"


def value_at(expression: Expression, point: Point, noise: Callable[[], float] = lambda: 1.0) -> float:
    """The value by ``Primitive.value``; ``noise`` multiplies what every node gives, equal nodes alike."""
    memo: dict[Expression, float] = {}

    def visit(node: Expression) -> float:
        if node not in memo:
            if node.op == CONSTANT:
                memo[node] = node.value
            elif node.op in ("y_pred", "y_true"):
                memo[node] = point[node.op == "y_true"]
            elif is_log_of_y_pred(node):
                memo[node] = point[2]
            else:
                memo[node] = clip(PRIMITIVES[node.op].value(*map(visit, node.args)) * noise())
        return memo[node]

    return visit(expression)


def reaches_bound(expression: Expression, grid: list[Point]) -> bool:
    """Whether any node's value is held at ±BOUND anywhere on the grid."""
    return any(abs(value_at(node, point)) >= BOUND for node in expression.walk() for point in grid)


@dataclass(frozen=True)
class Reference:
    """Values on a grid, and how far rounding errors far above float64's move them."""

    values: Tensor
    spread: Tensor

    def agrees(self, other: Tensor) -> bool:
        """Whether other values are these, wherever rounding leaves a value to speak of."""
        size = 1 + self.values.abs()
        unsettled = self.spread >= 1e-3 * size
        close = (other - self.values).abs() <= 1e-10 * size + self.spread
        return bool((other.isfinite() & (unsettled | close)).all())

    @property
    def settled(self) -> bool:
        """Whether rounding moves no value by more than a millionth."""
        return bool((self.spread <= 1e-6 * (1 + self.values.abs())).all())


def reference(expression: Expression, grid: list[Point]) -> Reference:
    """Values of the expression, and their spread under noise of 1e-13 at every node."""
    exact = torch.tensor([value_at(expression, point) for point in grid], dtype=torch.float64)
    spread = torch.zeros_like(exact)
    for seed in range(4):
        generator = random.Random(seed)

        def noise(draw: Callable[[float, float], float] = generator.uniform) -> float:
            return 1 + draw(-1e-13, 1e-13)

        noisy = [value_at(expression, point, noise) for point in grid]
        spread = torch.maximum(spread, (torch.tensor(noisy, dtype=torch.float64) - exact).abs())
    return Reference(exact, spread)


def columns(grid: list[Point], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """``y_pred``, ``y_true`` and ``log_y_pred`` of all points."""
    return [torch.tensor(column, dtype=dtype) for column in zip(*grid, strict=True)]


def emitted(expression: Expression, grid: list[Point], dtype: torch.dtype = torch.float64) -> Tensor:
    """Values by the emitted code."""
    return compile_expression(expression)(*columns(grid, dtype))


def emitted_gradients(expression: Expression, grid: list[Point], dtype: torch.dtype = torch.float64) -> Tensor:
    """Derivatives ``(3, points)`` of the emitted code on ``y_pred``, ``y_true`` and ``log_y_pred``."""
    inputs = [column.requires_grad_() for column in columns(grid, dtype)]
    values = compile_expression(expression)(*inputs)
    if not values.requires_grad:
        return torch.zeros(3, len(grid), dtype=dtype)
    found = torch.autograd.grad(values.sum(), inputs, allow_unused=True)
    return torch.stack([torch.zeros(len(grid), dtype=dtype) if part is None else part for part in found])


def logits_and_targets(classes: int = 5) -> tuple[Tensor, Tensor]:
    """Moderate logits, about ±50, and ±1000 (probabilities 0 and 1), with one-hot and soft targets; float64."""
    generator = torch.Generator().manual_seed(11)

    def normal(rows: int, scale: float) -> Tensor:
        return torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale

    logits = torch.cat(
        [
            normal(12, 1.0),
            normal(6, 8.0),
            normal(6, 1.0).sign() * 50 + normal(6, 0.1),
            torch.eye(classes, dtype=torch.float64) * 2000 - 1000,
        ]
    )
    indices = torch.randint(classes, (len(logits),), generator=generator)
    y_true = torch.nn.functional.one_hot(indices, classes).double()
    y_true[::3] = y_true[::3] * 0.83 + 0.17 / classes
    return logits, y_true


def about(z: Tensor) -> About:
    """What losses may read besides probability and target: a third of a training, shares that differ."""
    shares = torch.arange(1, z.shape[1] + 1).to(z)
    return About(1, z.new_full((), z.shape[1]), z.new_full((), 1 / 3), (shares / shares.sum()).expand_as(z), z)


def on_logits(expression: Expression, logits: Tensor, y_true: Tensor) -> tuple[Tensor, Tensor]:
    """Elementwise value, and the gradient of its sum on the logits, as training sees them."""
    z = logits.detach().clone().requires_grad_()
    log_y_pred = torch.log_softmax(z, 1)
    inputs = log_y_pred.exp(), y_true, log_y_pred
    value = compile_expression(expression)(*inputs, *([about(z)] if emit(expression).about else []))
    if not value.requires_grad:
        return value, torch.zeros_like(logits)
    (gradient,) = torch.autograd.grad(value.sum(), z, allow_unused=True)
    return value.detach(), torch.zeros_like(logits) if gradient is None else gradient
