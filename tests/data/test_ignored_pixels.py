"""Masks with pixels that do not count: read, resized, counted and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from lossforge.data.datasets import load_task
from lossforge.data.examine import describe, first_lines
from lossforge.data.samples import IGNORED
from lossforge.errors import DataError
from lossforge.export.recipe import recipe_lines
from lossforge.spaces.schema import SearchSpace, TaskSection

RNG = numpy.random.default_rng(3)
X = RNG.integers(0, 256, (24, 8, 12, 3), dtype=numpy.uint8)
MASKS = RNG.choice(numpy.array([2, 5, 255], dtype=numpy.uint8), (24, 8, 12))


def task_of(place: Path, **keys: Any) -> TaskSection:
    return TaskSection(data=f"masks:{place}", **keys)


def in_files(root: Path) -> Path:
    for kind, arrays in (("images", X), ("masks", MASKS)):
        (root / kind).mkdir()
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(root / kind / f"{number}.png")
    return root


def in_arrays(root: Path) -> Path:
    numpy.savez(root / "a.npz", x_train=X, m_train=MASKS)
    return root / "a.npz"


@pytest.mark.parametrize("write", [in_files, in_arrays])
@pytest.mark.parametrize("resize", [None, (4, 6)])
def test_pixels_of_the_value_are_of_no_class(tmp_path: Path, write: Any, resize: tuple[int, int] | None) -> None:
    data = load_task(task_of(write(tmp_path), ignore=255, resize=resize), "cpu")
    assert data.names == ("2", "5")
    assert data.lost == ()
    values = {"2": 0, "5": 1, "255": IGNORED}
    for part in (data.train, data.validation, data.test):
        assert set(part.y.unique().tolist()) == set(values.values())
        assert part.counts(2).tolist() == [int((part.y == k).sum()) for k in (0, 1)]
        assert 0.2 < part.ignored < 0.5
    if resize is None:
        whole = numpy.stack([numpy.vectorize(lambda value: values[str(value)])(mask) for mask in MASKS])
        known = {image.transpose(2, 0, 1).tobytes(): mask for image, mask in zip(X, whole, strict=True)}
        for x, y in zip(data.train.x, data.train.y, strict=True):
            assert y.tolist() == known[x.numpy().tobytes()].tolist()


def test_without_the_key_they_are_a_class_and_the_doctor_asks(tmp_path: Path) -> None:
    data = load_task(task_of(in_arrays(tmp_path)), "cpu")
    assert data.names == ("2", "5", "255")
    assert any("set task.ignore = 255" in told for name, _, told in describe(data) if name == "reading")
    two = numpy.where(MASKS == 2, 255, 5)
    numpy.savez(tmp_path / "two.npz", x_train=X, m_train=two)
    assert load_task(task_of(tmp_path / "two.npz"), "cpu").notes == ()


def test_the_doctor_says_how_many_do_not_count(tmp_path: Path) -> None:
    data = load_task(task_of(in_arrays(tmp_path), ignore=255), "cpu")
    rows = {name: told for name, _, told in describe(data)}
    assert rows["ignored"] == f"{data.train.ignored:.1%} of the training pixels do not count".replace(".0%", "%")
    assert rows["classes"] == "2 of each pixel: 2, 5"
    assert rows["ignored"] in first_lines(data, "mean_iou")
    other = load_task(task_of(tmp_path / "a.npz", ignore=7), "cpu")
    assert other.classes == 3
    assert "no training mask holds 7 (task.ignore): no pixel of them is left out" in other.notes


def test_one_class_besides_them_is_too_few(tmp_path: Path) -> None:
    numpy.savez(tmp_path / "a.npz", x_train=X, m_train=numpy.where(MASKS == 255, 255, 2))
    with pytest.raises(DataError, match=r"every mask holds 2 and 255 alone, of which task.ignore = 255 is no class"):
        load_task(task_of(tmp_path / "a.npz", ignore=255), "cpu")


def test_a_test_part_may_hold_them_where_the_training_part_does_not(tmp_path: Path) -> None:
    train = numpy.where(MASKS == 255, 2, MASKS)
    numpy.savez(tmp_path / "a.npz", x_train=X, m_train=train, x_test=X[:9], m_test=MASKS[:9])
    data = load_task(task_of(tmp_path / "a.npz", ignore=255, drop_duplicates=False), "cpu")
    assert data.train.ignored == 0.0 < data.test.ignored


def test_a_recipe_says_what_does_not_count() -> None:
    class Row:
        task, trained_on, tested_on, classes, learning_rate, seeds = "a", 10, 5, 2, 0.1, 2

    space = SearchSpace(name="s", task=[task_of(Path("a.npz"), ignore=255, augmentation={"crop": 2})])
    lines = recipe_lines(space, Row())  # type: ignore[arg-type]
    (told,) = [line for line in lines if line.startswith("ignored:")]
    assert "mask pixels of value 255 count neither in the loss nor in the metric, nor does what augmentation" in told
    assert "ignore_index=255" in told
