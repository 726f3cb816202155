"""What the doctor, and the first lines of a search, say of a data set's classes."""

from __future__ import annotations

import torch

from lossforge.data.examine import describe, imbalance
from lossforge.data.splits import Part, TaskData


def labelled(*counts: int) -> TaskData:
    """A table with so many samples of each class."""
    y = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)])
    part = Part(torch.arange(len(y)).float().view(-1, 1, 1, 1), y)
    return TaskData(part, part, part, len(counts), names=tuple("abcdefgh"[: len(counts)]))


def masked(*counts: int) -> TaskData:
    """One mask with so many pixels of each class, 100 a row."""
    y = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)]).view(1, -1, 100)
    part = Part(y[:, None].float(), y)
    return TaskData(part, part, part, len(counts), names=tuple("abcdefgh"[: len(counts)]))


def row(data: TaskData, name: str) -> tuple[str, str]:
    ((_, state, told),) = [found for found in describe(data) if found[0] == name]
    return state, told


def test_even_classes_need_no_remark() -> None:
    for metric in ("accuracy", "balanced_accuracy"):
        assert imbalance(labelled(40, 5, 40), metric) == ""
    assert row(labelled(40, 5), "balance") == ("good", "from 5 training samples (b) to 40 (a)")


def test_accuracy_on_a_rare_class_is_advised_against() -> None:
    assert imbalance(labelled(96, 4), "accuracy") == (
        "class b is 4.0% of the training samples, of which accuracy says little; "
        'consider task.metric = "balanced_accuracy"'
    )
    state, told = row(labelled(96, 4), "balance")
    assert state == "note"
    assert 'task.metric = "balanced_accuracy"' in told


def test_a_rare_class_of_pixels_is_told_with_what_fitness_makes_of_it() -> None:
    told = imbalance(masked(9800, 200), "mean_iou")
    assert told == "class b is 2.0% of the training pixels; fitness is mean IoU, in which every class counts alike"
    assert 'consider task.metric = "mean_iou"' in imbalance(masked(9800, 200), "accuracy")
    assert told in row(masked(9800, 200), "balance")[1]


def test_a_class_that_is_missing_is_told() -> None:
    assert "a class without samples cannot be learned" in row(labelled(9, 0, 8), "balance")[1]


def test_masks_with_stray_values_are_doubted() -> None:
    state, told = row(masked(9700, 297, 1, 1, 1), "classes")
    assert state == "note"
    assert "save them as PNG" in told
    assert row(masked(9800, 200), "classes")[0] == "good"
    assert row(masked(8000, 1000, 1000), "classes")[0] == "good"
