"""Requests of one loss, for tests that want a training and nothing special."""

from __future__ import annotations

from collections.abc import Sequence

from lossforge.evaluation.records import Setup, Training, TrainingRequest
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import CROSS_ENTROPY
from lossforge.spaces.schema import RecipeSection, TaskSection


def request_of(
    task: TaskSection,
    recipe: RecipeSection,
    *,
    learning_rate: float = 0.01,
    epochs: int = 1,
    part: str = "validation",
    seeds: Sequence[int] = (1,),
    formula: str = CROSS_ENTROPY,
    seconds: float = 60.0,
    gigabytes: float = 0.0,
) -> TrainingRequest:
    """One cohort of ``formula``, its seeds numbered from 0, with as many lanes as there are seeds."""
    recipe = recipe.model_copy(update={"cohort": len(seeds)})
    setup = Setup(task, recipe, epochs, part, seconds, gigabytes)
    return TrainingRequest(
        setup,
        tuple(
            Training(setup, formula, LossSpec(formula), learning_rate, number, seed)
            for number, seed in enumerate(seeds)
        ),
    )
