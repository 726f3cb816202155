"""Request in, result out; nothing else is read or written."""

from __future__ import annotations

import time
from collections.abc import Callable

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.models.registry import build_model
from lossforge.training.cohort import Plan, Replica, ReplicaScore, TrainingTimeoutError, train_cohort


def evaluate(request: TrainingRequest, device: str, *, on_step: Callable[[], None] | None = None) -> TrainingResult:
    """Train the request's cohort on ``device`` ("cpu", "cuda" ...) and score it.

    A candidate's own failure is a result, never an exception. ``on_step`` is called once an epoch.
    """
    # On a CPU the limit counts the process's own time: neither a loaded machine nor a suspended one fails a candidate.
    clock = time.process_time if device == "cpu" else time.monotonic
    started = clock()
    task = request.task
    data = load_task(task, device)
    train, score = (data.pooled(), data.test) if request.part == "test" else (data.train, data.validation)
    plan = Plan(
        train=train,
        score=score,
        classes=data.classes,
        recipe=request.recipe,
        epochs=request.epochs,
        learning_rate=request.learning_rate,
        label_noise=task.label_noise,
        build=lambda seed: build_model(task.model, data.shape, data.classes, task.width, seed),
        prepare=Preparation(task.augmentation, data.scale, data.shape),
        deadline=started + request.seconds,
        clock=clock,
        on_epoch=on_step,
    )
    try:
        scores = train_cohort(plan, [Replica(request.loss, seed) for seed in request.seeds])
    except TrainingTimeoutError:
        reason = f"passed its limit of {request.seconds:g} s"
        return TrainingResult.failed(len(request.seeds), Outcome.TIMED_OUT, reason, clock() - started)
    except (MemoryError, RuntimeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return TrainingResult.failed(len(request.seeds), Outcome.CRASHED, first_line, clock() - started)
    return _result(scores, clock() - started)


def _result(scores: list[ReplicaScore], seconds: float) -> TrainingResult:
    outcomes = tuple(Outcome.DIVERGED if score.accuracy is None else Outcome.TRAINED for score in scores)
    reason = next((score.reason for score in scores if score.reason), "")
    accuracies = tuple(score.accuracy for score in scores)
    return TrainingResult(outcomes, accuracies, reason, seconds, tuple(score.metrics for score in scores))
