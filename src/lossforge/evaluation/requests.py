"""From a space to its trainings: which loss, which seeds."""

from __future__ import annotations

from collections.abc import Iterable

from lossforge.evaluation.records import Setup, Training
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


def trainings(
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
    floor: float = 0.0,
) -> list[Training]:
    """Trainings of ``loss`` on the given replicates. ``root`` is the seed to derive from: the space's, unless given."""
    root = space.seed if root is None else root
    setup = Setup(
        task=task,
        recipe=space.recipe,
        epochs=space.recipe.epochs if epochs is None else epochs,
        part=part,
        seconds=space.budget.training_seconds,
        gigabytes=space.budget.training_gigabytes,
    )
    return [
        Training(setup, key, loss, learning_rate, number, replicate_seed(root, stage, task, number), floor)
        for number in replicates
    ]
