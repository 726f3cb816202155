"""Part 6: a cohort that memory does not hold is trained in halves, and the process goes on behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from gpu.parts import Case, Settings, Tell
from gpu.spaces import FORMULAS, cifar_space
from gpu.steps import free_memory, patched
from lossforge.evaluation import evaluate as evaluation
from lossforge.evaluation.records import Setup, Training, TrainingRequest, TrainingResult
from lossforge.evaluation.threads import one_thread
from lossforge.losses.compiled import LossSpec
from lossforge.training.plan import Replica, ReplicaScore
from lossforge.training.train import train_cohort

HELD = 8
"""Networks that memory shall hold; four times as many are asked for."""
_SLACK = 1.5


def cases(settings: Settings) -> list[Case]:
    one_thread()
    return [Case("halves", partial(_halves, settings), 60)]


def _halves(settings: Settings, tell: Tell) -> None:
    held = 2 if settings.dry else HELD
    tell("asked", 4 * held)
    with _remembered(settings) as tried:
        _trained(settings, held, tell, "that memory holds")
        tell("mib", torch.cuda.max_memory_reserved() / 2**20 if settings.device == "cuda" else None)
        with _less_memory(settings):
            tried.clear()
            _trained(settings, 4 * held, tell, "that it does not hold")
            lanes = list(tried)
            _trained(settings, held, tell, "afterwards")
    tell("networks_at_once", lanes)
    if len(lanes) < 2 or lanes[0] != 4 * held or lanes[-1] >= 4 * held:
        raise AssertionError(f"it was tried with {lanes} networks at once: it did not halve itself")


def _trained(settings: Settings, lanes: int, tell: Tell, name: str) -> None:
    """Train so many networks; all must come to an end."""
    result = _evaluated(settings, lanes)
    trained = sum(one is not None for one in result.accuracies)
    tell(name, {"networks": lanes, "trained": trained, "seconds": result.seconds})
    if trained < lanes:
        raise AssertionError(f"{lanes - trained} of {lanes} networks failed: {sorted(set(result.reasons))}")


def _evaluated(settings: Settings, lanes: int) -> TrainingResult:
    space = cifar_space(settings)
    recipe = space.recipe.model_copy(update={"cohort": lanes, "steps": 4 if settings.dry else 30, "stop_at": 0.0})
    setup = Setup(space.task[0], recipe, recipe.epochs, "validation", 600.0)
    formulas = [FORMULAS[place % len(FORMULAS)] for place in range(lanes)]
    trainings = [Training(setup, one, LossSpec(one), 1e-3, 0, 1) for one in formulas]
    if settings.device == "cuda":
        return evaluation.evaluate(TrainingRequest(setup, tuple(trainings)), settings.device)
    # A CPU's cohorts are not halved: the one of a GPU is played, with torch's error.
    plan = evaluation.make_plan(TrainingRequest(setup, tuple(trainings)), "cpu")
    replicas = [Replica(one.loss, one.seed, one.learning_rate) for one in trainings]
    return evaluation._result(evaluation._train(plan, replicas, lanes, (), "cuda"), 0.0)


@contextmanager
def _remembered(settings: Settings) -> Iterator[list[int]]:
    """Within it, how many networks at once were tried."""
    tried: list[int] = []

    def remembering(*arguments: Any, lanes: int = 0, **more: Any) -> list[ReplicaScore]:
        tried.append(lanes)
        if settings.device == "cpu" and lanes > 4:
            raise torch.OutOfMemoryError("CUDA out of memory (played)")
        return train_cohort(*arguments, lanes=lanes, **more)

    with patched(evaluation, "train_cohort", remembering):
        yield tried


@contextmanager
def _less_memory(settings: Settings) -> Iterator[None]:
    """Within it a GPU has as much memory as was taken at most so far, and half as much again."""
    if settings.device == "cpu":
        yield
        return
    taken = torch.cuda.max_memory_reserved()
    free_memory(settings.device)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, _SLACK * taken / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
