"""A look at the data: their kind, what has to be said of them so that they can be read, and what is uneven in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lossforge.data.datasets import load_task
from lossforge.data.examine import describe
from lossforge.data.glance import image_sizes, named_with_kind, text_columns
from lossforge.errors import DataError
from lossforge.spaces.load import validate_space
from lossforge.spaces.schema import TaskSection
from lossforge.starting.asking import Asking

if TYPE_CHECKING:
    from lossforge.data.splits import TaskData

LARGEST_SIDE = 64
"""Side to which larger images are resized unless one says otherwise: a search is many short trainings."""
_UNBALANCED = 3.0
"""Ratio of the largest class to the smallest from which fitness counts classes alike."""
_STEPS = 5
"""Remedies that are tried one after the other before the data are given up on."""
_SIZES = (16, 24, 28, 32, 48, LARGEST_SIDE)


@dataclass(frozen=True, slots=True)
class Survey:
    """The data as a task: its table, what `lossforge.data.examine.describe` tells, and its parts in full."""

    task: dict[str, Any]
    rows: list[tuple[str, str, str]]
    data: TaskData

    @property
    def section(self) -> TaskSection:
        """The task by the space's schema."""
        return section_of(self.task)


def section_of(task: Mapping[str, Any]) -> TaskSection:
    """A task's table, checked. Raises SpaceError."""
    return validate_space({"name": "new", "task": dict(task)}, "the new space").decided().task[0]


def survey(data: str, given: Mapping[str, Any], asking: Asking) -> Survey:
    """Look at ``data``, a path, ``KIND:PATH`` or a known name; ``given`` are keys of the task that are fixed.

    What stands in the way of reading them is decided or asked, key by key. Raises DataError where they cannot be read.
    """
    named = named_with_kind(data)
    if named != data:
        asking.say(f"{data} is read as '{named.partition(':')[0]}:'")
    task: dict[str, Any] = {"data": named, **given}
    _before_reading(task, given, asking)
    for _ in range(_STEPS):
        try:
            loaded = load_task(section_of(task), "cpu")
            break
        except DataError as error:
            if not _remedied(task, given, str(error), asking):
                raise
    else:
        loaded = load_task(section_of(task), "cpu")
    _after_reading(task, given, loaded, asking)
    return Survey(task, describe(loaded), load_task(section_of(task), "cpu"))


def _before_reading(task: dict[str, Any], given: Mapping[str, Any], asking: Asking) -> None:
    """What can be seen without decoding a whole set: sizes of images, and words in a table."""
    sizes = image_sizes(task["data"])
    if sizes is not None and "resize" not in given:
        side = fitting_side(sizes.side)
        if not sizes.alike or sizes.side > LARGEST_SIDE:
            kind = "one size" if sizes.alike else "many sizes"
            why = f"images are of {kind}, {sizes.side} pixels along the shorter side; a search is many short trainings"
            answer = asking.chosen("task.resize", str(side), why)
            if answer.lower() not in ("no", "none"):
                task["resize"] = _side_of(answer)
    categories, names, missing = text_columns(task["data"])
    if names and "drop_columns" not in given:
        shown = ", ".join(names)
        if asking.agreed("task.drop_columns", str(names), f"columns that hold names or words without end ({shown})"):
            task["drop_columns"] = names
    if categories and "one_hot" not in given:
        why = f"columns that hold words become a 0 or 1 for each ({', '.join(categories)})"
        if asking.agreed("task.one_hot", "true", why):
            task["one_hot"] = True
    if missing and "impute" not in given:
        why = "missing values are filled with the training part's median"
        if asking.agreed("task.impute", '"median"', why):
            task["impute"] = "median"


def fitting_side(side: int) -> int:
    """The largest usual side that an image of this side has.

    >>> fitting_side(500), fitting_side(40), fitting_side(9)
    (64, 32, 9)
    """
    return max((one for one in _SIZES if one <= side), default=side)


def _side_of(answer: str) -> int:
    if not answer.isdecimal() or int(answer) < 1:
        raise DataError(f"task.resize: '{answer}' is no number of pixels; answer with one, such as 32, or with no")
    return int(answer)


_REMEDIES: dict[str, tuple[object, str]] = {
    "skip_broken": (True, "some image files cannot be read; the search goes on without them"),
    "impute": ("median", "some features are missing; they are filled with the training part's median"),
    "one_hot": (True, "a column holds words; it becomes a 0 or 1 for each"),
    "resize": (32, "images differ in size"),
    "nested": (True, "images lie in folders below their class's folder, and are all of that class"),
    "mask_threshold": (128, "grey masks hold blurred edges; from 128 on a pixel is of class 1"),
    "head": ("sigmoid", "samples have several labels, or none"),
}
"""What lets data be read that a sentence about them offers, with the reason; all else a person must say."""


def _remedied(task: dict[str, Any], given: Mapping[str, Any], told: str, asking: Asking) -> bool:
    """Set the first key that the error offers and that nobody has set; whether there was one."""
    for key in re.findall(r"task\.([a-z_]+)", told):
        if key in _REMEDIES and key not in task and key not in given:
            value, why = _REMEDIES[key]
            shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
            if asking.agreed(f"task.{key}", shown, f"{why} ({told.partition(';')[0]})"):
                task[key] = value
                return True
            return False
    return False


def _after_reading(task: dict[str, Any], given: Mapping[str, Any], data: TaskData, asking: Asking) -> None:
    """What the labels ask for: a metric in which rare classes count."""
    height, width = data.shape[1:]
    if max(height, width) > LARGEST_SIDE and "resize" not in task:  # arrays, which are decoded already
        side = fitting_side(min(height, width))
        why = f"images are of {height}×{width}; a search is many short trainings"
        answer = asking.chosen("task.resize", str(side), why)
        if answer.lower() not in ("no", "none"):
            task["resize"] = _side_of(answer)
    if data.segmentation or data.several_labels or "metric" in given:
        return
    counts = data.train.counts(data.classes)
    if int(counts.min()) and float(counts.max() / counts.min()) >= _UNBALANCED:
        smallest, largest = (data.names[int(place)] for place in (counts.argmin(), counts.argmax()))
        why = (
            f"class {largest} has {float(counts.max() / counts.min()):.1f} times as many training samples as class "
            f"{smallest}, and accuracy would hide it"
        )
        if asking.agreed("task.metric", '"balanced_accuracy"', why):
            task["metric"] = "balanced_accuracy"
