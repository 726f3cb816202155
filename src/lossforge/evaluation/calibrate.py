"""What a recipe leaves to the machine: how many networks train at once, and by which back end.

Both are settled once, before a search begins, and stand in the run's own space from then on: neither resume nor the
number of workers changes a result. ``recipe.cohort`` is the most: on a CPU there are fewer where a back end gains
little from more (`lossforge.training.backends.gainful_lanes`), since a worker has nothing to do while all that is
wanted trains in another's cohort.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lossforge.data.datasets import load_task
from lossforge.errors import ModelError
from lossforge.evaluation.evaluate import make_plan, network
from lossforge.evaluation.records import Setup, Training, TrainingRequest
from lossforge.evaluation.threads import one_thread
from lossforge.losses.behind_heads import baseline
from lossforge.training.backends import gainful_lanes, make_backend
from lossforge.training.plan import Replica

if TYPE_CHECKING:
    from lossforge.spaces.schema import RecipeSection, SearchSpace, TaskSection

CPU_COHORT = 16
"""Networks at once on a CPU, at most: more win nothing (benchmarks/throughput.py)."""
LARGEST_COHORT = 64
_MEMORY_SHARE = 0.45
"""Share of a GPU's free memory that a cohort's step may take; a captured step keeps its own while another is tried."""
_TRIAL_STEPS = 5
_LONG = 20.0
"""Seconds from which on a trial is not run twice."""


def settled(space: SearchSpace, device: str) -> SearchSpace:
    """The space with ``recipe.cohort = "auto"`` and ``recipe.backend = "trial"`` replaced by what was found here.

    Raises DataError or ModelError where data and network do not fit.
    """
    if device == "cpu":
        one_thread()  # as the workers do
    tasks = [task for task in space.task if not task.python]
    changes: dict[str, object] = {}
    if space.recipe.cohort == "auto":
        sizes = [_cohort_size(task, space.recipe, device) for task in tasks]
        changes["cohort"] = min(sizes, default=CPU_COHORT)
    recipe = space.recipe.model_copy(update=changes)
    if recipe.backend == "trial":
        changes["backend"] = _fastest(tasks, recipe, device)
    return space.model_copy(update={"recipe": space.recipe.model_copy(update=changes)}) if changes else space


def with_gainful_cohorts(space: SearchSpace, device: str) -> SearchSpace:
    """The space with no more networks at once, in any task, than gain from it on this kind of device ("cpu", "cuda").

    Where tasks differ, those with fewer than the recipe's have a ``task.cohort`` of their own.
    """
    recipe = space.recipe
    tasks = [task for task in space.task if not task.python and not task.distributed]
    if device != "cpu" or not tasks:
        return space
    lanes = {task.title: min(recipe.of(task).lanes, _gainful(task, recipe.of(task))) for task in tasks}
    recipe = recipe.model_copy(update={"cohort": max(lanes.values())})
    own = {title: None if count == recipe.lanes else count for title, count in lanes.items()}
    changed = [task.model_copy(update={"cohort": own.get(task.title)}) for task in space.task]
    return space.model_copy(update={"recipe": recipe, "task": changed})


def told_cuts(asked: SearchSpace, cut: SearchSpace) -> list[str]:
    """A sentence for each task that trains fewer networks at once in the one space than in the other."""
    told = []
    for before, task in zip(asked.task, cut.task, strict=True):
        wanted, lanes = asked.recipe.of(before).lanes, cut.recipe.of(task).lanes
        if not task.python and lanes < wanted:
            told.append(
                f"{task.title}: {lanes} networks at once, not {wanted}: on a CPU '{task.model}' gains little from "
                "more, and smaller cohorts keep more workers busy"
            )
    return told


def _gainful(task: TaskSection, recipe: RecipeSection) -> int:
    """The most networks of a task that gain anything from one another's company on a CPU."""
    data = load_task(task, "cpu")
    model = network(task, data, 0).to("meta")
    backend = make_backend(recipe.backend, model, recipe.lanes, "cpu", data.shape, recipe.batch_size).name
    lanes = gainful_lanes(backend, model, data.shape)
    # The loop leaves out whom nobody waits for: heats gain nothing, and are so many more trainings of one worker.
    return max(1, lanes // recipe.heats) if backend == "loop" else lanes


def training_seconds(task: TaskSection, recipe: RecipeSection, epochs: int, device: str) -> float:
    """Roughly how long one training takes on one worker, in seconds, from a few steps of a cohort here and now.

    0 where nobody knows: of a training of the user's own, and of several workers together.
    """
    if task.python or task.distributed:
        return 0.0
    if device == "cpu":
        one_thread()
    lanes = recipe.of(task).lanes
    run = _steps(task, recipe, lanes, device)
    seconds = _timed(run, device)
    if seconds < _LONG:  # the first run has made buffers and kernels
        seconds = min(seconds, _timed(run, device))
    request = TrainingRequest(Setup(task, recipe, epochs, "test", float("inf")), ())
    steps = make_plan(request, device).steps
    return seconds / lanes * steps / _TRIAL_STEPS


def largest_power(memory: float, one: float, two: float) -> int:
    """The largest power of two of networks that ``memory`` holds, by what one and two of them take; 1 to 64.

    >>> largest_power(memory=100.0, one=12.0, two=20.0)
    8
    """
    each = max(two - one, one / 2, 1e-9)
    size = 1
    while 2 * size <= LARGEST_COHORT and one + (2 * size - 1) * each <= memory:
        size *= 2
    return size


def _cohort_size(task: TaskSection, recipe: RecipeSection, device: str) -> int:
    if device == "cpu":
        return CPU_COHORT
    import torch

    def taken(lanes: int) -> float:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _steps(task, recipe.model_copy(update={"backend": "rule"}), lanes, device)()
        return float(torch.cuda.max_memory_allocated() - before)

    taken(1)  # the first use of the libraries takes memory of its own
    one, two = taken(1), taken(2)
    free, _ = torch.cuda.mem_get_info()
    return largest_power(_MEMORY_SHARE * free, one, two)


def _fastest(tasks: list[TaskSection], recipe: RecipeSection, device: str) -> str:
    """The back end that takes least time for a few steps of every task; the rule's own where nothing is to be tried."""
    seconds: dict[str, float] = {}
    for name in _available(tasks, device):
        tried = recipe.model_copy(update={"backend": name})
        try:
            runs = [_steps(task, tried, recipe.of(task).lanes, device) for task in tasks]
            for run in runs:
                run()
            seconds[name] = sum(min(_timed(run, device) for _ in range(3)) for run in runs)
        except (RuntimeError, ModelError):  # neither vmap nor our kernels can run every network
            continue
    return min(seconds, key=lambda name: seconds[name]) if seconds else "rule"


def _available(tasks: list[TaskSection], device: str) -> list[str]:
    networks = [network(task, load_task(task, "cpu"), 0) for task in tasks]
    own = ["layers"] if device == "cpu" else ["grouped"] if all(hasattr(one, "grouped") for one in networks) else []
    return [*own, "vmap", "loop"] if networks else []


def _steps(task: TaskSection, recipe: RecipeSection, lanes: int, device: str) -> Callable[[], None]:
    """A function that trains ``lanes`` networks for a few steps, and scores next to nothing."""
    from lossforge.training.train import train_cohort

    recipe = recipe.model_copy(update={"cohort": lanes, "steps": _TRIAL_STEPS, "stop_at": 0.0, "heats": 1})
    setup = Setup(task, recipe, recipe.epochs, "validation", float("inf"))
    loss = baseline(task.head)
    request = TrainingRequest(setup, tuple(Training(setup, "ce", loss, 1e-3, seed, seed) for seed in range(lanes)))
    plan = make_plan(request, device)
    plan = plan.hardly_scored()
    replicas = [Replica(loss, seed, 1e-3) for seed in range(lanes)]

    def run() -> None:
        train_cohort(plan, replicas)

    return run


def _timed(run: Callable[[], None], device: str) -> float:
    import torch

    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - started
