"""A training of the user's own: ``task.python = "module:function"``, called in the worker with each loss.

The function is called as ``function(criterion, seed, device) -> float``, with ``part=...`` too where it has such a
parameter. ``criterion(logits, target)`` stands in for `torch.nn.CrossEntropyLoss`; what is returned is the score, a
number from 0 to 1, the more the better.
"""

from __future__ import annotations

import inspect
import math
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lossforge.evaluation.limits import deterministic, first_line, memory_limit
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.losses.compiled import ExpressionLoss, LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.models.imported import import_function

if TYPE_CHECKING:
    from lossforge.evaluation.records import Training

KEY = "task.python"


class MatchedLoss(nn.Module):
    """A loss scaled so that on the first batch its gradient on the logits has cross-entropy's norm.

    ``failed`` says that this gradient was zero or not finite: the loss then stays as it is.
    """

    def __init__(self, spec: LossSpec) -> None:
        super().__init__()
        self._loss = spec.build()
        self._scale: float | None = None
        self.failed = False

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean loss of logits ``(N, C, *)`` against indices ``(N, *)`` or probabilities ``(N, C, *)``."""
        if self._scale is None and input.requires_grad:
            wanted, found = (_gradient_norm(one, input, target) for one in (ExpressionLoss(CROSS_ENTROPY), self._loss))
            self.failed = not (math.isfinite(found) and found > 0)
            self._scale = 1.0 if self.failed else wanted / found
        value: Tensor = self._loss(input, target)
        return value if self._scale is None else value * self._scale


def _gradient_norm(loss: nn.Module, logits: Tensor, target: Tensor) -> float:
    with torch.enable_grad():
        z = logits.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z, target), z, materialize_grads=True)
    return float(torch.linalg.vector_norm(gradient))


def evaluate_own(request: TrainingRequest, device: str) -> TrainingResult:
    """Call the user's function for the request's one training. A failure of the function is a result.

    Raises ModelError where there is no such function.
    """
    (training,) = request.trainings
    setup = request.setup
    function = import_function(setup.task.python, KEY)
    criterion: nn.Module = MatchedLoss(training.loss) if setup.recipe.match_gradient else training.loss.build()
    named = {"part": setup.part} if "part" in inspect.signature(function).parameters else {}
    torch.manual_seed(training.seed)
    started = time.monotonic()
    try:
        with memory_limit(setup.gigabytes, device), deterministic(setup.recipe.deterministic, device):
            score = function(criterion, training.seed, device, **named)
    except Exception as error:
        reason = f"'{setup.task.python}' failed: {type(error).__name__}: {first_line(error)}"
        return TrainingResult.failed(1, Outcome.CRASHED, reason, time.monotonic() - started)
    return _result(training, criterion, score, time.monotonic() - started)


def _result(training: Training, criterion: nn.Module, score: object, seconds: float) -> TrainingResult:
    if getattr(criterion, "failed", False):
        return TrainingResult.failed(1, Outcome.DIVERGED, "the gradient at the start is zero or not finite", seconds)
    try:
        value = float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.inf
    if math.isnan(value):
        return TrainingResult.failed(1, Outcome.DIVERGED, "its score is not a number", seconds)
    if not 0 <= value <= 1:
        path = training.setup.task.python
        told = f"'{path}' returned {score!r}; it must return a number from 0 to 1, the more the better"
        return TrainingResult.failed(1, Outcome.CRASHED, told, seconds)
    return TrainingResult((Outcome.TRAINED,), (value,), ("",), seconds, ({},))
