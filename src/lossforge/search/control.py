"""Cross-entropy, the control: trained before all else, and asked whether anything can be compared with it.

A gain over a control that learns nothing is no gain, and a training of the user's own that ignores its criterion, or
gives another score each time, would be found out by nobody. All that is told, or refused, before the first candidate.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from lossforge.errors import LossforgeError
from lossforge.evaluation.feasibility import chance_level
from lossforge.evaluation.remedies import remedy
from lossforge.evaluation.space_trainings import key_in, trainings
from lossforge.losses.behind_heads import baseline, opposite
from lossforge.losses.compiled import LossSpec
from lossforge.spaces.task_section import metric_title
from lossforge.store.stages import Stage

if TYPE_CHECKING:
    from lossforge.evaluation.records import Training
    from lossforge.search.progress import Progress
    from lossforge.search.recorder import Recorder
    from lossforge.spaces.schema import SearchSpace, TaskSection
    from lossforge.store.ledger import TrainingRow
    from lossforge.store.run_folder import RunFolder

_ONE_CLASS = 0.99
"""Share of predictions from which a network is said to predict one class."""


def control_key(space: SearchSpace) -> str:
    """Cross-entropy's key in a space."""
    return key_in(space, baseline(space.head))


def train_control(
    space: SearchSpace, recorder: Recorder, rates: dict[str, float], folder: RunFolder
) -> list[TrainingRow]:
    """Train cross-entropy on every replicate that a candidate can be given. Raises LossforgeError where one fails."""
    wanted = _wanted(space, space.task, rates, space.fitness.finalist_seeds)
    rows = recorder.run(wanted, Stage.CONTROL, again={control_key(space)})
    _refuse_failures(space, rows, folder)
    return rows


def check_own_trainings(
    space: SearchSpace, recorder: Recorder, rates: dict[str, float], folder: RunFolder, progress: Progress
) -> None:
    """Train on one seed with cross-entropy, once more, and with its opposite, where the training is the user's own.

    Raises LossforgeError where the function ignores its criterion, or returns less the better; tells where it is not
    deterministic.
    """
    tasks = [task for task in space.task if task.python]
    if not tasks:
        return
    progress.phase("trying out the training: cross-entropy twice on one seed, and its opposite")
    first = _wanted(space, tasks, rates, 1)
    again = [replace(one, key=f"{one.key} again") for one in first]
    contrary = opposite(space.head)
    turned_round = [replace(one, key="opposite", loss=LossSpec(contrary)) for one in first]
    stages = [(Stage.CONTROL, first), (Stage.CHECK, [*again, *turned_round])]
    controls, checks = recorder.run_all(stages, again={one.key for one in (*first, *again)})
    _refuse_failures(space, [*controls, *checks[: len(tasks)]], folder)
    for task, control, repeated, turned in zip(tasks, controls, checks, checks[len(tasks) :], strict=False):
        scores = control.accuracy or 0.0, repeated.accuracy or 0.0, turned.accuracy
        told = judged_training(task.python, *scores, contrary)
        if told:
            folder.log(f"{task.title}: {told}")
            progress.line(f"{task.title}: {told}")


def judged_training(
    path: str, score: float, again: float, turned: float | None, contrary: str = opposite("softmax")
) -> str:
    """What two scores with cross-entropy on one seed, and one with its contrary (None: it failed), say of a function.

    "" where there is nothing to tell. Raises LossforgeError where a search on it would be pointless.
    """
    spread = abs(score - again)
    if turned is not None and turned - min(score, again) > 2 * spread:
        raise LossforgeError(
            f"task.python: '{path}' returned {score:.4g} with cross-entropy and {turned:.4g} with its opposite, "
            f"{contrary}; it must return a score of which more is better, such as an accuracy, and not an error: "
            "mend it, and start a new run"
        )
    if turned is not None and max(score, again) - turned <= 2 * spread:
        same = "the same" if spread == 0 else "no less than its two scores with cross-entropy differ"
        raise LossforgeError(
            f"task.python: '{path}' returned {score:.4g} with cross-entropy and {turned:.4g} with its opposite, "
            f"{contrary}, which is {same}: it ignores its criterion, or learns nothing; train with the gradient of "
            "criterion(logits, target), long enough, and start a new run"
        )
    if spread == 0:
        return ""
    return (
        f"'{path}' is not deterministic: on one seed it returned {score:.6g} and {again:.6g} with cross-entropy, "
        f"{100 * spread:.2f} points apart; gains below that are noise, and the same space and seed will not give the "
        "same run again; draw all that is random from the seed that the function is given"
    )


def check_control(space: SearchSpace, rows: Sequence[TrainingRow], folder: RunFolder, progress: Progress) -> None:
    """Raise LossforgeError where cross-entropy is no better than chance; tell where it predicts one class on a seed."""
    for task in space.task:
        if task.python:
            continue
        own = [row for row in rows if row.task == task.title]
        chance, samples, names = chance_level(task)
        single = [name for row in own if (name := _single_class(row, names))]
        scores = [row.accuracy or 0.0 for row in own]
        noise = _noise(scores, chance, samples)
        if fmean(scores) - chance <= noise:
            raise LossforgeError(_at_chance(task, scores, noise, chance, single))
        if single:
            told = (
                f"{task.title}: cross-entropy predicts one class alone on {len(single)} of {len(own)} seeds "
                f"('{single[0]}'), so gains over it may be no more than being trained at all; try another "
                "recipe.learning_rate, more recipe.epochs, or task.metric = 'balanced_accuracy'"
            )
            folder.log(told)
            progress.line(told)


def _noise(scores: Sequence[float], chance: float, samples: int) -> float:
    """By how much a control must be above chance: its spread over seeds; of one seed, what its samples allow."""
    spread = stdev(scores) if len(scores) > 1 else math.sqrt(chance * (1 - chance) / samples)
    return max(spread, 1 / samples)


def _at_chance(task: TaskSection, scores: Sequence[float], noise: float, chance: float, single: list[str]) -> str:
    predicts = ""
    if len(single) > len(scores) / 2:
        predicts = f", and it predicts '{single[0]}' for every {'pixel' if task.masks else 'sample'}"
    metric = (
        "" if task.measure != "accuracy" or chance < 0.6 else ", task.metric (balanced_accuracy counts rare classes)"
    )
    return (
        f"cross-entropy learns nothing on task '{task.title}': its {metric_title(task.measure)} is "
        f"{fmean(scores):.1%} (± {noise:.1%} between {len(scores)} seeds), and guessing gives {chance:.1%}{predicts}; "
        f"nothing can be compared with it: change recipe.learning_rate, recipe.epochs, task.model{metric} or the data "
        "until cross-entropy learns, and start a new run"
    )


def _single_class(row: TrainingRow, names: Sequence[str]) -> str:
    """The class that a network predicts for all samples, or all pixels; "" where it predicts several."""
    metrics = json.loads(row.metrics)
    table, by_class = metrics.get("confusion_matrix"), metrics.get("class_iou")
    if by_class:
        found = [place for place, value in enumerate(by_class) if value]
        if len(found) == 1:
            return str(names[found[0]])
    elif table:
        predicted = [sum(column) for column in zip(*table, strict=True)]
        if max(predicted) >= _ONE_CLASS * sum(predicted):
            return str(names[predicted.index(max(predicted))])
    return ""


def _wanted(space: SearchSpace, tasks: Sequence[TaskSection], rates: dict[str, float], seeds: int) -> list[Training]:
    loss, key = baseline(space.head), control_key(space)
    return [
        training
        for task in tasks
        for training in trainings(space, task, loss, key, rates[task.title], range(seeds), stage=Stage.SEARCH)
    ]


def _refuse_failures(space: SearchSpace, rows: Sequence[TrainingRow], folder: RunFolder) -> None:
    failed = next((row for row in rows if row.accuracy is None), None)
    if failed is not None:
        task = next(task for task in space.task if task.title == failed.task)
        helps = remedy(space, task, failed.outcome, failed.reason, folder.path)
        raise LossforgeError(
            f"cross-entropy itself failed on task '{failed.task}' ({failed.outcome.replace('_', ' ')}: "
            f"{failed.reason}); a search needs a task that it can train on: {helps}"
        )
