"""Mapped arrays take their place on the disk before they are written, and a full disk is an error and no crash."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import numpy
import pytest
from PIL import Image

from lossforge.data import decoded
from lossforge.data.array_files import create_array_file, map_array_file
from lossforge.data.datasets import load_task
from lossforge.spaces.schema import TaskSection

SHAPE = (40, 3, 64, 64)


def refuse(number: int) -> object:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("able", [True, False])
def test_a_new_file_takes_its_place_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    if not able:
        monkeypatch.setattr(os, "posix_fallocate", refuse(errno.EOPNOTSUPP), raising=False)
    path = tmp_path / "a.npy"
    array = create_array_file(path, SHAPE, numpy.uint8)
    state = path.stat()
    assert state.st_blocks * 512 >= state.st_size > array.nbytes
    assert not array.any()
    array[:] = numpy.arange(64)
    assert (map_array_file(path) == numpy.arange(64)).all()
    assert (numpy.load(path) == numpy.arange(64)).all()


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC), raising=False)
    with pytest.raises(OSError, match="No space left"):
        create_array_file(tmp_path / "a.npy", SHAPE, numpy.uint8)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_to_a_map_stays_in_memory(tmp_path: Path) -> None:
    create_array_file(tmp_path / "a.npy", (4,), numpy.int64)[:] = 7
    map_array_file(tmp_path / "a.npy")[:] = 1
    assert map_array_file(tmp_path / "a.npy").tolist() == [7] * 4


def test_a_file_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    numpy.save(path, numpy.zeros(SHAPE))
    for size in (path.stat().st_size - 1, 40, 0):
        os.truncate(path, size)
        with pytest.raises(OSError, match="is not a whole array"):
            map_array_file(path)


@pytest.mark.parametrize("fault", ["full", "cut off"])
def test_images_are_read_all_the_same(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(decoded, "_KEPT_FROM", 2)
    for number in range(40):
        place = tmp_path / "pets" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (number, 0, 0)).save(place)
    task = TaskSection(data=f"folder:{tmp_path / 'pets'}")
    if fault == "full":
        monkeypatch.setattr(os, "posix_fallocate", refuse(errno.ENOSPC), raising=False)
    else:
        load_task(task, "cpu")
        for file in data_folder.rglob("*.npy"):
            os.truncate(file, file.stat().st_size // 2)
    data = load_task(task.model_copy(update={"width": 3}), "cpu")
    for part in (data.train, data.validation, data.test):
        assert [int(x) % 2 for x in part.x[:, 0, 0, 0]] == part.y.tolist()
    if fault == "full":
        assert list(data_folder.rglob("*.*")) == []
