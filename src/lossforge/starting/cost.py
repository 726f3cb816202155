"""What a search will cost, step by step, before it starts: trainings, and how long they take on this machine.

Counts follow from the space. What candidates do with them does not: how many stop early, and how many leaders are new,
are taken from a search of the default space: 558 trainings of 8 generations, 1 of them stopped early.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from lossforge.data.datasets import load_task
from lossforge.evaluation.feasibility import validated_sizes
from lossforge.search.progress import duration
from lossforge.search.reference import known_losses
from lossforge.spaces.schema import SearchSpace
from lossforge.validation.coarse import candidates
from lossforge.validation.contenders import contender
from lossforge.validation.protocol import settings_of
from lossforge.validation.second_optimizer import second_optimizer

START_SECONDS = 12.0
"""Workers start, data are read, screens load; twice: a search and its re-validation."""
_AUDITED = 0.5
"""Rejected candidates for each new one, of which a share is trained all the same."""
_NEW_LEADERS = 0.3
"""Share of the finalists that are new in a generation, and get the further seeds of a leader."""
_EXTENDED = 1.0
"""Rates that a loss tries beyond an end of the grid, on the mean."""
_DECIDED = 0.85
"""Share of a re-validation's seeds that are used; the others belong to pairs that are decided early."""
_SECOND_RATES = 5
_RANKING = 0.03
"""Seconds of a core for each new loss: some fifty proposals are ranked for it (docs/search.md), beside the workers."""
_KNOWN_RATES = 3
_FURTHER = 3
"""Losses that are trained on further seeds before the search: cross-entropy and the two best known ones."""
_SLOWER = 1.25
"""By how much a loss of the library takes longer than a formula, on the mean: some iterate, or look at a batch."""
_BUSY = 0.93
"""Share of a generation in which workers train; in the rest they wait for candidates, or share their cores with the
screens."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a search: trainings, how long one is in units of a training of the search, and its seconds."""

    name: str
    trainings: int
    length: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Unit:
    """What one training costs: ``seconds`` of one worker, ``lanes`` at once, on so many ``workers``.

    ``kept`` is the share of a training's work that a candidate takes on the mean: the rest is stopped early. ``load``
    is how many times as long everything takes as on a machine with nothing else to do; ``seconds`` have it in them.
    """

    seconds: float
    lanes: int
    workers: int
    kept: float = 1.0
    load: float = 1.0

    def of(self, trainings: float, length: float = 1.0) -> float:
        """Seconds until so many trainings are done: cohorts go to workers whole, and the last may leave some idle."""
        if trainings <= 0:
            return 0.0
        cohorts = math.ceil(trainings / self.lanes)
        if cohorts <= self.workers:
            rounds = min(trainings, self.lanes) if cohorts == 1 else math.ceil(trainings / cohorts)
        else:
            rounds = max(trainings / self.workers, self.lanes * math.ceil(cohorts / self.workers) * 0.9)
        return rounds * self.seconds * length


def search_steps(space: SearchSpace, unit: Unit) -> list[Step]:
    """Every step of a search and its re-validation, in order; generations as one step."""
    tasks = len(space.task)
    recipe, fitness = space.recipe, space.fitness
    steps = []
    if recipe.learning_rate == "sweep":
        sweep = tasks * recipe.sweep_seeds * len(recipe.learning_rates)
        extended = tasks * recipe.sweep_seeds * _EXTENDED
        steps.append(_step("sweep of cross-entropy's learning rate", sweep, unit, more=unit.of(extended)))
    steps.append(_step("cross-entropy, the control", tasks * fitness.finalist_seeds, unit))
    if known := len(known_losses(space)):
        steps.append(_reference(space, known, unit))
    generations = space.budget.generations
    each = generation_trainings(space)
    seconds = generations * generation_seconds(space, unit)
    steps.append(Step(f"{generations} generations", generations * each, unit.kept, seconds))
    if fitness.fresh_seeds and fitness.measured:
        # Besides the leaders cross-entropy and the best known loss.
        compared = fitness.measured + 1 + bool(known)
        steps.append(_step("leaders on fresh seeds", tasks * compared * fitness.fresh_seeds, unit))
    return [*steps, *(validation_steps(space, unit) if space.validation.after_search else [])]


def _reference(space: SearchSpace, known: int, unit: Unit) -> Step:
    """Known losses before the first generation: all; the best at rates of their own; the best of those on more."""
    settings, tasks = space.reference, len(space.task)
    coarse = tasks * known * settings.coarse_seeds
    tuned = tasks * min(settings.tuned, known) * (_KNOWN_RATES + _EXTENDED) * settings.tuning_seeds
    further = tasks * _FURTHER * settings.seeds
    seconds = _SLOWER * unit.of(coarse) + unit.of(tuned) + unit.of(further)
    return Step("known losses, before the search", round(coarse + tuned + further), 1.0, seconds)


def generation_trainings(space: SearchSpace) -> int:
    """Trainings of one generation, roughly."""
    return round(sum(_generation(space)))


def generation_seconds(space: SearchSpace, unit: Unit) -> float:
    """How long a generation takes: the first seed of all, then further seeds of the best beside the leaders' own."""
    first, better, leaders = _generation(space)
    evolution = space.evolution
    ranked = evolution.strategy == "genetic" and evolution.surrogate.enabled
    proposing = _RANKING * evolution.population * unit.load / unit.workers if ranked and unit.seconds else 0.0
    return (unit.of(first, unit.kept) + unit.of(better + leaders)) / _BUSY + proposing


def _generation(space: SearchSpace) -> tuple[float, float, float]:
    settings, fitness, tasks = space.evolution, space.fitness, len(space.task)
    new = settings.population - settings.elites
    racing = fitness.race < 1
    first = new * (1 if racing else fitness.seeds)
    audited = space.screening.audit * _AUDITED * new
    better = math.ceil(fitness.race * new) * (fitness.seeds - 1) if racing else 0
    leaders = _NEW_LEADERS * fitness.finalists * (fitness.finalist_seeds - fitness.seeds)
    return tasks * (first + audited), tasks * better, tasks * leaders


def validation_steps(space: SearchSpace, unit: Unit, *, top: int | None = None, seeds: int | None = None) -> list[Step]:
    """The steps of a re-validation of the ``top`` losses on ``seeds`` seeds; default: the space's."""
    validation = space.validation
    settings = settings_of(space, validation.seeds if seeds is None else seeds)
    longer = settings.epochs / space.recipe.epochs if not space.recipe.steps else 2.0
    losses = validation.top if top is None else top
    tasks = [space.model_copy(update={"task": [task]}) for task in space.task]
    pooled = fmean(_pooled(own) for own in tasks)
    coarse = tuning = test = second_tuning = second = 0.0
    for own in tasks:
        task = own.task[0]
        rivals = [contender(name, own, is_rival=True) for name in dict.fromkeys(validation.rivals)]
        known = 0 if task.python else settings.known
        found = len(candidates(own, settings, rivals)) if known else 0
        coarse += found * len(settings.coarse_rates) * settings.coarse_seeds
        compared = losses + len(rivals) + min(known, found)
        tuning += compared * (len(settings.rates) + _EXTENDED) * settings.tuning_seeds
        test += compared * settings.seeds * (_DECIDED if settings.looks else 1.0)
        if second_optimizer(space) and not task.python:
            rates = len(validation.second_learning_rates) or _SECOND_RATES
            second_tuning += (losses + 1) * (rates + _EXTENDED) * validation.second_tuning_seeds
            second += (losses + 1) * validation.second_seeds
    found_steps = [
        ("known losses, a coarse pass", coarse, longer),
        ("learning rate of each loss and rival", tuning, longer),
        ("test of losses and rivals", test, longer * pooled),
        ("another optimiser, its learning rates", second_tuning, longer),
        ("another optimiser, its test", second, longer * pooled),
    ]
    return [_step(name, round(count), unit, length=length) for name, count, length in found_steps if round(count)]


def _pooled(own: SearchSpace) -> float:
    """How much longer a training of the test is for its samples: validation samples are trained on too."""
    task = own.task[0]
    if task.python or own.recipe.steps:
        return 1.0
    pooled, _ = validated_sizes(task)
    return pooled / max(1, len(load_task(task, "cpu").train))


def _step(name: str, trainings: int, unit: Unit, *, length: float = 1.0, more: float = 0.0) -> Step:
    return Step(name, trainings, length, unit.of(trainings, length) + more)


def total_seconds(steps: list[Step], load: float = 1.0) -> float:
    """All of it, with what comes before the first training, on a machine of this load."""
    return load * START_SECONDS + sum(step.seconds for step in steps)


def told_steps(steps: list[Step], load: float = 1.0) -> list[str]:
    """A line for each step, and one for all."""
    known = any(step.seconds for step in steps)
    lines = [f"{one.name}: {one.trainings:,} trainings{_about(one.seconds, known)}" for one in steps]
    trainings = sum(step.trainings for step in steps)
    return [*lines, f"all: {trainings:,} trainings{_about(total_seconds(steps, load), known)}"]


def _about(seconds: float, known: bool) -> str:
    return f", about {duration(seconds)}" if known else ""
