"""Equal samples: how they are counted, told and dropped."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lossforge.data.datasets import load_task
from lossforge.data.duplicates import Duplicates, Parts, count_duplicates, without_duplicates
from lossforge.data.prepare import task_data
from lossforge.data.samples import Form, RawData, Samples
from lossforge.data.splits import Part
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection


def part(numbers: list[int], labels: list[int] | None = None) -> Part:
    x = torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)
    return Part(x, torch.tensor([number % 2 for number in numbers] if labels is None else labels, dtype=torch.int64))


def numbers(one: Part) -> list[int]:
    return [int(x) for chunk in one.chunks(3) for x in chunk.flatten()]


FEW = st.lists(st.integers(0, 30), min_size=1, max_size=25)


@settings(deadline=None)
@given(train=FEW, validation=FEW, test=FEW)
def test_counts_are_those_of_sets(train: list[int], validation: list[int], test: list[int]) -> None:
    found = count_duplicates(Parts(part(train), part(validation), part(test)))
    assert found == Duplicates(
        sum(one in {*train, *validation} for one in test),
        sum(one in train for one in validation),
        len(train) - len(set(train)),
        0,
        len(test),
        len(validation),
    )


@settings(deadline=None)
@given(train=FEW, validation=FEW, test=FEW, streamed=st.booleans())
def test_what_is_kept_is_in_one_part_only_and_in_its_order(
    train: list[int], validation: list[int], test: list[int], streamed: bool
) -> None:
    parts = Parts(part(train), part(validation), part(test))
    if streamed:
        parts = Parts(*(Part(one.x, one.y, torch.arange(len(one))) for one in parts))
    try:
        kept, found = without_duplicates(parts, "mine", ("0", "1"))
    except DataError:  # more than half of a part, or a class
        assume(False)
    assert numbers(kept.train) == [one for one in train if one not in {*validation, *test}]
    assert numbers(kept.validation) == [one for one in validation if one not in test]
    assert numbers(kept.test) == test
    for one in kept:
        assert one.y.tolist() == [number % 2 for number in numbers(one)]
    assert found.dropped_train == len(train) - len(kept.train)
    assert found.dropped_validation == len(validation) - len(kept.validation)


def test_equal_samples_of_several_classes_are_told() -> None:
    found = count_duplicates(Parts(part([1, 2, 3], [0, 1, 0]), part([4, 2], [0, 0]), part([5, 1, 1], [1, 0, 0])))
    assert found.conflicting == 2  # both twos
    assert "2 samples are equal to one with another label" in found.told


def test_zero_has_one_value_and_masks_are_labels() -> None:
    same = torch.tensor([0.0, -0.0]).view(2, 1, 1, 1)
    masks = torch.tensor([[[0]], [[1]]])
    found = count_duplicates(Parts(Part(same, masks), Part(same[:1], masks[:1]), Part(same[:0], masks[:0])))
    assert (found.training, found.validation, found.conflicting) == (1, 1, 3)


def test_they_are_bad_from_two_in_a_hundred() -> None:
    assert not Duplicates(1, 1, 50, 0, tests=51, validations=51).bad
    assert Duplicates(1, 0, 0, 0, tests=50, validations=50).bad
    assert Duplicates(0, 1, 0, 0, tests=50, validations=50).bad
    assert not Duplicates(0, 0, 9, 0, tests=0, validations=0).bad


def divided(train: list[int], test: list[int], **keys: Any) -> Any:
    def samples(values: list[int]) -> Samples:
        return Samples(numpy.asarray(values, numpy.float32)[:, None, None, None], numpy.asarray(values) % 2)

    raw = RawData(samples(train), samples(test), ("0", "1"))
    return task_data(raw, Form(), TaskSection(**{"data": "npz:mine.npz", **keys}), "cpu")


def test_they_are_dropped_of_the_users_own_data_and_counted() -> None:
    train, test = [*range(100)], [*range(90, 130)]
    data = divided(train, test)
    assert set(numbers(data.train)) | set(numbers(data.validation)) == {*range(90)}
    assert data.duplicates.test == 10
    assert data.duplicates.dropped_train + data.duplicates.dropped_validation == 10
    assert f"task.drop_duplicates took {data.duplicates.dropped_train} out of the training part" in data.duplicates.told
    for keys in ({"drop_duplicates": False}, {"data": "digits"}):
        kept = divided(train, test, **keys)
        assert len(kept.train) + len(kept.validation) == 100
        assert kept.duplicates is None
    assert len(divided(train, test, data="digits", drop_duplicates=True).train) < 80


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        ([*range(100)], [*range(80)], r"training samples of 'npz:mine.npz' are in the validation or test part too"),
        ([*range(0, 80, 2), 1, 3, 5, 7] * 1, [1, 3, 5, 7, 200, 202], "every training sample of class '1' of"),
    ],
)
def test_a_part_is_never_emptied(train: list[int], test: list[int], told: str) -> None:
    with pytest.raises(DataError, match=rf"{told}.* set task\.drop_duplicates = false"):
        divided(train, test)


def test_the_digits_are_as_they_were() -> None:
    data = load_task(TaskSection(data="digits"), "cpu")
    assert data.duplicates is None
    assert len(data.train) == 1078
