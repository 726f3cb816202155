"""What is hashed is what is read: files through links, and nothing that is left aside."""

from __future__ import annotations

import os
from pathlib import Path

import numpy
import pytest
from tests.helpers.folders import picture, save, touch

from lossforge.data.changes import own_data_digest, quick_stamp, stamp, unchanged
from lossforge.data.places import content_digest
from lossforge.data.tree import read_tree
from lossforge.errors import DataError


def digest(root: Path, kind: str = "folder") -> str:
    return own_data_digest(root, kind)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Two classes: one is a link, the other holds one."""
    picture(tmp_path / "store" / "cat" / "1.png", (1, 2, 3))
    picture(tmp_path / "store" / "2.png", (4, 5, 6))
    picture(tmp_path / "set" / "dog" / "1.png", (7, 8, 9))
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "store" / "cat")
    (tmp_path / "set" / "dog" / "2.png").symlink_to(tmp_path / "store" / "2.png")
    return tmp_path / "set"


def test_what_links_lead_to_is_hashed(linked: Path) -> None:
    copied = linked.parent / "copied"
    for name, colour in {"cat/1.png": (1, 2, 3), "dog/1.png": (7, 8, 9), "dog/2.png": (4, 5, 6)}.items():
        picture(copied / name, colour)
    assert digest(linked) == digest(copied)
    (linked.parent / "alias").symlink_to(linked)
    assert digest(linked.parent / "alias") == digest(copied)
    before = digest(linked), stamp(read_tree(linked))
    for name in ("cat/1.png", "2.png"):
        old = (linked.parent / "store" / name).read_bytes()
        picture(linked.parent / "store" / name, (9, 9, 9))
        assert digest(linked) != before[0]
        assert stamp(read_tree(linked)) != before[1]
        (linked.parent / "store" / name).write_bytes(old)
        assert digest(linked) == before[0]


def test_an_image_written_over_with_its_size_and_time_kept_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a" / "1.bmp"
    picture(file, (1, 2, 3))
    state, before = file.stat(), stamp(read_tree(tmp_path))
    picture(file, (3, 2, 1))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size
    assert stamp(read_tree(tmp_path)) != before


def test_what_is_not_read_is_not_hashed(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png", (1, 2, 3))
    before = digest(tmp_path)
    touch(tmp_path, ".DS_Store", "a/._1.png", "a/.ipynb_checkpoints/1.png", "a/Thumbs.db", "notes.txt")
    assert digest(tmp_path) == before
    touch(tmp_path, "metadata.csv")
    assert digest(tmp_path) != before


def test_a_file_more_is_noticed_in_every_part(tmp_path: Path) -> None:
    for part in ("Train", "valid", "Testing"):
        picture(tmp_path / part / "a" / "1.png", (1, 2, 3))
    for part in ("Train", "valid", "Testing"):
        before = quick_stamp(tmp_path)
        picture(tmp_path / part / "a" / "2.png", (1, 2, 3))
        os.utime(tmp_path / part / "a", ns=(0, 0))
        assert quick_stamp(tmp_path) != before


def test_links_in_a_circle_and_to_nothing_end_in_a_sentence(linked: Path) -> None:
    (linked / "lost").symlink_to(linked / "nowhere")
    with pytest.raises(DataError, match=r"lost: is a link to '.*nowhere', which is not there; remove it"):
        digest(linked)
    (linked / "lost").unlink()
    (linked / "dog" / "up").symlink_to(linked, target_is_directory=True)
    with pytest.raises(DataError, match=r"up: is a link back to .*set, in which it lies; remove it"):
        digest(linked)
    (linked / "dog" / "up").unlink()
    (linked / "self").symlink_to(linked / "self")
    with pytest.raises(DataError, match=r"set: cannot be looked into|self: is a link to"):
        digest(linked)


def test_older_runs_go_on_where_the_same_samples_are_read(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a" / "deep" / "1.png", (1, 2, 3))
    touch(tmp_path, "notes.txt", "train/a/Thumbs.db")
    recorded = content_digest(tmp_path)
    assert recorded != digest(tmp_path)
    assert unchanged(tmp_path, "folder", recorded)
    assert unchanged(tmp_path, "folder", digest(tmp_path))
    picture(tmp_path / "train" / "a" / "deep" / "1.png", (3, 2, 1))
    assert not unchanged(tmp_path, "folder", recorded)


@pytest.mark.parametrize("how", ["hidden", "words", "turned", "named", "new ending", "link"])
def test_older_runs_end_where_other_samples_would_be_read_now(tmp_path: Path, how: str) -> None:
    root = tmp_path / "set"
    picture(root / "a" / "1.png", (1, 2, 3))
    if how == "hidden":
        picture(root / "a" / ".ipynb_checkpoints" / "1.png", (1, 2, 3))
    elif how == "words":
        save(root / "a" / "2.png", numpy.ones((2, 2), numpy.uint16))
    elif how == "turned":
        save(root / "a" / "2.png", numpy.ones((2, 2), numpy.uint8), 6)
    elif how == "named":
        picture(root / "Testing" / "a" / "1.png", (1, 2, 3))
    elif how == "new ending":
        picture(root / "a" / "2.jfif", (1, 2, 3))
    else:
        picture(tmp_path / "b" / "1.png", (1, 2, 3))
        (root / "b").symlink_to(tmp_path / "b")
    assert not unchanged(root, "folder", content_digest(root))
