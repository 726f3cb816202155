"""A training of the user's own: ``task.python = "module:function"``, called in the worker with each loss.

The function is called as ``function(criterion, seed, device) -> float``, with ``part=...`` too where it has such a
parameter. ``criterion(logits, target)`` stands in for `torch.nn.CrossEntropyLoss`; what is returned is the score, a
number from 0 to 1, the more the better.
"""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING

import numpy
import torch

from lossforge.evaluation.limits import deterministic, memory_limit, reason_of
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.losses.heads import HEADS
from lossforge.losses.matching import matched_scales
from lossforge.models.imported import has_parameter, import_function
from lossforge.models.user_code import calling, pass_on_stop, shown, whole_traceback

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
    head = HEADS[setup.task.head]
    training.loss.require_fixed(KEY)
    criterion = training.loss.build(head=head.name)
    if setup.recipe.match_gradient:
        (scale,) = matched_scales([training.loss], setup.task.classes or 2, head)
        if scale is None:
            return TrainingResult.failed(1, Outcome.DIVERGED, "the gradient at the start is zero or not finite")
        criterion.scale = scale
    named = {"part": setup.part} if has_parameter(function, "part") else {}
    _seed(training.seed)
    started = time.monotonic()
    try:
        with (
            calling(setup.task.python, settings=True),
            memory_limit(setup.gigabytes, device),
            deterministic(setup.recipe.deterministic, device),
        ):
            score = function(criterion, training.seed, device, **named)
    except BaseException as error:
        pass_on_stop(error)
        reason = f"'{setup.task.python}' failed: {reason_of(error, setup.task.python)}"
        seconds = time.monotonic() - started
        return TrainingResult.failed(1, Outcome.CRASHED, reason, seconds, whole_traceback(error))
    return _result(training, score, time.monotonic() - started)


def _seed(seed: int) -> None:
    """Let all global generators that a script may draw from start from the seed; numpy's takes 32 bits."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)


def _result(training: Training, score: object, seconds: float) -> TrainingResult:
    value = _number(score)
    if math.isnan(value):
        return TrainingResult.failed(1, Outcome.DIVERGED, "its score is not a number", seconds)
    if not 0 <= value <= 1:
        path = training.setup.task.python
        told = f"'{path}' returned {shown(score)}; it must return a number from 0 to 1, the more the better"
        return TrainingResult.failed(1, Outcome.CRASHED, told, seconds)
    return TrainingResult((Outcome.TRAINED,), (value,), ("",), seconds, ({},))


def _number(score: object) -> float:
    """The score; infinity for what is no number. A text may read as one, and True as 1, but nobody measured that."""
    try:
        value = score.item() if hasattr(score, "item") else score
        return math.inf if isinstance(value, str | bytes | bytearray | bool) else float(value)  # type: ignore[arg-type]
    except Exception:
        return math.inf
