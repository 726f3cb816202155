"""Whether a task's data and its network fit together, found out before anything is trained or written."""

from __future__ import annotations

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.data.resized_masks import lost_told
from lossforge.errors import DataError
from lossforge.evaluation.evaluate import network
from lossforge.models.imported import has_parameter, import_function
from lossforge.spaces.schema import TaskSection
from lossforge.training.metrics import chance_score


def check_fit(task: TaskSection) -> None:
    """Load the data and build the network once. Raises DataError or ModelError where they do not fit."""
    import torch

    data = load_task(task, "cpu")
    counts = torch.bincount(data.train.y.cpu().flatten(), minlength=data.classes)
    if int(counts.min()) == 0:
        name = data.names[int(counts.argmin())]
        lost = next((one for one in data.lost if one.name == name), None)
        if lost is not None:
            raise DataError(
                f"task.train: none of the {len(data.train)} training samples is of class '{name}' of '{task.data}': "
                f"{lost_told(lost, data.shape[1:])}; make train larger, or resize to the shape that the masks have"
            )
        raise DataError(
            f"task.train: none of the {len(data.train)} training samples is of class '{name}' of '{task.data}'; make "
            "train larger, or leave the class out of the data"
        )
    Preparation(task.augmentation, data.scale, data.shape)
    network(task, data, 0)


def resolution(task: TaskSection) -> float:
    """What one test sample, or one pixel of a mask, is worth in the task's metric, in (0, 1].

    Of a metric that is a mean over classes it is a sample of the rarest class. 0 where nobody but the user's own
    function knows.
    """
    import torch

    if task.python:
        return 0.0
    counts = torch.bincount(load_task(task, "cpu").test.y.flatten().cpu())
    if task.measure in ("accuracy", "top5_accuracy"):
        return 1 / int(counts.sum())
    occurring = counts[counts > 0]
    return 1 / (len(occurring) * int(occurring.min()))


def class_count(task: TaskSection) -> int:
    """Classes of a task's data, or of the training of the user's own."""
    return task.classes or 0 if task.python else load_task(task, "cpu").classes


def validated_sizes(task: TaskSection) -> tuple[int, int]:
    """Samples that a re-validation trains on and tests on; zeros where the training is the user's own."""
    if task.python:
        return 0, 0
    data = load_task(task, "cpu")
    return len(data.train) + len(data.validation), len(data.test)


def scores_unseen(task: TaskSection) -> bool:
    """Whether a re-validation scores on data that the search has not seen; a user's own function may have no such."""
    return not task.python or has_parameter(import_function(task.python, "task.python"), "part")


def chance_level(task: TaskSection) -> tuple[float, int, tuple[str, ...]]:
    """What guessing scores on the task's validation part, in its metric; how many samples that has, and the classes."""
    import torch

    data = load_task(task, "cpu")
    counts = torch.bincount(data.validation.y.flatten().cpu().long(), minlength=data.classes)
    return chance_score(counts, task.measure), len(data.validation), data.names
