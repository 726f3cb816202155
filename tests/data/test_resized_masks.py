"""A class that resizing cuts away is told with its cause: by the doctor, and by a search before it begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from lossforge.data.datasets import forget_loaded, load_task
from lossforge.errors import DataError
from lossforge.evaluation.feasibility import check_fit
from lossforge.inspection.doctor import examine_data
from lossforge.spaces.schema import TaskSection

SHAPE = (16, 48)
"""Wide images: a square of the middle leaves the left third and the right third out."""


def masks(seen: int, count: int = 60) -> Any:
    """Every mask holds 255 at its left edge, and the first ``seen`` in its middle too."""
    made = numpy.zeros((count, *SHAPE), numpy.uint8)
    made[:, :, :8] = 255
    made[:seen, 4:12, 20:28] = 255
    return made


def stored(root: Path, kind: str, seen: int) -> str:
    forget_loaded()
    made = masks(seen)
    images = numpy.random.default_rng(0).integers(0, 256, made.shape).astype(numpy.uint8)
    if kind == "npz":
        numpy.savez(root / "a.npz", x_train=images, m_train=made)
        return f"masks:{root / 'a.npz'}"
    for folder, arrays in (("images", images), ("masks", made)):
        (root / folder).mkdir()
        for number, array in enumerate(arrays):
            Image.fromarray(array).save(root / folder / f"{number:02}.png")
    return f"masks:{root}"


KINDS = pytest.mark.parametrize("kind", ["npz", "files"])


@KINDS
def test_a_class_that_is_cut_from_every_mask_is_refused_with_the_cause(tmp_path: Path, kind: str) -> None:
    data = stored(tmp_path, kind, seen=0)
    assert load_task(TaskSection(data=data, model="unet"), "cpu").names == ("0", "255")
    told = (
        "class '255' is in 60 training masks as they are stored, and in none once they are cut to the middle and "
        r"resized to 16×16 \(task.resize\); resize to the shape that the masks have"
    )
    with pytest.raises(DataError, match=told):
        load_task(TaskSection(data=data, model="unet", resize=16), "cpu")
    (row,) = examine_data(data, resize=16)
    assert (row["check"], row["state"]) == ("data", "bad")
    assert "task.resize" in row["told"]


@KINDS
def test_one_that_is_cut_from_most_of_them_is_noted_and_named_where_it_is_missed(tmp_path: Path, kind: str) -> None:
    data = stored(tmp_path, kind, seen=1)
    (row,) = [row for row in examine_data(data, resize=16) if row["check"] == "resizing"]
    assert row["told"].startswith("class '255' is in 60 training masks as they are stored, and in 1 once")
    tasks = [TaskSection(data=data, model="unet", resize=16, train=10, split_seed=seed) for seed in range(20)]
    without = next(one for one in tasks if int(load_task(one, "cpu").train.y.max()) == 0)
    with pytest.raises(DataError, match=r"of class '255' .*: class '255' is in 60 .*task\.resize"):
        check_fit(without)


@KINDS
def test_masks_that_keep_their_classes_need_no_remark(tmp_path: Path, kind: str) -> None:
    data = stored(tmp_path, kind, seen=60)
    for resize in ({}, {"resize": 16}):
        assert "resizing" not in {row["check"] for row in examine_data(data, **resize)}  # type: ignore[arg-type]
    check_fit(TaskSection(data=data, model="unet", resize=16))
