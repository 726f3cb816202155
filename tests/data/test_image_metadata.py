"""Hugging Face's image folder: labels in a table beside the images."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.folders import found_in, told, touch

from lossforge.errors import DataError


def table(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_labels_in_a_table_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "train/b.png", "train/a.png", "train/deep/c.png", "train/other.png", "test/d.png")
    table(
        tmp_path / "train" / "metadata.csv", "file_name,label,text", "b.png,dog,x", "a.png,cat,", 'deep/c.png,dog,"q"'
    )
    table(tmp_path / "test" / "metadata.jsonl", '{"file_name": "d.png", "label": "dog"}', "")
    found = found_in(tmp_path)
    assert told(tmp_path, found) == {
        "train": ["dog: train/b.png", "cat: train/a.png", "dog: train/deep/c.png"],
        "test": ["dog: test/d.png"],
    }
    assert found.notes == [
        "left out: 1 image that metadata.csv does not name",
        "test has no images of class 'cat'",
    ]


def test_numbers_are_classes_in_their_order_however_they_are_written(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png", "d.png")
    table(
        tmp_path / "metadata.jsonl",
        *(
            f'{{"file_name": "{name}.png", "label": {label}}}'
            for name, label in [("a", 10), ("b", 9), ("c", 9.0), ("d", '"10"')]
        ),
    )
    found = found_in(tmp_path)
    assert found.names == ("9", "10")
    assert [label for _, label in found.parts["train"]] == [1, 0, 0, 1]


def test_one_table_may_name_the_images_of_every_part(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.png", "train/b.png", "val/c.png")
    lines = ["file_name,label", "train/a.png,0", "train/b.png,1", "val/c.png,1"]
    table(tmp_path / "metadata.csv", *lines)
    assert told(tmp_path, found_in(tmp_path))["validation"] == ["1: val/c.png"]
    touch(tmp_path, "more/d.png")
    table(tmp_path / "metadata.csv", *lines, "more/d.png,0")
    with pytest.raises(DataError, match=r"names 'more/d.png', which is in none of 'train', 'val'"):
        found_in(tmp_path)


def test_a_table_without_labels_leaves_it_to_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.png", "dog/b.png")
    table(tmp_path / "metadata.csv", "image_id,split", "1,train")
    found = found_in(tmp_path)
    assert found.names == ("cat", "dog")
    assert found.notes == ["metadata.csv has no column 'file_name', 'label'; the folders say the classes"]
    touch(tmp_path, "flat/a.png")
    table(tmp_path / "flat" / "metadata.csv", "file_name,diagnosis", "a.png,1")
    with pytest.raises(DataError, match=r"has no column 'label' \(it has 'file_name', 'diagnosis'\)"):
        found_in(tmp_path / "flat")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["file_name,label"], "holds no lines"),
        (["file_name,label", "a.png,cat", "b.png,"], "line 3 has no label"),
        (["file_name,label", "a.png,cat", "b.png,NA"], r"line 3 has no label \('NA'\)"),
        (["file_name,label", "a.png,cat", "a.png,dog"], "names 'a.png' 2 times"),
        (["file_name,label", "../a.png,cat"], "line 2 names '../a.png'"),
        (["file_name,label", "/etc/a.png,cat"], "line 2 names '/etc/a.png'"),
        (["file_name,label", ".b.png,cat"], "hidden or has no image's ending"),
        (["file_name,label", "a.png,cat,1"], "line 2 has not as many columns"),
        (["file_name,label", "a.png"], "line 2 has not as many columns"),
        (["file_name,label", "a.png,1.5"], "line 2 has '1.5'"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path: Path, lines: list[str], fault: str) -> None:
    touch(tmp_path, "a.png", "b.png", ".b.png")
    table(tmp_path / "metadata.csv", *lines)
    with pytest.raises(DataError, match=rf"metadata.csv.*{fault}"):
        found_in(tmp_path)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[1]", "line 1 is no object"),
        ("{", "cannot be read"),
        ('{"file_name": "a.png", "label": ["cat"]}', "line 1 has the label"),
        ('{"file_name": "a.png", "label": null}', "line 1 has no label"),
        ('{"file_name": "a.png", "label": NaN}', "line 1 has no label"),
    ],
)
def test_a_faulty_line_of_json_is_refused(tmp_path: Path, line: str, fault: str) -> None:
    touch(tmp_path, "a.png")
    table(tmp_path / "metadata.jsonl", line)
    with pytest.raises(DataError, match=rf"metadata.jsonl.*{fault}"):
        found_in(tmp_path)


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "metadata.csv", "metadata.jsonl")
    with pytest.raises(DataError, match=r"has 'metadata.csv', 'metadata.jsonl'; leave one"):
        found_in(tmp_path)
