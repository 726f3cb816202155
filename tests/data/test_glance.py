"""Which kind of data a path is, before anything is read as a task."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from tests.helpers.folders import picture

from lossforge.data.glance import image_sizes, named_with_kind, text_columns
from lossforge.errors import DataError


def test_kinds_of_ones_own_data_are_told_apart(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        picture(tmp_path / "classes" / name, (9, 9, 9))
    for name in ("train/images/1.png", "train/masks/1.png", "test/images/1.png", "test/masks/1.png"):
        picture(tmp_path / "pairs" / name, (9, 9, 9))
    for name in ("1.png", "1_mask.png"):
        picture(tmp_path / "beside" / name, (9, 9, 9))
    numpy.savez(tmp_path / "x.npz", x=numpy.zeros(3), y=numpy.zeros(3))
    numpy.savez(tmp_path / "m.npz", x_train=numpy.zeros(3), m_train=numpy.zeros(3))
    (tmp_path / "t.csv").write_text("1,2\n", encoding="utf-8")
    kinds = {"classes": "folder", "pairs": "masks", "beside": "masks", "x.npz": "npz", "m.npz": "masks", "t.csv": "csv"}
    for name, kind in kinds.items():
        assert named_with_kind(str(tmp_path / name)) == f"{kind}:{tmp_path / name}"
    assert named_with_kind("digits") == "digits"
    assert named_with_kind(f"csv:{tmp_path / 't.csv'}#label=a") == f"csv:{tmp_path / 't.csv'}#label=a"
    assert named_with_kind(f"{tmp_path / 't.csv'}#label=a") == f"csv:{tmp_path / 't.csv'}#label=a"


def test_what_is_no_data_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data digit: there is no such file .*; did you mean 'digits'\?"):
        named_with_kind("digit")
    (tmp_path / "x.pdf").touch()
    with pytest.raises(DataError, match=r"x.pdf: is no folder, .csv or .npz file"):
        named_with_kind(str(tmp_path / "x.pdf"))


def test_sizes_of_images_and_words_of_tables_are_seen_beforehand(tmp_path: Path) -> None:
    for number, side in enumerate((20, 30, 40)):
        picture(tmp_path / "folder" / "a" / f"{number}.png", (9, 9, 9), (side, side + 5))
    (tmp_path / "folder" / "a" / "broken.png").write_text("no image", encoding="utf-8")
    sizes = image_sizes(f"folder:{tmp_path / 'folder'}")
    assert sizes is not None
    assert (sizes.side, sizes.alike, sizes.seen, sizes.broken) == (30, False, 4, 1)
    assert image_sizes("digits") is None
    rows = "\n".join(f"{'red' if n % 2 else 'blue'},{n},Name {n},{'' if n == 3 else n / 2},{n % 2}" for n in range(80))
    table = tmp_path / "t.csv"
    table.write_text(f"colour,n,who,half,label\n{rows}\n", encoding="utf-8")
    assert text_columns(f"csv:{table}") == (["colour"], ["who"], True)
