"""How long a step of K networks takes, in the engine as it is: losses, batches, augmentation, optimiser and all."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gpu.parts import Settings
from gpu.spaces import FORMULAS, cifar_space
from lossforge.evaluation.evaluate import make_plan
from lossforge.evaluation.limits import deterministic
from lossforge.evaluation.records import Setup, Training, TrainingRequest
from lossforge.losses.compiled import LossSpec
from lossforge.training import captured, cohort
from lossforge.training.backends import Backend, Idle, State, make_backend
from lossforge.training.plan import Replica, TrainingTimeoutError
from lossforge.training.train import train_cohort

SEEDS = 4
"""Seeds of a cohort, as in `search_spaces/cifar10.toml`; a cohort of fewer networks has one each."""
_RATE = 1e-3
_STEPS = 400


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to take steps. ``graphs``: captured as a CUDA graph, where that can be."""

    network: str = "resnet8"
    backend: str = "vmap"
    precision: str = "float32"
    graphs: bool = True
    channels_last: bool = False
    deterministic: bool = True

    def __str__(self) -> str:
        parts = [self.network, self.backend, self.precision, "captured" if self.graphs else "launched"]
        parts += ["channels last"] if self.channels_last else []
        return ", ".join(parts + ([] if self.deterministic else ["not deterministic"]))

    @property
    def values(self) -> dict[str, Any]:
        """It as JSON, from which `Variant` makes it again."""
        return asdict(self)


class ChannelsLast:
    """A back end whose samples, and with them its convolutions, have their channels innermost."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.name, self.shares = inner, f"{inner.name}, channels last", inner.shares

    def logits(self, params: State, buffers: State, x: Tensor, *, training: bool, idle: Idle = ()) -> Tensor:
        """See `Backend.logits`. vmap makes one axis of networks and channels: both are innermost for it."""
        if self.inner.name == "loop":
            x = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        else:
            x = x.permute(1, 3, 4, 0, 2).contiguous().permute(3, 0, 4, 1, 2)
        return self.inner.logits(params, buffers, x, training=training, idle=idle)


class StepClock:
    """A plan's clock, which is asked before every step: times some steps, and then ends the training.

    ``begin`` and ``end`` are called around what is timed, when the device has nothing left to do.
    """

    def __init__(
        self,
        device: str,
        seconds: float,
        most: int = 200,
        *,
        warm_up: int = 4,
        begin: Callable[[], object] = lambda: None,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        self.device, self.seconds, self.most, self.warm_up = device, seconds, most, warm_up
        self.begin, self.end = begin, end
        self.steps = self.timed = 0
        self.began = self.per_step = 0.0
        self.first = 0.0
        self._estimated, self._until = 0.0, 0

    def __call__(self) -> float:
        """Infinity once enough was timed: past every deadline."""
        step, self.steps = self.steps, self.steps + 1
        if step == 0:
            self.first = time.perf_counter()
        elif step == self.warm_up:
            self._estimated = self._now()
        elif step == self.warm_up + 2:
            now = self._now()
            each = (now - self._estimated) / 2
            self.timed = max(2, min(self.most, round(self.seconds / each)))
            self._until = step + self.timed
            self.begin()
            self.began = self._now()
        elif self._until and step >= self._until:
            self.per_step = (self._now() - self.began) / self.timed
            self.end()
            return float("inf")
        return 0.0

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measured(settings: Settings, variant: Variant, lanes: int, clock: StepClock) -> dict[str, Any]:
    """Take steps with ``lanes`` networks until the clock ends it; what was found, by name."""
    free_memory(settings.device)
    before = time.perf_counter()
    with warnings.catch_warnings(record=True) as told, _channels_last(variant.channels_last):
        warnings.simplefilter("always")
        with deterministic(variant.deterministic, settings.device):
            _train(settings, variant, lanes, clock)
    if not clock.per_step:
        raise RuntimeError(f"the training ended after {clock.steps} steps: there was nothing to be timed")
    found: dict[str, Any] = {
        "milliseconds_a_step": 1e3 * clock.per_step,
        "network_steps_a_second": lanes / clock.per_step,
        "seconds_before": clock.began - before,
        "captured": any(step is not None for step in captured._captured.values()),
        "mib": torch.cuda.max_memory_reserved() / 2**20 if settings.device == "cuda" else None,
    }
    if told:
        found["warnings"] = sorted({str(one.message).splitlines()[0][:200] for one in told})[:5]
    return found


def _train(settings: Settings, variant: Variant, lanes: int, clock: StepClock) -> None:
    plan, replicas = planned(settings, variant, lanes)
    identity = plan.identity if variant.graphs else ""  # without one nothing is captured
    plan = replace(plan, score=plan.score.first(2), clock=clock, deadline=1.0, identity=identity)
    with suppress(TrainingTimeoutError):
        train_cohort(plan, replicas)


def planned(settings: Settings, variant: Variant, lanes: int) -> tuple[Any, list[Replica]]:
    """The plan and the replicas of a cohort that is trained for `_STEPS` steps at most."""
    space = cifar_space(settings, variant.network)
    (task,) = space.task
    recipe = space.recipe.model_copy(
        update={
            "cohort": lanes,
            "steps": _STEPS,
            "stop_at": 0.0,
            "heats": 1,
            "backend": variant.backend,
            "precision": variant.precision,
            "deterministic": variant.deterministic,
        }
    )
    setup = Setup(task, recipe, recipe.epochs, "validation", float("inf"))
    seeds = min(SEEDS, lanes)
    trainings = tuple(
        Training(setup, FORMULAS[place // seeds % len(FORMULAS)], spec, _RATE, place % seeds, 1 + place % seeds)
        for place in range(lanes)
        for spec in [LossSpec(FORMULAS[place // seeds % len(FORMULAS)])]
    )
    request = TrainingRequest(setup, trainings)
    return make_plan(request, settings.device), [Replica(one.loss, one.seed, _RATE) for one in trainings]


@contextmanager
def _channels_last(wanted: bool) -> Iterator[None]:
    """Within it every cohort's back end is a `ChannelsLast`, if ``wanted``."""
    made = make_backend

    def channels_last(*arguments: Any) -> Backend:
        return ChannelsLast(made(*arguments))

    with patched(cohort, "make_backend", channels_last if wanted else made):
        yield


@contextmanager
def patched(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Within it a module has this under the name."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def free_memory(device: str) -> None:
    """Give back what earlier measurements hold, and forget their peak."""
    captured.forget()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
