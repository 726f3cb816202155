"""Request in, result out; nothing else is read or written."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.errors import LossforgeError, ModelError, UserCodeError
from lossforge.evaluation.limits import deterministic, first_line, memory_limit, ran_out_of_memory, reason_of
from lossforge.evaluation.own_training import evaluate_own
from lossforge.evaluation.probes import probe_of
from lossforge.evaluation.records import Outcome, Setup, TrainingRequest, TrainingResult
from lossforge.losses.compiled import LossSpec
from lossforge.losses.heads import HEADS
from lossforge.models.output_layer import as_two_neurons
from lossforge.models.registry import build_model
from lossforge.models.user_code import calling, pass_on_stop, whole_traceback
from lossforge.training.backends import make_backend
from lossforge.training.captured import forget
from lossforge.training.plan import Plan, Replica, ReplicaScore, TrainingTimeoutError
from lossforge.training.train import train_cohort

if TYPE_CHECKING:
    from torch import nn

    from lossforge.data.splits import TaskData
    from lossforge.spaces.schema import TaskSection


def evaluate(request: TrainingRequest, device: str, *, on_step: Callable[[], None] | None = None) -> TrainingResult:
    """Train the request's cohort on ``device`` ("cpu", "cuda" ...) and score it.

    A candidate's own failure is a result, never an exception. ``on_step`` is called once an epoch.
    """
    if request.setup.task.python:
        return evaluate_own(request, device)
    # On a CPU the limit counts the process's own time: neither a loaded machine nor a suspended one fails a candidate.
    clock = time.process_time if device == "cpu" else time.monotonic
    setup = request.setup
    load_task(setup.task, device)
    own = setup.task.model if ":" in setup.task.model else ""
    started = clock()
    try:
        with calling(own) if own else nullcontext():
            if setup.gigabytes:
                _warm(setup, device)
            started = clock()
            plan = make_plan(request, device, deadline=started + request.seconds, clock=clock, on_epoch=on_step)
            replicas = [Replica(one.loss, one.seed, one.learning_rate, one.floor) for one in request.replicas]
            with memory_limit(setup.gigabytes * setup.lanes, device), deterministic(setup.recipe.deterministic, device):
                scores = _train(plan, replicas, setup.lanes, request.left_out, device)
    except BaseException as error:
        pass_on_stop(error)
        outcome, reason, told = _failure(error, request, own)
        return TrainingResult.failed(len(request.trainings), outcome, reason, clock() - started, told)
    return _result(scores, clock() - started)


def _failure(error: BaseException, request: TrainingRequest, own: str) -> tuple[Outcome, str, str]:
    """Outcome, reason and traceback of a training that ended by an error; what is no loss's own failure is raised.

    A network of the user's ``own`` may fail as it likes, and leave by `sys.exit`: it costs the loss that was trained.
    """
    if isinstance(error, TrainingTimeoutError):
        return Outcome.TIMED_OUT, f"passed its limit of {request.seconds:g} s", ""
    if isinstance(error, UserCodeError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, LossforgeError):
        raise error
    if own:
        return Outcome.CRASHED, f"'{own}' failed: {reason_of(error, own)}", whole_traceback(error)
    # What fails for want of memory may be anything; without a limit, anything else is a defect to be told.
    if not isinstance(error, Exception if request.setup.gigabytes else (MemoryError, RuntimeError)):
        raise error
    return Outcome.CRASHED, first_line(error), ""


_warmed: set[str] = set()


def _warm(setup: Setup, device: str) -> None:
    """Train for one step without a limit, once a process and network: libraries load, and kernels compile, then."""
    name = f"{setup.task.model} {setup.task.activation} {device}"
    if name in _warmed:
        return
    _warmed.add(name)
    recipe = setup.recipe.model_copy(update={"steps": 1, "epochs": 1, "stop_at": 0.0, "heats": 1})
    task = setup.task.model_copy(update={"probe": "", "score_training": False})
    small = replace(setup, task=task, recipe=recipe, epochs=1)
    plan = make_plan(TrainingRequest(small, ()), device)
    standard = HEADS[setup.task.head].cross_entropy_formula
    replicas = [Replica(LossSpec(formula), 0, 1e-3) for formula in (standard, "(y_true - y_pred)**2")]
    train_cohort(plan.hardly_scored(), replicas)


def make_plan(
    request: TrainingRequest,
    device: str,
    *,
    deadline: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
    on_epoch: Callable[[], None] | None = None,
) -> Plan:
    """The plan of a request's training; its data are loaded."""
    setup = request.setup
    task = setup.task
    data = load_task(task, device)
    train, score = (data.pooled(), data.test) if setup.part == "test" else (data.train, data.validation)
    split = None if setup.part == "test" else data.split
    if split is not None and data.pool is not None:
        train = score = data.pool
    return Plan(
        train=train,
        score=score,
        classes=data.classes,
        recipe=setup.recipe,
        epochs=setup.epochs,
        label_noise=task.label_noise,
        build=lambda seed: network(task, data, seed),
        prepare=Preparation(task.augmentation, data.scale, data.shape, ignoring=task.ignored is not None),
        head=HEADS[task.head],
        metric=task.measure,
        deadline=deadline,
        clock=clock,
        on_epoch=on_epoch,
        identity=setup.identity,
        noise=data.noise,
        ignoring=task.ignored is not None,
        test=setup.part == "test",
        shares=setup.shares or setup.part == "test",
        split=split,
        score_training=task.score_training,
        probe=probe_of(task, data, device) if task.probe and setup.part == "test" else None,
    )


def _train(
    plan: Plan, replicas: list[Replica], lanes: int, left_out: tuple[int, ...], device: str, *, again: bool = False
) -> list[ReplicaScore]:
    """Train; where a GPU's memory does not hold so many networks, half as many at a time."""
    try:
        return train_cohort(plan, replicas, lanes=lanes, left_out=left_out)
    except RuntimeError as error:
        # On a CPU the memory is shared with others, and who asked for too much is found by leaving losses out.
        if device == "cpu" or not ran_out_of_memory(error):
            raise
        # What other cohorts' captured steps hold may be enough.
        held = forget() and not again
        if lanes < 2 and not held:
            raise
    import torch

    torch.cuda.empty_cache()
    return _train(plan, replicas, lanes if held else (lanes + 1) // 2, left_out, device, again=held)


def network(task: TaskSection, data: TaskData, seed: int) -> nn.Module:
    """The task's network for its data. Raises ModelError where it does not fit."""
    matched = task.output_init == "matched"
    if matched and data.classes != 2:
        raise ModelError(
            f"task.output_init: 'matched' is for two classes, and '{task.data}' has {data.classes}; leave it out"
        )
    outputs = 1 if matched else HEADS[task.head].outputs(data.classes)
    model = build_model(
        task.model, data.shape, outputs, task.width, seed, dense=data.segmentation, activation=task.activation
    )
    return as_two_neurons(model, data.shape) if matched and task.head == "softmax" else model


def backend_name(task: TaskSection, backend: str, replicas: int, device: str, batch: int = 64) -> str:
    """The back end that trains a cohort of the task. Raises ModelError where its network does not fit its data."""
    data = load_task(task, "cpu")
    return make_backend(backend, network(task, data, 0).to("meta"), replicas, device, data.shape, batch).name


def _result(scores: list[ReplicaScore], seconds: float) -> TrainingResult:
    return TrainingResult(
        outcomes=tuple(map(_outcome, scores)),
        accuracies=tuple(score.accuracy for score in scores),
        reasons=tuple(score.reason for score in scores),
        seconds=seconds,
        metrics=tuple(score.metrics for score in scores),
    )


def _outcome(score: ReplicaScore) -> Outcome:
    if score.accuracy is not None:
        return Outcome.TRAINED
    return Outcome.STOPPED if score.stopped else Outcome.DIVERGED
