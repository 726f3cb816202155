"""The one rule for where every form of a loss must agree, and where rounding alone may part two of them.

A loss is evaluated in float64 node by node, without the emitter, and again with noise: every value that is rounded,
and every gradient on its way back, is multiplied by 1 + u with |u| <= NOISE, some ten times the rounding of the type
under test. Draws come in pairs of opposite sign, so that a value within rounding of a kink or a guard falls on both
sides. A sample is settled where no draw moves a class's loss by more than TOLERANCE of the largest loss of the
sample's classes, nor a class's g by more than TOLERANCE of the largest |g|: the gradient on the logits is
``g - y_pred * sum(g)``, which cancels, so that g is what it is compared with. On settled samples every form has to
agree to TOLERANCE of the same sizes; the others are ill-conditioned, and tests bound how many they are.

Gradients smaller than UNSEEN times the largest loss count as zero: an operation whose value is one float64 number
over the whole range of its arguments is a constant to lossforge, such as ``tanh(y_pred + 20)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from lossforge.expression.primitives import BOUND, EPS, EXP_LIMIT
from lossforge.expression.tree import CONSTANT, Expression

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
NOISE = {torch.float32: 1e-6, torch.float64: 1e-12}
SMALLEST = {torch.float32: 1e-37, torch.float64: 1e-300}
"""Values below may be flushed to zero."""
NOTHING = {torch.float32: 1e-30, torch.float64: 1e-290}
"""Losses and gradients below count as this large."""
UNSEEN = 4e-16
PAIRS = 3
EXACT = frozenset({"neg", "abs", "max", "min", "sign"})
"""Operations that do not round."""


class _Rounded(torch.autograd.Function):
    """x * factor + nudge, and its gradient times ``back``; in one draw both are zero where below ``smallest``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, nudge: Tensor, back: Tensor, smallest: float) -> Tensor:
        ctx.save_for_backward(back)
        ctx.smallest = smallest
        moved = x * factor + nudge * (x != 0)
        moved[1] *= moved[1].abs() >= smallest
        return moved

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        moved = given[0] * ctx.saved_tensors[0]
        moved[1] *= moved[1].abs() >= ctx.smallest
        return moved, None, None, None, None


def _protected(y: Tensor) -> Tensor:
    return torch.where(y < 0, y.clamp(max=-EPS), y.clamp(min=EPS))


def _floored(x: Tensor) -> Tensor:
    return x.abs().clamp(min=EPS)


VALUES: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda x, y: x / _protected(y),
    "neg": torch.neg,
    "square": lambda x: x * x,
    "sqrt": lambda x: torch.sqrt(_floored(x)),
    "log": lambda x: torch.log(_floored(x)),
    "exp": lambda x: torch.exp(x.clamp(max=EXP_LIMIT)),
    "sin": torch.sin,
    "cos": torch.cos,
    "abs": torch.abs,
    "sign": torch.sign,
    "max": torch.maximum,
    "min": torch.minimum,
}
"""What primitives are, before the clamp to ±BOUND; those of `SLOPES` are not here."""

SLOPES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "tanh": (torch.tanh, lambda x, out: 1 - out * out),
    "sigmoid": (torch.sigmoid, lambda x, out: out * (1 - out)),
    "erf": (torch.erf, lambda x, out: torch.exp(-x * x) * (2 / math.sqrt(math.pi))),
}
"""Primitives whose slope cancels or magnifies rounding: value, and slope from argument and rounded value."""


@dataclass
class _Evaluation:
    y_pred: Tensor
    y_true: Tensor
    log_y_pred: Tensor
    dtype: torch.dtype
    memo: dict[Expression, Tensor] = field(default_factory=dict)
    bounded: Tensor | None = None

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def draw(self, shape: torch.Size) -> Tensor:
        """Zero, then pairs of opposite sign, along the first dimension."""
        half = torch.rand(PAIRS, *shape[1:], generator=self.generator, dtype=torch.float64) * 2 - 1
        return torch.cat([torch.zeros(1, *shape[1:], dtype=torch.float64), half, -half]) * NOISE[self.dtype]

    def rounded(self, x: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        shape = self.y_pred.shape
        forward = self.draw(shape)
        smallest = SMALLEST[self.dtype]
        nudge = forward * (smallest / NOISE[self.dtype])
        moved: Tensor = _Rounded.apply(  # type: ignore[no-untyped-call]
            x.expand(shape), 1 + forward * scale, nudge, 1 + self.draw(shape), smallest
        )
        return moved

    def edge(self, x: Tensor) -> Tensor:
        """The same value, whose gradient is rounded."""
        shape = self.y_pred.shape
        one, zero = torch.ones(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        moved: Tensor = _Rounded.apply(x.expand(shape), one, zero, 1 + self.draw(shape), 0.0)  # type: ignore[no-untyped-call]
        return moved

    @cached_property
    def leaves(self) -> tuple[Tensor, Tensor]:
        size = 1 + self.log_y_pred.detach().abs()
        return self.rounded(self.y_pred, size), self.rounded(self.log_y_pred) + self.draw(self.y_pred.shape)

    def visit(self, node: Expression) -> Tensor:
        known = self.memo.get(node)
        if known is None:
            known = self.memo[node] = self._visit(node)
        return known

    def _visit(self, node: Expression) -> Tensor:
        if node.op == CONSTANT:
            value = torch.full_like(self.y_pred, node.value, requires_grad=False)
            is_exact = self.dtype == torch.float64 or float(numpy.float32(node.value)) == node.value
            return value if is_exact else self.rounded(value)
        if node.op == "y_true":
            return self.y_true.expand(self.y_pred.shape)
        if node.op == "y_pred":
            return self.leaves[0]
        if node.op == "log" and node.args[0].op == "y_pred":
            return self.leaves[1]
        args = [self.visit(arg) for arg in node.args]
        if len(args) == 2:
            # What an argument gets from one consumer is rounded apart from what the other gets: in x / x they cancel.
            args = [self.edge(arg) for arg in args]
        if node.op in SLOPES:
            function, slope = SLOPES[node.op]
            x = args[0]
            out = self.rounded(function(x.detach()))
            steepness = slope(x, out).detach()
            if node.op == "erf":
                # exp(-x**2) magnifies what x has lost; and where erf is ±1 throughout, it is a constant to lossforge.
                steepness = steepness * (1 + self.draw(x.shape) * x.detach().square()) + self.draw(x.shape)
            return out.detach() + self.rounded(steepness * (x - x.detach()))
        if node.op == "aq":
            square = self.rounded(args[1] * args[1])
            value = args[0] / self.rounded(torch.sqrt(self.rounded(1 + square)))
        else:
            value = VALUES[node.op](*args)
        if node.op not in EXACT:
            value = self.rounded(value)
        held = value.detach()[0].abs() >= BOUND * (1 - 1e-5)
        self.bounded = held if self.bounded is None else self.bounded | held
        # ±BOUND and EPS are not exact in float32.
        return self.rounded(value.clamp(-BOUND, BOUND)) if bool(held.any()) else value


@dataclass(frozen=True)
class Truth:
    """Value and g of every class, the gradient on the logits, and which samples are settled.

    ``bounded``: which samples have a node held at ±BOUND, where exact rewrites such as ``(a + b) - a = b`` fail.
    """

    value: Tensor
    g: Tensor
    gradient: Tensor
    settled: Tensor
    bounded: Tensor
    dtype: torch.dtype

    def wrong(self, value: Tensor, gradient: Tensor) -> Tensor:
        """Which settled samples do not have this value (of every class, or summed) or this gradient on the logits."""
        expected = self.value if value.dim() == 2 else self.value.sum(1)
        error = (value.double() - expected).abs()
        of_value, of_gradient = _allowed(self.value, self.g, self.dtype)
        far = ~(error.view(len(error), -1) <= of_value)
        steep = ~((gradient.double() - self.gradient).abs() <= of_gradient)
        return self.settled & (far.any(1) | steep.any(1))


def _allowed(value: Tensor, g: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """How far the losses of a sample's classes, and its gradients, may be from the truth."""
    largest, steepest = (part.abs().amax(1, keepdim=True) for part in (value, g))
    least = NOTHING[dtype]
    of_gradient = torch.maximum(TOLERANCE[dtype] * steepest.clamp(min=least), UNSEEN * largest)
    return TOLERANCE[dtype] * largest.clamp(min=least), of_gradient


def truth_at(
    expression: Expression,
    y_pred: Tensor,
    y_true: Tensor,
    log_y_pred: Tensor,
    dtype: torch.dtype,
) -> Truth:
    """The truth at float64 leaves ``(N, C)`` for a form computed in ``dtype``."""
    p, log_p = (
        leaf.detach().expand(1 + 2 * PAIRS, *leaf.shape).clone().requires_grad_() for leaf in (y_pred, log_y_pred)
    )
    evaluation = _Evaluation(p, y_true, log_p, dtype)
    value = evaluation.visit(expression)
    g = torch.zeros_like(p, requires_grad=False)
    if value.requires_grad:
        on_p, on_log = torch.autograd.grad(value.sum(), (p, log_p), allow_unused=True, materialize_grads=True)
        g = on_p * p.detach() + on_log
    value = value.detach()
    settled = torch.ones(len(y_pred), dtype=torch.bool)
    for part, allowed in zip((value, g), _allowed(value[0], g[0], dtype), strict=True):
        settled &= ((part - part[0]).abs() <= allowed).all(0).all(1)
    bounded = torch.zeros_like(settled) if evaluation.bounded is None else evaluation.bounded.any(1)
    gradient = g[0] - y_pred * g[0].sum(1, keepdim=True)
    return Truth(value[0], g[0], gradient, settled, bounded, dtype)


def truth(expression: Expression, logits: Tensor, y_true: Tensor, dtype: torch.dtype) -> Truth:
    """The truth at logits ``(N, C)`` for a form computed in ``dtype``."""
    log_y_pred = torch.log_softmax(logits.double(), 1)
    return truth_at(expression, log_y_pred.exp(), y_true.double(), log_y_pred, dtype)


@dataclass
class Tally:
    """How many samples were compared; a law that excludes nearly all of them says nothing."""

    settled: int = 0
    samples: int = 0

    def add(self, found: Tensor) -> None:
        self.settled += int(found.sum())
        self.samples += found.numel()

    @property
    def share(self) -> float:
        """Share of samples that were compared."""
        return self.settled / self.samples


CLASSES = 5


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, class indices and soft targets for as many samples.

    Logits are moderate, wide, near ±50 and ±1000 (probabilities 0 and 1), all exact in float32; some soft targets
    are uniform, some have zeros.
    """
    generator = torch.Generator().manual_seed(7)

    def normal(rows: int, scale: float) -> Tensor:
        return torch.randn(rows, CLASSES, generator=generator) * scale

    near = normal(4, 1.0).sign() * 50 + normal(4, 0.1)
    logits = torch.cat([normal(8, 1.0), normal(4, 5.0), near, torch.eye(CLASSES)[:3] * 2000 - 1000])
    soft = torch.softmax(normal(len(logits), 1.5), 1)
    soft[::4] = 1 / CLASSES
    soft[1::4, 0] = 0.0
    return logits.to(dtype), torch.randint(CLASSES, (len(logits),), generator=generator), soft.to(dtype)


def one_hot(indices: Tensor, dtype: torch.dtype) -> Tensor:
    """Targets of these classes."""
    return torch.nn.functional.one_hot(indices, CLASSES).to(dtype)
