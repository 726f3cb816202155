"""What a command would do, and roughly how long it would take here: nothing is written, and next to nothing trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from lossforge.api import Execution, changed_space, overrides_of, places_of, ready_space
from lossforge.comparing import plan_of
from lossforge.data.places import using_data_folder
from lossforge.errors import given_path
from lossforge.evaluation.calibrate import training_seconds, with_gainful_cohorts
from lossforge.evaluation.evaluate import backend_name
from lossforge.executors.devices import resolve_device, worker_count
from lossforge.search.progress import duration
from lossforge.spaces.base_folder import working_from
from lossforge.spaces.plan_schema import Plan
from lossforge.spaces.plans import find_plan, load_plan, with_seeds
from lossforge.spaces.schema import ExecutionSection, SearchSpace, TaskSection
from lossforge.starting.cost import Unit, generation_seconds, search_steps, told_steps, validation_steps
from lossforge.starting.fit import STOPPED_EARLY
from lossforge.store.run_folder import RunFolder
from lossforge.validation.cost import told
from lossforge.validation.plans import Discovered, check_studies, costs_of, studies_of
from lossforge.validation.protocol import best_of_run

_CAVEAT = (
    "measured by a few steps on one worker, of a machine with nothing else to do; candidates may take more or less"
)


def plan_of_search(
    space: str | Path | Mapping[str, object],
    *,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    **execution: Unpack[Execution],
) -> list[str]:
    """What a search of a space would do, a sentence a line. Raises LossforgeError where it would be refused."""
    loaded, _ = ready_space(space, seed=seed, overrides=overrides, **execution)
    with working_from(Path.cwd()), using_data_folder(loaded.execution.data_dir):
        loaded, unit = _unit(loaded)
        evolution, each = loaded.evolution, ""
        if unit.seconds:
            each = f", about {duration(generation_seconds(loaded, unit))} each"
        return [
            *(_told_task(task, loaded) for task in loaded.task),
            f"search: {loaded.budget.generations} generations of {evolution.population} losses by "
            f"{evolution.strategy}, {evolution.elites} of them survivors{each}",
            *told_steps(search_steps(loaded, unit)),
            _where(loaded.execution, unit),
        ]


def plan_of_validation(
    run: str | Path,
    *,
    top: int | None = None,
    seeds: int | None = None,
    plan: str | None = None,
    overrides: Sequence[str] = (),
    **execution: Unpack[Execution],
) -> list[str]:
    """What a re-validation of a run would do; see `plan_of_search`. What is recorded already is counted too."""
    folder = RunFolder.open(given_path(run, "a run"))
    own = overrides_of((), execution)
    space = changed_space(folder, own)
    count = space.validation.top if top is None else top
    if plan is not None:
        file = find_plan(plan, space.name)
        wanted = load_plan(file, [*overrides, *own])
        with places_of(folder, space), using_data_folder(wanted.execution.data_dir):
            return _studies(wanted, seeds, str(file), best_of_run(folder, space, count))
    with places_of(folder, space):
        best = best_of_run(folder, space, count)
        space, unit = _unit(space)
        steps = validation_steps(space, unit, top=len(best), seeds=seeds)
        return [
            f"re-validation of {len(best)} losses of {folder.path}, trainings that are recorded already counted too",
            *told_steps(steps),
            _where(space.execution, unit),
        ]


def plan_of_compare(
    losses: Sequence[str],
    *,
    space: str | None = None,
    plan: str | None = None,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    **execution: Unpack[Execution],
) -> list[str]:
    """What a comparison would do; see `plan_of_search`."""
    wanted, origin = plan_of(list(losses), space, plan, seeds, overrides_of(overrides, execution))
    with working_from(Path.cwd()), using_data_folder(wanted.execution.data_dir):
        return _studies(wanted, None, origin, ())


def _studies(plan: Plan, seeds: int | None, origin: str, discovered: Sequence[Discovered]) -> list[str]:
    plan = plan if seeds is None else with_seeds(plan, seeds)
    studies = studies_of(plan, discovered, origin)
    check_studies(studies, origin)
    return [
        *told(costs_of(plan, studies), worker_count(plan.execution)),
        _where(plan.execution, Unit(1.0, 1, worker_count(plan.execution))),
    ]


def _unit(space: SearchSpace) -> tuple[SearchSpace, Unit]:
    """The space with the cohorts that it will have, and what a training of it costs, the mean of its tasks."""
    workers = worker_count(space.execution)
    if space.execution.executor == "ray":
        return space, Unit(0.0, 1, workers, STOPPED_EARLY)
    device = resolve_device(space.execution.device)
    space = with_gainful_cohorts(space, device)
    recipe = space.recipe
    each = [training_seconds(task, recipe.of(task), recipe.epochs, device) for task in space.task]
    known = sum(each) / len(each) if all(each) else 0.0
    lanes = max(1 if task.python else recipe.of(task).lanes for task in space.task)
    return space, Unit(known, lanes, workers, STOPPED_EARLY)


def _told_task(task: TaskSection, space: SearchSpace) -> str:
    """How a task is trained, as a search's log has it."""
    if task.python:
        return f"task {task.title}: trained by {task.python}, and nobody knows beforehand for how long"
    recipe = space.recipe.of(task)
    how = backend_name(task, recipe.backend, recipe.lanes, resolve_device("auto"))
    return (
        f"task {task.title}: {task.data}, {task.model} of width {task.width}, {recipe.epochs} epochs, {recipe.lanes} "
        f"at once by {how}"
    )


def _where(execution: ExecutionSection, unit: Unit) -> str:
    if execution.executor == "ray":
        return "on Ray: how long it takes depends on its machines; nothing was started, and nothing written"
    workers = f"{unit.workers} worker{'' if unit.workers == 1 else 's'}"
    return f"on {workers} of this machine, {_CAVEAT}; nothing was written"
