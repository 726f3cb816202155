"""Data sets by name, split for a task, on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy

from lossforge.data.splits import Part, TaskData, stratified_parts
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays = tuple["NDArray[numpy.float32]", "NDArray[numpy.int64]", int]
"""Samples ``(N, C, H, W)`` in [0, 1], class indices ``(N,)``, number of classes."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """One known data set."""

    name: str
    summary: str
    load: Callable[[], Arrays]


def _digits() -> Arrays:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(numpy.float32)[:, None]
    return images, bunch.target.astype(numpy.int64), 10


DATASETS: dict[str, DataSource] = {
    source.name: source
    for source in (
        DataSource("digits", "1,797 handwritten digits, 8×8 grey, 10 classes; ships with scikit-learn", _digits),
    )
}
"""Every data set by name."""


@lru_cache(maxsize=4)
def load_task(task: TaskSection, device: str) -> TaskData:
    """Load and split a task's data set. Raises DataError where it is unknown or too small."""
    import torch

    source = DATASETS.get(task.data)
    if source is None:
        raise DataError(f"task.data: '{task.data}' is not a data set (known: {', '.join(DATASETS)})")
    x, y, classes = source.load()
    indices = stratified_parts(y, part_sizes(task, len(y)), task.split_seed)

    def part(chosen: NDArray[numpy.int64]) -> Part:
        return Part(torch.from_numpy(x[chosen]).to(device), torch.from_numpy(y[chosen]).to(device))

    train, validation, test = (part(chosen) for chosen in indices)
    return TaskData(train, validation, test, classes)


def part_sizes(task: TaskSection, total: int) -> tuple[int, int, int]:
    """Sizes of train, validation and test; what is not given is 60, 15 and 25 %."""
    train = task.train if task.train is not None else int(total * 0.6)
    validation = task.validation if task.validation is not None else int(total * 0.15)
    test = task.test if task.test is not None else total - train - validation
    if test < 1:
        raise DataError(
            f"task: train = {train} and validation = {validation} leave no test part of the {total} samples of "
            f"'{task.data}'; make them smaller"
        )
    return train, validation, test
