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

from lossforge.evaluation.limits import deterministic, first_line, memory_limit
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.losses.matching import matched_scales
from lossforge.models.imported import import_function

if TYPE_CHECKING:
    from lossforge.evaluation.records import Training

KEY = "task.python"


def evaluate_own(request: TrainingRequest, device: str) -> TrainingResult:
    """Call the user's function for the request's one training. A failure of the function is a result.

    Raises ModelError where there is no such function.
    """
    (training,) = request.trainings
    setup = request.setup
    function = import_function(setup.task.python, KEY)
    criterion = training.loss.build()
    if setup.recipe.match_gradient:
        (scale,) = matched_scales([training.loss], setup.task.classes or 2)
        if scale is None:
            return TrainingResult.failed(1, Outcome.DIVERGED, "the gradient at the start is zero or not finite")
        criterion.scale = scale
    named = {"part": setup.part} if "part" in inspect.signature(function).parameters else {}
    torch.manual_seed(training.seed)
    started = time.monotonic()
    try:
        with memory_limit(setup.gigabytes, device), deterministic(setup.recipe.deterministic, device):
            score = function(criterion, training.seed, device, **named)
    except Exception as error:
        reason = f"'{setup.task.python}' failed: {type(error).__name__}: {first_line(error)}"
        return TrainingResult.failed(1, Outcome.CRASHED, reason, time.monotonic() - started)
    return _result(training, score, time.monotonic() - started)


def _result(training: Training, score: object, seconds: float) -> TrainingResult:
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
