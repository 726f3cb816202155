"""Binary tasks of one class against the rest."""

from __future__ import annotations

import numpy
import pytest

from lossforge.data.datasets import load_task
from lossforge.data.one_against_rest import against_rest
from lossforge.data.samples import IGNORED, RawData, Samples
from lossforge.errors import DataError
from lossforge.spaces.schema import TaskSection


def raw(y: list[object]) -> RawData:
    labels = numpy.array(y, dtype=numpy.int64)
    samples = Samples(
        numpy.zeros((len(labels), 1, 2, 2), numpy.float32), labels, given=labels if labels.ndim == 1 else None
    )
    return RawData(samples, samples, ("urban", "water", "forest"))


def test_named_classes_are_class_1_and_all_others_class_0() -> None:
    found = against_rest(raw([0, 1, 2, 1]), TaskSection(data="x", positive=("water",)))
    assert found.names == ("rest", "water")
    for part in (found.train, found.test):
        assert part is not None
        assert part.y.tolist() == [0, 1, 0, 1]
        assert part.given is not None
        assert part.given.tolist() == [0, 1, 0, 1]
    assert found.validation is None
    both = against_rest(raw([0, 1, 2, 1]), TaskSection(data="x", positive=("forest", "water")))
    assert both.names == ("rest", "forest+water")
    assert both.train.y.tolist() == [0, 1, 1, 1]


def test_of_masks_every_pixel_is_turned_and_what_does_not_count_stays_out() -> None:
    found = against_rest(raw([[[0, 1], [IGNORED, 2]]]), TaskSection(data="masks:x", positive=("water",)))
    assert found.train.y.tolist() == [[[0, 1], [IGNORED, 0]]]


@pytest.mark.parametrize(
    ("positive", "told"),
    [
        (("watre",), r"no class 'watre'; did you mean 'water'\?"),
        (("urban", "water", "forest"), "names all 3 classes"),
    ],
)
def test_what_makes_no_two_classes_is_told(positive: tuple[str, ...], told: str) -> None:
    with pytest.raises(DataError, match=told):
        against_rest(raw([0, 1]), TaskSection(data="x", positive=positive))
    with pytest.raises(DataError, match="has several labels"):
        against_rest(raw([[0, 1, 1]]), TaskSection(data="x", positive=("water",)))


def test_a_digit_against_the_rest_is_a_task_of_one_neuron() -> None:
    task = TaskSection(data="digits", positive=("8",), head="binary", metric="f1")
    data = load_task(task, "cpu")
    assert (data.classes, data.names) == (2, ("rest", "8"))
    assert data.train.y.float().mean() == pytest.approx(0.097, abs=0.01)
    assert "positive" in task.identity()
    assert "positive" not in TaskSection(data="digits").identity()
