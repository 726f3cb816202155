"""A set with a validation part of its own."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

from lossforge.data import prepare
from lossforge.data.prepare import task_data
from lossforge.data.samples import Form, RawData, Samples
from lossforge.data.splits import TaskData
from lossforge.errors import DataError
from lossforge.spaces.load import validate_frozen
from lossforge.spaces.schema import TaskSection
from lossforge.spaces.task_section import as_before_switches

SIZES = {"train": 40, "validation": 20, "test": 32}


def samples(start: int, count: int) -> Samples:
    """Images that hold their number, of four classes."""
    numbers = numpy.arange(start, start + count)
    return Samples(numbers.astype(numpy.uint8).repeat(4).reshape(count, 1, 2, 2), numbers % 4)


def raw(*own: str) -> RawData:
    parts = {"train": samples(0, 40), "validation": samples(40, 20), "test": samples(60, 32)}
    given = {name: parts[name] if name in own else None for name in ("validation", "test")}
    return RawData(parts["train"], given["test"], ("a", "b", "c", "d"), validation=given["validation"])


def divided(data: RawData, **keys: Any) -> TaskData:
    return task_data(data, Form(), TaskSection(data="npz:mine.npz", **keys), "cpu")


def numbers(data: TaskData) -> list[list[int]]:
    parts = (data.train, data.validation, data.test)
    return [sorted(int(x) for chunk in part.chunks(7) for x in chunk[:, 0, 0, 0]) for part in parts]


def test_every_part_of_its_own_is_taken_as_it_is() -> None:
    assert numbers(divided(raw("validation", "test"))) == [[*range(40)], [*range(40, 60)], [*range(60, 92)]]


def test_fewer_are_taken_in_proportion() -> None:
    data = divided(raw("validation", "test"), train=20, validation=12, test=16)
    for part, count, low in ((data.train, 20, 0), (data.validation, 12, 40), (data.test, 16, 60)):
        assert torch.bincount(part.y).tolist() == [count // 4] * 4
        assert int(part.x.min()) >= low
    for name, found in SIZES.items():
        with pytest.raises(
            DataError, match=rf"{name} = {found + 1} samples, but .* {name} part of its own, of {found}"
        ):
            divided(raw("validation", "test"), **{name: found + 1})


def test_the_one_part_held_out_is_the_test_part_and_that_is_told() -> None:
    data = divided(raw("validation"))
    train, validation, test = numbers(data)
    assert (sorted(train + validation), test) == ([*range(40)], [*range(40, 60)])
    assert len(validation) == 8
    assert "the part held out of the training part is the test part" in data.notes[0]
    assert divided(raw("test")).notes == ()


def test_a_part_that_is_switched_off_is_left_alone() -> None:
    for own in (("validation",), ("validation", "test")):
        with_it = divided(raw(*own), own_validation=False)
        assert numbers(with_it) == numbers(divided(raw(*own[1:])))


def test_streamed_parts_of_their_own_are_pooled_as_resident_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    resting = divided(raw("validation", "test"))
    monkeypatch.setattr(prepare, "_RESIDENT_BYTES", 100)
    streamed = divided(raw("validation", "test"))
    assert streamed.train.rows is not None
    assert numbers(streamed) == numbers(resting)
    ours, theirs = streamed.pooled(), resting.pooled()
    assert torch.equal(torch.cat(list(ours.chunks(7))), theirs.x)
    assert torch.equal(ours.y, theirs.y)
    places = torch.tensor([[0, 45], [49, 3]])
    assert torch.equal(ours.first(50).samples(places), theirs.x[places])


def test_runs_that_are_older_than_the_switch_have_it_off_and_keep_their_identity() -> None:
    task = {"data": "npz:mine.npz", "train": 20}
    old, new = TaskSection(**as_before_switches(task)), TaskSection(**task)
    assert old.own_validation is False
    assert "own_validation" not in old.identity()
    assert new.identity() == new.decided().identity()
    assert new.identity() == old.identity() | {"own_validation": True, "drop_duplicates": True}
    named = TaskSection(data="digits")
    assert named.decided() == named
    assert as_before_switches({"data": "digits"}) == {"data": "digits"}
    for tasks in (task, [task]):
        space = validate_frozen({"name": "old", "task": tasks}, "space.toml")
        assert space.task == [old]
        assert space.decided() == space
