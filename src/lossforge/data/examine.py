"""What a data set is like: sizes, classes, balance, and samples that are in both training and test parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossforge.data.duplicate_counts import Duplicates
from lossforge.data.duplicates import Parts, count_duplicates
from lossforge.data.near_duplicates import near_duplicates
from lossforge.data.resized_masks import REMEDY, lost_told
from lossforge.data.splits import Part, TaskData
from lossforge.data.telling_columns import telling_columns
from lossforge.spaces.task_section import metric_title

if TYPE_CHECKING:
    from torch import Tensor

_UNBALANCED = 10.0
"""Ratio of the largest class to the smallest from which accuracy says little."""
_SPECK = 0.001
"""Share of all pixels below which a class is more likely a fault of the masks."""
_NEAR_IN_A_SEARCH = 2_000
"""Samples of the test and the validation part that a search looks for among nearly equal ones."""


def describe(data: TaskData) -> list[tuple[str, str, str]]:
    """Rows of ``(what, "good" | "note" | "bad", told)``."""
    sizes = ", ".join(f"{name} {len(part):,}" for name, part in _parts(data).items())
    channels, height, width = data.shape
    kind = str(data.train.x.dtype).removeprefix("torch.")
    form = f"{channels} features" if height == width == 1 else f"{height}×{width}, {channels} channels"
    where = "" if data.train.rows is None else "; too large for the device, so its batches stream there"
    return [
        ("parts", "good", sizes),
        ("samples", "good", f"{form}, {kind}{where}"),
        _classes(data),
        _balance(data),
        *_ignored(data),
        *(("labels", "note", told) for told in data.labels),
        *(("resizing", "note", told) for told in resized_away(data)),
        _duplicates(data),
        *_near(data),
        *(("columns", "note", told) for told in telling(data)),
        *(("reading", "note", told) for told in data.notes),
    ]


def first_lines(data: TaskData, metric: str) -> list[str]:
    """What to know of the data before a search, in the words of `describe`; costly checks are on a share of them."""
    lines = [*data.notes, *(told for _, _, told in _ignored(data)), *data.labels, *resized_away(data), *telling(data)]
    found = data.duplicates
    if found and (found.bad or found.dropped_train or found.dropped_validation or found.conflicting):
        lines.append(found.told)
    near = near_duplicates(_three(data), _NEAR_IN_A_SEARCH) if found else None
    if near and near.bad:
        lines.append(near.told)
    return [line for line in (*lines, imbalance(data, metric)) if line]


def resized_away(data: TaskData) -> list[str]:
    """A sentence for each class that half of the training masks that hold it, or more, lose in resizing."""
    return [f"{lost_told(one, data.shape[1:])}; {REMEDY}" for one in data.lost if 2 * one.left <= one.stored]


def telling(data: TaskData) -> list[str]:
    """A sentence for the columns that tell the class on their own."""
    columns = telling_columns(data)
    if not columns:
        return []
    shown = ", ".join(f"'{name}' ({score:.1%})" for name, score in columns[:5]) + (", ..." if len(columns) > 5 else "")
    many = len(columns) > 1
    return [
        f"{'columns' if many else 'column'} {shown} alone {'tell' if many else 'tells'} the class: "
        f"{'are they' if many else 'is it'} known before the class is? task.drop_columns leaves columns out"
    ]


def _ignored(data: TaskData) -> list[tuple[str, str, str]]:
    share = data.train.ignored if data.segmentation else 0.0
    return [("ignored", "good", f"{_percent(share)} of the training pixels do not count")] if share else []


def _near(data: TaskData) -> list[tuple[str, str, str]]:
    near = near_duplicates(_three(data))
    if near is None:
        return []
    return [("near-duplicates", "note" if near.test or near.validation else "good", near.told)]


def _three(data: TaskData) -> Parts:
    return Parts(data.train, data.validation, data.test)


def _parts(data: TaskData) -> dict[str, Part]:
    return {"training": data.train, "validation": data.validation, "test": data.test}


def _classes(data: TaskData) -> tuple[str, str, str]:
    shown = ", ".join(data.names[:10]) + (", ..." if data.classes > 10 else "")
    if data.several_labels:
        many = float(data.train.y.sum(1).double().mean())
        none = float((data.train.y.sum(1) == 0).double().mean())
        return "labels", "good", f"{data.classes}: {shown}; {many:.2g} a training sample, none at {_percent(none)}"
    told = f"{data.classes}{' of each pixel' if data.segmentation else ''}: {shown}"
    counts = _counts(data)
    if data.segmentation and data.classes > 2 and (counts < _SPECK * counts.sum()).sum() > data.classes / 2:
        return "classes", "note", f"{told}; most are specks: masks that were compressed or blurred? save them as PNG"
    return "classes", "good", told


def _balance(data: TaskData) -> tuple[str, str, str]:
    counts = _counts(data)
    low, high = int(counts.argmin()), int(counts.argmax())
    unit = "pixels" if data.segmentation else "samples"
    told = (
        f"from {int(counts[low]):,} training {unit} ({data.names[low]}) to {int(counts[high]):,} ({data.names[high]})"
    )
    if counts[low] == 0:
        return (
            "balance",
            "note",
            f"{told}: a {'label' if data.several_labels else 'class'} without samples cannot be learned",
        )
    usual = "mean_iou" if data.segmentation else "mean_average_precision" if data.several_labels else "accuracy"
    if remedy := imbalance(data, usual):
        return "balance", "note", f"{told}: {remedy}"
    return "balance", "good", told


def imbalance(data: TaskData, metric: str) -> str:
    """What to know of fitness in ``metric`` where the training part's classes differ much in size; else ""."""
    counts = _counts(data)
    low = int(counts.argmin())
    if counts.max() <= _UNBALANCED * counts.min():
        return ""
    if data.several_labels:
        what, told = "label", f"label {data.names[low]} is at {_percent(float(counts.min() / len(data.train)))} of the"
        told = f"{told} training samples"
    else:
        what, unit = "class", "pixels" if data.segmentation else "samples"
        told = f"class {data.names[low]} is {_percent(float(counts.min() / counts.sum()))} of the training {unit}"
    if metric not in ("accuracy", "top5_accuracy", "f1_micro"):
        return f"{told}; fitness is {metric_title(metric)}, in which every {what} counts alike"
    choice = "mean_iou" if data.segmentation else "f1_macro" if data.several_labels else "balanced_accuracy"
    return f'{told}, of which {metric_title(metric)} says little; consider task.metric = "{choice}"'


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 or not share else "less than 0.1%"


def _counts(data: TaskData) -> Tensor:
    """Training samples, or pixels, ``(C,)`` of each class, or with each label."""
    return data.train.counts(data.classes)


def _duplicates(data: TaskData) -> tuple[str, str, str]:
    found = duplicates(data)
    state = "bad" if found.bad else "note" if found.test or found.validation or found.conflicting else "good"
    return "duplicates", state, found.told


def duplicates(data: TaskData) -> Duplicates:
    """Equal samples of the parts, as they were before any were dropped."""
    return data.duplicates or count_duplicates(_three(data))
