"""What all executors share: what a worker does with a request, and what is made of a worker that does not answer."""

from __future__ import annotations

from collections.abc import Callable

from lossforge.evaluation.records import (
    Outcome,
    TrainingRequest,
    TrainingResult,
    request_from_text,
    result_to_text,
)

GRACE_SECONDS = 15.0
WALL_FACTOR = 4.0
"""A worker watches the training's limit itself; it is killed after this many times the limit, and the grace."""
CRASHES = 2
"""A request whose worker dies this often is recorded as crashed."""


def evaluate_text(text: str, device: str, on_step: Callable[[], None] | None = None) -> str:
    """The result, as text, of a request in text. Raises LossforgeError for what is not a candidate's own failure."""
    from lossforge.evaluation.evaluate import evaluate

    return result_to_text(evaluate(request_from_text(text), device, on_step=on_step))


def wall_seconds(request: TrainingRequest) -> float:
    """When a worker is killed. It watches its own limit in its own time; this is for one that hangs.

    A training of the user's own watches nothing: it is killed at its limit.
    """
    return (1.0 if request.setup.task.python else WALL_FACTOR) * request.seconds + GRACE_SECONDS


def hung(request: TrainingRequest) -> TrainingResult:
    """The result of a request whose worker was killed at `wall_seconds`."""
    reason = f"its worker hung and was killed after {wall_seconds(request):g} s"
    return TrainingResult.failed(size(request), Outcome.TIMED_OUT, reason, request.seconds)


def crashed(request: TrainingRequest, reason: str) -> TrainingResult:
    """The result of a request that is given up because of what became of its workers."""
    return TrainingResult.failed(size(request), Outcome.CRASHED, reason)


def size(request: TrainingRequest) -> int:
    """Number of trainings in a request."""
    return len(request.trainings)
