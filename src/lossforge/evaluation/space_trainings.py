"""From a space to its trainings: which loss, which seeds."""

from __future__ import annotations

from collections.abc import Iterable

from lossforge.evaluation.records import Setup, Training
from lossforge.expression.formula import parse_formula
from lossforge.expression.signature import signature
from lossforge.losses.compiled import LossSpec
from lossforge.losses.term_signature import term_key
from lossforge.seeding import derive_seed
from lossforge.spaces.schema import SearchSpace, TaskSection


def key_in(space: SearchSpace, loss: LossSpec) -> str:
    """`loss_key` of a loss in a space."""
    return loss_key(loss, keep_scale=not space.recipe.match_gradient, head=space.head)


def loss_key(loss: LossSpec, *, keep_scale: bool, head: str = "softmax") -> str:
    """Key of a loss behind a head: its signature; a term alone, or a loss without a gradient, has its text.

    Of a sum with terms it is that of the batches' gradient; see `lossforge.losses.term_signature`.
    """
    if loss.is_term:
        return term_key(loss, keep_scale=keep_scale, head=head) or loss.formula
    return signature(parse_formula(loss.formula), keep_scale=keep_scale, head=head) or loss.formula


def replicate_seed(root: int, stage: str, task: TaskSection, replicate: int) -> int:
    """Seed of a replicate: the same for every loss, so that a gain is a difference of pairs."""
    return derive_seed(root, stage, task.title, replicate)


def setup_of(space: SearchSpace, task: TaskSection, *, part: str = "validation", epochs: int | None = None) -> Setup:
    """What all trainings on a task have in common."""
    return Setup(
        task=task,
        recipe=space.recipe.of(task),
        epochs=space.recipe.epochs if epochs is None else epochs,
        part=part,
        seconds=space.budget.training_seconds,
        gigabytes=space.budget.training_gigabytes,
        shares=space.fusion.shares,
    )


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
    setup = setup_of(space, task, part=part, epochs=epochs)
    return [
        Training(setup, key, loss, learning_rate, number, replicate_seed(root, stage, task, number), floor)
        for number in replicates
    ]


class TaskTrainings:
    """A search's trainings on one task: what they share is worked out once, for thousands of candidates."""

    def __init__(self, space: SearchSpace, task: TaskSection, learning_rate: float, *, stage: str) -> None:
        self.title = task.title
        self._setup = setup_of(space, task)
        self._rate = learning_rate
        self._seeds = [
            replicate_seed(space.seed, stage, task, number) for number in range(space.fitness.finalist_seeds)
        ]

    @property
    def lanes(self) -> int:
        """Networks that train at once."""
        return self._setup.lanes

    def trainings(self, loss: LossSpec, key: str, replicates: Iterable[int], floor: float) -> list[Training]:
        """As the function `trainings` gives them."""
        return [
            Training(self._setup, key, loss, self._rate, number, self._seeds[number], floor) for number in replicates
        ]
