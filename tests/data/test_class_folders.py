"""Which folders are classes, which are parts, and what is asked instead of guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.folders import found_in, told, touch

from lossforge.errors import DataError


def test_what_systems_and_editors_leave_behind_is_neither_class_nor_sample(tmp_path: Path) -> None:
    touch(tmp_path, "cat/0.png", "dog/1.JPG", "dog/2.jfif", "dog/3.TIFF")
    clean = told(tmp_path, found_in(tmp_path))
    assert clean == {"train": ["cat: cat/0.png", "dog: dog/1.JPG", "dog: dog/2.jfif", "dog: dog/3.TIFF"]}
    touch(tmp_path, ".ipynb_checkpoints/0-checkpoint.png", "cat/.ipynb_checkpoints/0-checkpoint.png", ".DS_Store")
    touch(tmp_path, "cat/._0.png", "dog/Thumbs.db", "dog/.DS_Store", "__MACOSX/cat/._0.png", "__MACOSX/cat/0.png")
    touch(tmp_path, "cat/desktop.ini", ".git/logo.png", "@eaDir/0.png")
    found = found_in(tmp_path)
    assert (told(tmp_path, found), found.names, found.notes) == (clean, ("cat", "dog"), [])


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "Valid", "Testing"), ("TRAIN", "validation", "TEST")],
)
def test_parts_are_known_by_their_usual_names(tmp_path: Path, train: str, validation: str, test: str) -> None:
    touch(tmp_path, f"{train}/a/1.png", f"{train}/b/2.png", f"{validation}/a/3.png", f"{validation}/b/4.png")
    touch(tmp_path, f"{test}/a/5.png", f"{test}/b/6.png")
    found = found_in(tmp_path)
    assert (found.names, found.notes) == (("a", "b"), [])
    assert told(tmp_path, found) == {
        "train": [f"a: {train}/a/1.png", f"b: {train}/b/2.png"],
        "validation": [f"a: {validation}/a/3.png", f"b: {validation}/b/4.png"],
        "test": [f"a: {test}/a/5.png", f"b: {test}/b/6.png"],
    }


@pytest.mark.parametrize("held_out", ["val", "Testing"])
def test_one_part_may_be_missing(tmp_path: Path, held_out: str) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/2.png", f"{held_out}/a/3.png", f"{held_out}/b/3.png")
    assert set(found_in(tmp_path).parts) == {"train", {"val": "validation", "Testing": "test"}[held_out]}


def test_two_folders_of_one_part_and_a_missing_training_part_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "test/a/1.png", "test/b/1.png")
    with pytest.raises(DataError, match="has 'test', and no folder 'train' with images"):
        found_in(tmp_path)
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png")
    with pytest.raises(DataError, match="'val' and 'valid' both say that they are the validation part"):
        found_in(tmp_path)


def test_what_lies_beside_the_parts_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "predict/1.png", "predict/2.png", "sheet.png", "docs/a.txt")
    (tmp_path / "val").mkdir()
    assert found_in(tmp_path).notes == [
        "folder 'val' holds no images and is left out",
        "folder 'predict' (2 images) beside 'train' is no part and is left out",
        "beside folder 'train' 1 image left out",
    ]


def test_trains_are_a_class_among_vehicles(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.png", "car/1.png", "bus/1.png")
    assert found_in(tmp_path).names == ("bus", "car", "train")
    touch(tmp_path, "test/1.png")
    with pytest.raises(DataError, match="nothing that says their classes"):
        found_in(tmp_path)


def test_classes_a_level_deeper_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "cells/Sick/1.png", "cells/Well/2.png", "cells/readme.txt")
    with pytest.raises(DataError, match=r"holds folders with images \('Sick', 'Well'\), a level deeper") as caught:
        found_in(tmp_path)
    for answer in (f"give folder:{tmp_path / 'cells'}", "set task.nested = true"):
        assert answer in str(caught.value)
    assert found_in(tmp_path / "cells").names == ("Sick", "Well")
    touch(tmp_path, "benign/low/3.png", "benign/4.png")
    with pytest.raises(DataError, match=r"benign: holds folders with images \('low'\) beside 1 image"):
        found_in(tmp_path)
    assert told(tmp_path, found_in(tmp_path, nested=True))["train"] == [
        "benign: benign/4.png",
        "benign: benign/low/3.png",
        "cells: cells/Sick/1.png",
        "cells: cells/Well/2.png",
    ]


def test_parts_under_names_that_are_not_known_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "training_data/a/1.png", "training_data/b/1.png", "test_data/a/1.png", "test_data/b/1.png")
    with pytest.raises(DataError, match=r"test_data: holds folders with images.* read are .* train/, val/ and test/"):
        found_in(tmp_path)


def test_images_beside_class_folders_and_images_alone_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/1.png", "montage.png")
    with pytest.raises(DataError, match=r"holds 1 image \('montage.png'\) and folders with images \('cat', 'dog'\)"):
        found_in(tmp_path)
    touch(tmp_path, "flat/1.png", "flat/2.png")
    with pytest.raises(DataError, match=r"holds 2 images and nothing that says their classes: read are .*metadata.csv"):
        found_in(tmp_path / "flat")


def test_classes_that_differ_between_parts_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    assert found_in(tmp_path).notes == ["test has no images of class 'dog'"]
    touch(tmp_path, "test/Dog/1.png")
    with pytest.raises(DataError, match=r"class 'Dog' has no folder in .*train, where 'cat', 'dog' are"):
        found_in(tmp_path)


def test_empty_class_folders_and_files_that_are_no_images_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/1.png", "dog/1.heic", "dog/2.HEIC", "dog/labels", "bird/readme.txt")
    assert found_in(tmp_path).notes == [
        "class folder 'bird' holds no images and is left out",
        "3 files in class folders left out: no image's ending (.heic 2, no ending 1)",
    ]
