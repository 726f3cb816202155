"""Cross-entropy's best learning rate of each task, by a sweep that is recorded in the run and kept for the next."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING

from lossforge.evaluation.records import Outcome
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.losses.behind_heads import baseline
from lossforge.search.progress import Progress
from lossforge.search.recorder import Recorder
from lossforge.search.tuning import Sweep, TrainingsAt, require_trained, sweep_together
from lossforge.spaces.schema import SearchSpace, TaskSection
from lossforge.spaces.task_section import metric_title
from lossforge.store.run_folder import RunFolder
from lossforge.store.stages import Stage
from lossforge.store.sweep_cache import cache_file, keep_sweep, restore_sweep

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lossforge.evaluation.records import Training
    from lossforge.store.ledger import TrainingRow

_ROOT = 0
"""Seeds of the sweep derive from this and not from the run's seed: the best rate belongs to the recipe."""


def sweep_learning_rates(
    space: SearchSpace, recorder: Recorder, folder: RunFolder, progress: Progress
) -> dict[str, float]:
    """Cross-entropy's best learning rate of each task; a training of the user's own has one of its own, told as 1."""
    rates = {task.title: 1.0 for task in space.task if task.python}
    swept = [task for task in space.task if not task.python]
    if space.recipe.learning_rate != "sweep":
        return rates | {task.title: float(space.recipe.learning_rate) for task in swept}
    if swept:
        progress.phase("sweeping cross-entropy's learning rate")
    for task, sweep in zip(swept, _sweeps(space, swept, recorder), strict=True):
        rates[task.title] = sweep.best
        measured = metric_title(task.measure)
        told = ", ".join(f"{rate:g}: {accuracy:.2%}" for rate, accuracy in sorted(sweep.accuracies.items()))
        folder.log(f"learning rate of {task.title}: {sweep.best:g} (cross-entropy's {measured} by rate: {told})")
        if sweep.at_edge:
            folder.log(f"the best learning rate of {task.title} is at an end of the sweep: widen recipe.learning_rates")
        progress.swept(task.title, sweep, measured)
    return rates


def _sweeps(space: SearchSpace, tasks: list[TaskSection], recorder: Recorder) -> list[Sweep]:
    # What another machine trained is no answer for this one: on a cluster that was joined, every run sweeps.
    joined = space.execution.executor == "ray" and bool(space.execution.address)
    files = {task.title: None if joined else _cache_file(space, task, recorder.executor.device) for task in tasks}
    for file in files.values():
        restore_sweep(file, recorder.ledger)
    losses: dict[str, TrainingsAt] = {task.title: partial(_trainings, space, task) for task in tasks}
    sweeps = sweep_together(recorder, losses, space.recipe.learning_rates, Stage.SWEEP)
    rows = [row for row in recorder.ledger.trainings() if row.stage.startswith(Stage.SWEEP)]
    for task in tasks:
        own = [row for row in rows if row.task == task.title]
        if worth_keeping(own):
            keep_sweep(files[task.title], own)
    return [require_trained(sweep, "cross_entropy") for sweep in sweeps.values()]


def worth_keeping(rows: Iterable[TrainingRow]) -> bool:
    """Whether a sweep may decide other runs' rate: what a loaded machine cut short must not."""
    return all(row.accuracy is not None or row.outcome == Outcome.DIVERGED for row in rows)


def _trainings(space: SearchSpace, task: TaskSection, rate: float) -> list[Training]:
    loss = baseline(task.head)
    replicates = range(space.recipe.sweep_seeds)
    return trainings(space, task, loss, key_in(space, loss), rate, replicates, stage=Stage.SWEEP, root=_ROOT)


def _cache_file(space: SearchSpace, task: TaskSection, device: str) -> Path | None:
    from lossforge.data.datasets import own_digest

    recipe = space.recipe
    first = _trainings(space, task, recipe.learning_rates[0])[0].fingerprint()
    parts = [first, own_digest(task.data), recipe.learning_rates, recipe.sweep_seeds]
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return cache_file(name, machine_name(device))


def machine_name(device: str) -> str:
    """What can change a training's result besides its request: versions, source, processor, device."""
    import torch

    from lossforge.store.run_folder import hardware, package_versions, source_commit

    name = torch.cuda.get_device_name() if device == "cuda" else device
    return json.dumps([package_versions(), source_commit(), hardware(), name], sort_keys=True)
