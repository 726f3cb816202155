"""Proxies an hour. A proxy is resnet8 at full width, trained until cross-entropy is at 80 %.

How many epochs that takes is found with cross-entropy at three rates on the test images that were given. Random images
say nothing of it: the number of epochs is assumed then.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import fmean
from typing import Any

from gpu.advice import fastest
from gpu.parts import Case, Settings, Tell
from gpu.spaces import FORMULAS, cifar_space
from gpu.steps import Variant, free_memory
from lossforge.evaluation.evaluate import evaluate
from lossforge.evaluation.records import Setup, Training, TrainingRequest
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY

PART = "throughput_on_device"
GOAL = 0.8
LADDER = (6, 8, 12, 16, 24)
ASSUMED = 10
"""Epochs where nobody knows."""
RATES = (0.003, 0.006, 0.012)
_SECONDS = 14.0
"""A cohort of proxies should take no longer."""


def proxy_cases(settings: Settings) -> list[Case]:
    return [
        Case("epochs of a proxy", partial(_epochs, settings), 70),
        Case("proxies an hour", partial(_an_hour, settings), 70),
    ]


def _epochs(settings: Settings, tell: Tell) -> None:
    """Mean test accuracy of cross-entropy by epochs and rate, until one passes 80 %."""
    tell("images", settings.images)
    if not settings.npz:
        tell("epochs", ASSUMED)
        tell("assumed", True)
        return
    precision = _chosen(settings)[0].precision
    for epochs in (1, 2) if settings.dry else LADDER:
        trained = [(CROSS_ENTROPY, rate, seed) for rate in RATES for seed in range(1 if settings.dry else 2)]
        request = _request(settings, Variant(backend="rule", precision=precision), epochs, trained)
        result = evaluate(request, settings.device)
        found: dict[float, list[float]] = {rate: [] for rate in RATES}
        for (_, rate, _), accuracy in zip(trained, result.accuracies, strict=True):
            found[rate].append(accuracy or 0.0)
        means = {rate: fmean(values) for rate, values in found.items()}
        tell(f"{epochs} epochs", {"accuracy": means, "seconds": result.seconds, "reasons": sorted(set(result.reasons))})
        tell("epochs", epochs)
        tell("best", max(means.values()))
        if max(means.values()) >= GOAL:
            break
    tell("reached", max(means.values()) >= GOAL)


def _an_hour(settings: Settings, tell: Tell) -> None:
    """Train a cohort of proxies of several losses twice: the second time is that of a search, all being captured."""
    epochs = int(settings.found_by(PART).get("epochs of a proxy", {}).get("epochs", ASSUMED))
    epochs = 1 if settings.dry else epochs
    variant, lanes, rate = _chosen(settings)
    steps = epochs * _steps(settings)
    if rate:
        tell("expected", 3600 * rate / steps)
        while lanes > 1 and lanes * steps / rate > _SECONDS:
            lanes //= 2
    tell("variant", {**variant.values, "lanes": lanes})
    tell("epochs", epochs)
    trained = [(FORMULAS[place // 4 % len(FORMULAS)], RATES[1], place % 4) for place in range(lanes)]
    request = _request(settings, variant, epochs, trained)
    for name in ("first", "second"):
        began = time.perf_counter()
        result = evaluate(request, settings.device)
        seconds = time.perf_counter() - began
        tell(name, {"seconds": seconds, "trained": sum(one is not None for one in result.accuracies)})
        tell("reasons", sorted(set(result.reasons)))
        tell("proxies_an_hour", 3600 * lanes / seconds)
    free_memory(settings.device)


def _chosen(settings: Settings) -> tuple[Variant, int, float]:
    """The fastest way to train resnet8 that a recipe can ask for: with how many at once, and network steps a second."""
    best = fastest(settings.found_by(PART), "resnet8")
    if best is None:
        return Variant(backend="rule", precision="bfloat16"), 2 if settings.dry else 32, 0.0
    return Variant(**best.variant), best.lanes, best.rate


def _steps(settings: Settings) -> int:
    """Steps of an epoch of all training images."""
    space = cifar_space(settings, whole=True)
    task = space.task[0]
    return max(1, ((task.train or 0) + (task.validation or 0)) // space.recipe.batch_size)


def _request(
    settings: Settings, variant: Variant, epochs: int, trained: list[tuple[str, float, int]]
) -> TrainingRequest:
    """Trainings on all training images, scored on the test images."""
    space = cifar_space(settings, variant.network, whole=True)
    changes: dict[str, Any] = {
        "cohort": len(trained),
        "backend": variant.backend,
        "precision": variant.precision,
        "stop_at": 0.0,
    }
    recipe = space.recipe.model_copy(update=changes)
    setup = Setup(space.task[0], recipe, epochs, "test", float("inf"))
    replicas = [Training(setup, formula, LossSpec(formula), rate, seed, 1 + seed) for formula, rate, seed in trained]
    return TrainingRequest(setup, tuple(replicas))
