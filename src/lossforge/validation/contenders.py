"""Who is compared: discoveries of a run, losses that a person names, rivals, each with the space that trains it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lossforge.errors import FormulaError, LossError, LossforgeError, SpaceError
from lossforge.evaluation.feasibility import class_count
from lossforge.evaluation.records import Training
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.evolution.grid import n_grams
from lossforge.losses.compiled import LossSpec
from lossforge.losses.library import LIBRARY, loss_spec, named_sum
from lossforge.spaces.plan_schema import LIBRARY as EVERY_LOSS
from lossforge.spaces.plan_schema import ContenderSection, Plan, StudySection
from lossforge.spaces.plans import study_space
from lossforge.spaces.schema import SearchSpace


@dataclass(frozen=True, slots=True)
class Contender:
    """One loss in one study. ``space`` has one task, and what the contender has of its own.

    ``name`` is what tables call it; ``searched`` is the formula that a search trained, where it is a discovery.
    """

    name: str
    loss: LossSpec
    key: str
    space: SearchSpace
    is_rival: bool = False
    size: int = 0
    search_gain: float = 0.0
    searched: str = ""

    @property
    def fixed_rate(self) -> float | None:
        """The learning rate that is given; None where it is tuned. A training of the user's own has its own: 1."""
        if self.space.task[0].python:
            return 1.0
        rate = self.space.recipe.learning_rate
        return None if isinstance(rate, str) else rate

    @property
    def as_trained(self) -> tuple[str, float, str]:
        """The same for contenders that are one loss, trained in one way."""
        return self.key, self.loss.label_smoothing, self.space.model_dump_json()

    def trainings(self, rate: float, seeds: Iterable[int], *, stage: str, part: str, epochs: int) -> list[Training]:
        """Its trainings at a learning rate."""
        task = self.space.task[0]
        return trainings(self.space, task, self.loss, self.key, rate, seeds, stage=stage, part=part, epochs=epochs)


def told_name(loss: LossSpec, searched: str) -> str:
    """What tables call a discovery: its formula, or the sum of named losses that the search trained."""
    return loss.formula if named_sum(searched) is None else searched


def contender(text: str, space: SearchSpace, name: str = "", *, is_rival: bool = False) -> Contender:
    """A loss by its name or formula. Raises LossError or FormulaError where it is none, or none behind the head."""
    task = space.task[0]
    loss = loss_spec(text, head=task.head, table=not task.masks)
    return Contender(name or text, loss, key_in(space, loss), space, is_rival)


def contenders_of(
    plan: Plan, study: StudySection, discovered: Sequence[tuple[LossSpec, int, float, str]] = (), origin: str = ""
) -> tuple[list[Contender], list[Contender]]:
    """Losses and named rivals of a study; ``discovered`` come first: loss, size, gain in the search, formula there.

    Raises SpaceError that names study and key.
    """
    space = study_space(plan, study, origin=origin)
    losses = [
        Contender(
            told_name(loss, searched), loss, key_in(space, loss), space, size=size, search_gain=gain, searched=searched
        )
        for loss, size, gain, searched in discovered
    ]
    place = f"{origin or plan.name}, study '{study.name}'"
    for one in plan.losses:
        if one == EVERY_LOSS:
            losses += fitting(LIBRARY, space)
        else:
            losses.append(_named(one, plan, study, space, f"{place}: losses"))
    losses += _sums(plan, study, space, place)
    rivals = [
        replace(_named(one, plan, study, space, f"{place}: rivals.named"), is_rival=True) for one in plan.rivals.named
    ]
    return losses, rivals


def _named(one: str | ContenderSection, plan: Plan, study: StudySection, space: SearchSpace, place: str) -> Contender:
    try:
        if isinstance(one, str):
            return contender(one, space)
        return contender(one.loss, study_space(plan, study, one), one.title)
    except (LossError, FormulaError) as error:
        raise SpaceError(f"{place}: {error}") from None


def _sums(plan: Plan, study: StudySection, space: SearchSpace, place: str) -> list[Contender]:
    """Every sum of the plan's ``[fusion]``, by the names that a grid's tables have. Raises SpaceError."""
    section = plan.fusion
    if not section.losses:
        return []
    for text in section.losses:
        _named(text, plan, study, space, f"{place}: fusion.losses")
    classes = [class_count(space.task[0])] if section.match else []
    sums = n_grams(section, classes, space.head, scales_count=not space.recipe.match_gradient)
    return [contender(str(fusion), space, name) for name, fusion in sums]


def fitting(names: Iterable[str], space: SearchSpace) -> list[Contender]:
    """Those of the losses that fit the space's head and data, each once: of two that are one loss, the first."""
    found = []
    for name in names:
        try:
            found.append(contender(name, space))
        except LossforgeError:
            continue
    return distinct(found)


def distinct(contenders: Iterable[Contender]) -> list[Contender]:
    """Without those that are trained as an earlier one is."""
    found: dict[tuple[str, float, str], Contender] = {}
    for one in contenders:
        found.setdefault(one.as_trained, one)
    return list(found.values())
