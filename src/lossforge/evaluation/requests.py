"""From a space to the requests of its trainings: which seeds, which cohorts."""

from __future__ import annotations

from collections.abc import Iterable

from lossforge.evaluation.records import TrainingRequest
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.losses.compiled import LossSpec
from lossforge.losses.terms import parse_term
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import SearchSpace, TaskSection


def loss_key(loss: LossSpec, *, keep_scale: bool) -> str:
    """Key of a loss: its signature; a term, or a formula without a gradient, has its text."""
    term = parse_term(loss.formula)
    if term is not None:
        return str(term)
    return signature(parse_formula(loss.formula), keep_scale=keep_scale) or loss.formula


def replicate_seed(root: int, stage: str, task: TaskSection, replicate: int) -> int:
    """Seed of a replicate: the same for every loss, so that a gain is a difference of pairs."""
    return derive_seed(root, stage, task.title, replicate)


def cohorts(
    space: SearchSpace,
    task: TaskSection,
    loss: LossSpec,
    key: str,
    learning_rate: float,
    replicates: Iterable[int],
    *,
    stage: str,
    root: int | None = None,
    part: str = "validation",
    epochs: int | None = None,
) -> list[TrainingRequest]:
    """Requests that train ``loss`` on the given replicates, ``recipe.cohort`` at a time.

    Replicates are numbered from 0 in whole cohorts, so which ones share a cohort never depends on how
    many were asked for. ``root`` is the seed to derive from: the space's, unless given.
    """
    numbers = list(replicates)
    size = space.recipe.cohort
    root = space.seed if root is None else root
    return [
        TrainingRequest(
            key=key,
            loss=loss,
            task=task,
            recipe=space.recipe,
            learning_rate=learning_rate,
            epochs=space.recipe.epochs if epochs is None else epochs,
            part=part,
            replicates=tuple(chunk),
            seeds=tuple(replicate_seed(root, stage, task, replicate) for replicate in chunk),
            seconds=space.budget.training_seconds * size,
        )
        for chunk in (numbers[start : start + size] for start in range(0, len(numbers), size))
    ]
