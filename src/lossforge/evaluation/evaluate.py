"""Request in, result out; nothing else is read or written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.evaluation.records import Outcome, TrainingRequest, TrainingResult
from lossforge.models.registry import build_model
from lossforge.training.backends import choose_backend
from lossforge.training.cohort import Plan, Replica, ReplicaScore, TrainingTimeoutError, train_cohort

if TYPE_CHECKING:
    from torch import nn

    from lossforge.data.splits import TaskData
    from lossforge.spaces.schema import TaskSection


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
        build=lambda seed: network(task, data, seed),
        prepare=Preparation(task.augmentation, data.scale, data.shape),
        metric=task.measure,
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


def network(task: TaskSection, data: TaskData, seed: int) -> nn.Module:
    """The task's network for its data. Raises ModelError where it does not fit."""
    dense = data.train.y.ndim > 1
    return build_model(task.model, data.shape, data.classes, task.width, seed, dense=dense)


def backend_name(task: TaskSection, replicas: int, device: str) -> str:
    """The back end that trains a cohort of the task. Raises ModelError where its network does not fit its data."""
    data = load_task(task, "cpu")
    return choose_backend(network(task, data, 0).to("meta"), replicas, device, data.shape).name


def _result(scores: list[ReplicaScore], seconds: float) -> TrainingResult:
    outcomes = tuple(Outcome.DIVERGED if score.accuracy is None else Outcome.TRAINED for score in scores)
    reason = next((score.reason for score in scores if score.reason), "")
    accuracies = tuple(score.accuracy for score in scores)
    return TrainingResult(outcomes, accuracies, reason, seconds, tuple(score.metrics for score in scores))
