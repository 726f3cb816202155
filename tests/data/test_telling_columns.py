"""A column that tells the class on its own is found, and one that only helps is not."""

from __future__ import annotations

import numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossforge.data.examine import describe, first_lines, telling
from lossforge.data.splits import Part, TaskData
from lossforge.data.telling_columns import telling_columns

RNG = numpy.random.default_rng(0)


def table(y: list[int], columns: dict[str, object], widths: dict[str, int] | None = None, classes: int = 0) -> TaskData:
    """A table of whose rows, mixed, two thirds are for training."""
    order = RNG.permutation(len(y))
    x = numpy.column_stack([numpy.asarray(values, numpy.float32).reshape(len(y), -1) for values in columns.values()])
    samples = torch.from_numpy(x[order][:, :, None, None])
    labels = torch.tensor(y)[torch.from_numpy(order)]
    cut = 2 * len(y) // 3
    one, other = Part(samples[:cut], labels[:cut]), Part(samples[cut:], labels[cut:])
    named = tuple((name, (widths or {}).get(name, 1)) for name in columns)
    classes = classes or max(y) + 1
    return TaskData(one, other, other, classes, names=tuple(map(str, range(classes))), columns=named)


@settings(deadline=None, max_examples=20)
@given(counts=st.lists(st.integers(40, 80), min_size=2, max_size=5), step=st.floats(0.01, 100))
def test_an_index_of_a_table_sorted_by_class_tells_the_class(counts: list[int], step: float) -> None:
    y = [number for number, count in enumerate(counts) for _ in range(count)]
    data = table(y, {"index": numpy.arange(len(y)) * step, "noise": RNG.random(len(y))})
    assert [name for name, _ in telling_columns(data)] == ["index"]


def test_a_category_that_is_the_class_in_other_words_tells_it() -> None:
    y = [place % 3 for place in range(90)]
    data = table(
        y,
        {"noise": RNG.random(90), "kind": numpy.eye(3)[y], "mixed": numpy.eye(3)[RNG.permutation(y)]},
        {"kind": 3, "mixed": 3},
    )
    assert telling_columns(data) == [("kind", 1.0)]
    (told,) = telling(data)
    assert told.startswith("column 'kind' (100.0%) alone tells the class: is it known before the class is?")
    assert ("columns", "note", told) in describe(data)
    assert told in first_lines(data, "accuracy")


def test_what_only_helps_is_not_told_nor_what_follows_a_common_class() -> None:
    y = [int(place < 6) for place in range(200)]
    helping = [label + RNG.normal() for label in y]
    assert telling_columns(table(y, {"helping": helping, "constant": [1.0] * 200})) == []


def test_too_few_samples_and_images_are_not_judged() -> None:
    assert telling_columns(table([0, 1] * 10, {"class": [0, 1] * 10})) == []
    image = Part(torch.arange(80.0).view(40, 1, 1, 2), torch.arange(40) // 20)
    assert telling_columns(TaskData(image, image, image, 2)) == []


def test_features_without_names_are_told_by_their_number() -> None:
    y = [0, 1] * 50
    data = table(y, {"a": RNG.random(100), "b": y})
    unnamed = TaskData(data.train, data.validation, data.test, 2, names=("0", "1"))
    assert telling_columns(unnamed) == [("feature 1", 1.0)]
