"""Networks trained a second, by network, back end, K and precision; the plain loop beside them."""

from __future__ import annotations

import time
from functools import partial

import torch

from gpu.parts import Case, Settings, Tell
from gpu.spaces import FORMULAS, cifar_space
from gpu.steps import StepClock, Variant, measured
from lossforge.evaluation.evaluate import backend_name
from lossforge.evaluation.limits import ran_out_of_memory
from lossforge.expression.formula import parse_formula
from machine_limits import step_operations
from plain_loop import PlainLoop, Trainings
from throughput_sides import prefix

FEW = (1, 4, 16, 64)
ALL = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LARGE = (16, 64, 256)
DRY = (1, 2)
_BF16 = "bfloat16"

Variants = tuple[tuple[Variant, tuple[int, ...]], ...]
FIRST: Variants = (
    (Variant(), ALL),
    (Variant(backend="loop"), FEW),
    (Variant(precision=_BF16), ALL),
    (Variant(backend="loop", precision=_BF16), FEW),
)
"""What a proxy is trained with is the fastest of these, with K networks at once; K rises until memory is used up."""
THEN: Variants = (
    (Variant(graphs=False), FEW),
    (Variant(precision=_BF16, channels_last=True), LARGE),
    (Variant(backend="loop", precision=_BF16, channels_last=True), LARGE[:2]),
    (Variant("small_cnn", "grouped"), FEW),
    (Variant("small_cnn", "vmap"), FEW),
    (Variant("small_cnn", "loop"), FEW),
    (Variant("mlp", "vmap"), FEW),
    (Variant("mlp", "loop"), FEW),
    (Variant("small_cnn", "grouped", _BF16), FEW),
    (Variant(backend="loop", graphs=False), FEW[:2]),
    (Variant(deterministic=False), (16, 64)),
)
"""What else is tried, in order of importance."""
_LIMIT, _ENOUGH = 60.0, 0.5
"""Seconds of a case; the share of them after which more networks are not tried."""


def first_cases(settings: Settings) -> list[Case]:
    return [
        Case("operations", partial(_operations, settings), 30),
        Case("plain loop", partial(_plain, settings), 40),
        *_of(settings, FIRST),
    ]


def further_cases(settings: Settings) -> list[Case]:
    return [*_of(settings, THEN), Case("plain loop, 4 processes", partial(_plain_processes, settings, 4), 60)]


def _of(settings: Settings, variants: Variants) -> list[Case]:
    return [Case(str(variant), partial(_engine, settings, variant, lanes), _LIMIT) for variant, lanes in variants]


def _operations(settings: Settings, tell: Tell) -> None:
    """Operations of a step of one network."""
    for network in dict.fromkeys(variant.network for variant, _ in FIRST + THEN):
        space = cifar_space(settings, network)
        tell(network, step_operations(space.task[0], space.recipe))
    space = cifar_space(settings)
    tell("batch", space.recipe.batch_size)
    tell("images", settings.images)


def _engine(settings: Settings, variant: Variant, numbers: tuple[int, ...], tell: Tell) -> None:
    tell("variant", variant.values)
    (task,) = cifar_space(settings, variant.network).task
    began = time.monotonic()
    for lanes in DRY if settings.dry else numbers:
        clock = StepClock(settings.device, 0.02 if settings.dry else 0.5)
        rule = backend_name(task, "rule", lanes, settings.device)
        try:
            found = measured(settings, variant, lanes, clock)
        except RuntimeError as error:
            if not _is_want_of_memory(error):
                raise
            tell(f"K={lanes}", {"out_of_memory": str(error).splitlines()[0][:200]})
            return
        tell(f"K={lanes}", {**found, "rule": rule})
        if time.monotonic() > began + _ENOUGH * _LIMIT:
            tell("not tried for want of time", f"K above {lanes}")
            return


def _is_want_of_memory(error: RuntimeError) -> bool:
    """cuBLAS and cuDNN have words of their own for it."""
    return ran_out_of_memory(error) or "ALLOC_FAILED" in str(error)


def _plain(settings: Settings, tell: Tell) -> None:
    """One training after another in eager torch: what two epochs take more than one, over the steps of an epoch."""
    seconds = []
    for epochs in (1, 1, 2):  # the first for warming up
        space = cifar_space(settings, "resnet8", f"recipe.epochs={epochs}")
        began = time.perf_counter()
        one = Trainings(space.task[0], space.recipe, 1e-3, settings.device)
        one.run(_PLAIN, 1)
        if settings.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    tell("network_steps_a_second", _steps(settings) / max(1e-9, seconds[2] - seconds[1]))


def _plain_processes(settings: Settings, processes: int, tell: Tell) -> None:
    """As many processes, each with the plain loop, on the one device."""
    processes = 1 if settings.dry else processes
    space = cifar_space(settings, "resnet8", "recipe.epochs=1")
    loop = PlainLoop(processes, 1, space.task[0], space.recipe, 1e-3, settings.device)
    try:
        loop.train([(_PLAIN, seed) for seed in range(processes)])  # for warming up
        jobs = [(_PLAIN, seed) for seed in range(2 * processes)]
        began = time.perf_counter()
        loop.train(jobs)
        tell("network_steps_a_second", len(jobs) * _steps(settings) / (time.perf_counter() - began))
    finally:
        loop.close()


def _steps(settings: Settings) -> int:
    """Steps of an epoch."""
    space = cifar_space(settings)
    return max(1, (space.task[0].train or 0) // space.recipe.batch_size)


_PLAIN = prefix(parse_formula(FORMULAS[1]))
