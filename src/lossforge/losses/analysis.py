"""What a loss asks for: its minimiser, the size of its gradient, and its nearest relative in the library."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lossforge.errors import LossError
from lossforge.expression.codegen import compile_expression
from lossforge.expression.formula import parse_formula
from lossforge.expression.interpreter import Interpreter
from lossforge.expression.signature import probe_gradients
from lossforge.losses.behind_heads import baseline
from lossforge.losses.compiled import LossSpec
from lossforge.losses.drop_in import DropInLoss
from lossforge.losses.heads import LEAST_LOG
from lossforge.losses.library import LIBRARY, loss_spec
from lossforge.losses.term_signature import term_gradient

CLASSES = (2, 10, 100)
"""Numbers of classes for which minimiser and gradient are told."""


def minimiser(loss: LossSpec, classes: int, head: str = "softmax") -> float:
    """The true class's probability at which the loss is least, the other classes sharing the rest equally.

    In [0, 1]; 1 for a proper loss, less for one that acts like label smoothing. Found on a grid of 1,001
    points that is refined twice around its best. A term is taken of a batch of this one sample, at logits that
    `logits_of` gives; so is what has another ``head`` than a softmax.
    """
    head = _of_columns(head)
    alone = head == "softmax" and not loss.is_term and not parse_formula(loss.formula).crosses_classes
    value = _formula_values(loss, classes) if alone else _sample_values(loss, classes, head)
    low, high = 0.0, 1.0
    for _ in range(3):
        grid = torch.linspace(low, high, 1001, dtype=torch.float64)
        best = float(grid[value(grid).argmin()])
        step = (high - low) / 1000
        low, high = max(0.0, best - 2 * step), min(1.0, best + 2 * step)
    return best


def _formula_values(loss: LossSpec, classes: int) -> Callable[[Tensor], Tensor]:
    """The loss of a sample as a function of its true class's probability, shape ``(P,)``."""
    function = compile_expression(parse_formula(loss.formula))
    smoothing = loss.label_smoothing

    def value(p_true: Tensor) -> Tensor:
        y_pred = torch.stack([p_true, (1 - p_true) / (classes - 1)])
        y_true = torch.tensor([[1 - smoothing + smoothing / classes], [smoothing / classes]], dtype=torch.float64)
        terms = function(y_pred, y_true.expand_as(y_pred), y_pred.clamp(min=1e-300).log())
        return terms[0] + (classes - 1) * terms[1]

    return value


def _of_columns(head: str) -> str:
    """The head for a logit a class: one logit is two of which the first is 0."""
    return "softmax" if head == "binary" else head


def in_training(loss: LossSpec, classes: int, **arguments: Any) -> DropInLoss:
    """The module, told that half of a training is done and that all classes are equally frequent."""
    criterion = loss.build(class_share=torch.full((classes,), 1 / classes, dtype=torch.float64), **arguments)
    criterion.progress = 0.5
    return criterion.eval()  # nothing is learned from what is asked of it


def logits_of(y_pred: Tensor, head: str) -> Tensor:
    """Logits behind which a head has these probabilities, of which none is 0."""
    return y_pred.log() if head == "softmax" else y_pred.log() - torch.log1p(-y_pred).clamp(min=LEAST_LOG)


def _sample_values(loss: LossSpec, classes: int, head: str) -> Callable[[Tensor], Tensor]:
    """The same for a term, or a formula that mixes classes: each probability is a batch of its own."""
    criterion = in_training(loss, classes, head=head)
    target = torch.zeros(1, dtype=torch.int64)

    def one(logits: Tensor) -> Tensor:
        value: Tensor = criterion(logits[None], target)
        return value

    def value(p_true: Tensor) -> Tensor:
        others = ((1 - p_true) / (classes - 1))[:, None].expand(-1, classes - 1)
        logits = logits_of(torch.cat([p_true[:, None], others], 1).clamp(min=1e-300), head)
        values: Tensor = torch.vmap(one)(logits)
        return values

    return value


def gradient_ratio(loss: LossSpec, classes: int, head: str = "softmax") -> float:
    """Norm of the gradient on the logits of a uniform prediction, as a multiple of cross-entropy's behind that head."""
    head = _of_columns(head)
    target = torch.zeros(1, dtype=torch.int64)

    def norm(spec: LossSpec) -> float:
        logits = torch.zeros(1, classes, dtype=torch.float64, requires_grad=True)
        value = in_training(spec, classes, head=head)(logits, target)
        if not value.requires_grad:
            return 0.0
        (gradient,) = torch.autograd.grad(value, logits, allow_unused=True)
        return 0.0 if gradient is None else float(gradient.norm())

    return norm(loss) / norm(baseline(head))


def nearest(loss: LossSpec, but: str = "", head: str = "softmax") -> tuple[str, float]:
    """The library's loss whose gradient on the signature's probe points most nearly the same way.

    Returns its name and the cosine of the two gradients, in [0, 1] (the sign does not count). The loss named
    ``but`` is left out: for losses of the library themselves; so is what cannot have the ``head``.
    """
    own = probe_direction(loss, head)
    similarities = {name: abs(float(own @ other)) for name, other in library_gradients(head).items() if name != but}
    best = max(similarities, key=lambda name: similarities[name])
    return best, min(1.0, similarities[best])


def gradient_cosine(one: LossSpec, other: LossSpec, head: str = "softmax") -> float:
    """Cosine, in [-1, 1], of the two gradients on the signature's probe; 0 where one of them is zero or not finite.

    1 means that the two train alike, but for the step's length.
    """
    return max(-1.0, min(1.0, float(probe_direction(one, head) @ probe_direction(other, head))))


@lru_cache(maxsize=4)
def library_gradients(head: str) -> dict[str, Tensor]:
    """Gradient of each loss of the library that can have the head on the signature's probe, flat, of norm 1 (or 0)."""
    found = {}
    for name in LIBRARY:
        try:
            spec = loss_spec(name, head=head, table=True)
        except LossError:
            continue
        found[name] = probe_direction(spec, head)
    return found


def probe_direction(loss: LossSpec, head: str) -> Tensor:
    """Gradient on the logits of the signature's probe, flat, of norm 1 (or 0); its parts are a term's batches."""
    if loss.is_term:
        gradient = term_gradient(loss, head)[0]
    else:
        losses = Interpreter([parse_formula(loss.formula)], [loss.label_smoothing], head=head)
        gradient = torch.from_numpy(probe_gradients(losses)[0])
    norm = float(gradient.norm())
    return gradient / norm if 0 < norm < float("inf") else torch.zeros_like(gradient)
