"""The data set on which a task's networks are probed: read, and brought into the form that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.data.augmentation import Preparation
from lossforge.data.datasets import load_task
from lossforge.errors import DataError
from lossforge.spaces.schema import AugmentationSection, TaskSection
from lossforge.training.probe import Probe

if TYPE_CHECKING:
    from torch import Tensor

    from lossforge.data.splits import TaskData

_UNUSED = 10
"""Samples of the validation part, which nothing reads; a task has no fewer."""


def probe_of(task: TaskSection, data: TaskData, device: str) -> Probe:
    """The probe of ``task.probe`` for networks that take the samples of ``data``.

    Images are resized to theirs, made grey where those are and given three equal channels where those have three, and
    scaled as those are. Raises DataError where they cannot be had so.
    """
    channels, height, width = data.shape
    table = (height, width) == (1, 1)
    asked = TaskSection(
        data=task.probe,
        train=task.probe_train,
        validation=_UNUSED,
        test=task.probe_test,
        resize=None if table else (height, width),
        greyscale=channels == 1 and not table,
        split_seed=task.split_seed,
    )
    try:
        other = load_task(asked, device)
    except DataError as error:
        if str(error).startswith("task.resize: "):
            raise DataError(
                f"task.probe: '{task.probe}' is a table, and the network takes images; take a data set of the same kind"
            ) from error
        told = str(error).removeprefix("task.data: ").removeprefix("task: ")
        raise DataError(
            f"task.probe: {told} (it takes task.probe_train = {task.probe_train} and task.probe_test = "
            f"{task.probe_test} samples, and {_UNUSED} between)"
        ) from error
    if other.several_labels or other.segmentation:
        raise DataError(f"task.probe: a sample of '{task.probe}' has no one class; take a data set where it has")
    if other.shape != data.shape and (table or other.shape[0] != 1 or channels != 3):
        raise DataError(
            f"task.probe: samples of '{task.probe}' have shape {other.shape}, and the network takes {data.shape}; take "
            "a data set of the same kind"
        )
    prepare = Preparation(AugmentationSection(), data.scale, data.shape)

    def prepared(x: Tensor) -> Tensor:
        return prepare(x.expand(-1, channels, -1, -1))

    return Probe(other.train, other.test, prepared)
